"""``omrl-bench data show`` and ``omrl-bench data render``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omrl_bench.errors import InputError, unknown_name
from omrl_bench.processes import processors
from omrl_bench.vocabulary import DATASETS

if TYPE_CHECKING:
    from omrl_bench.cards.card import Local
    from omrl_bench.envs.families import Family


def show(
    family: Annotated[str, typer.Argument(help="Family.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write FAMILY.md and its pictures to.")] = None,
) -> None:
    """Show the data card of a family: tasks, datasets, returns, leak check, context sets; what is missing is built.

    Examples:
      omrl-bench data show point-goal

      omrl-bench data show point-goal --out cards
    """
    from rich.console import Console

    from omrl_bench.cards.card import is_scripted, make_card
    from omrl_bench.cards.page import card_sections, terminal_section
    from omrl_bench.data.behaviour import read_checkpoints
    from omrl_bench.data.manifest import ensure_dataset, read_manifest
    from omrl_bench.envs.families import get_family

    chosen = get_family(family)
    manifest = read_manifest(chosen)
    datasets = {}
    for quality in DATASETS:
        ensure_dataset(chosen, quality, processors(), typer.echo)
        datasets[quality] = _read(chosen, quality)
    learner = None
    if not is_scripted(chosen):  # SAC's deviation depends on the observation, PPO's does not
        learner = "SAC" if "log_std.weight" in read_checkpoints(chosen)[0] else "PPO"
    card = make_card(chosen, manifest, datasets, learner)
    console = Console()
    for section in card_sections(card):
        console.print(terminal_section(section))
    if out is not None:
        from omrl_bench.cards.figures import data_pictures
        from omrl_bench.cards.page import card_markdown
        from omrl_bench.files import write_atomically

        episodes = {quality: local.episodes for quality, local in datasets.items()}
        pictures = data_pictures(chosen, episodes, manifest.reference())
        files = {name: f"{chosen.name}-{name}.png" for name in pictures}
        contents = {files[name]: content for name, content in pictures.items()}
        contents[f"{chosen.name}.md"] = card_markdown(card, files).encode()
        for name, content in contents.items():  # the page comes last: what it shows is there
            write_atomically(out / name, content)
            typer.echo(out / name)


def render(
    family: Annotated[str, typer.Argument(help="Family.")],
    task: Annotated[int, typer.Option(help="Task id, a row of the task table.")],
    quality: Annotated[str, typer.Option(help=f"One of {', '.join(DATASETS)}.")] = "expert",
    out: Annotated[
        Path | None, typer.Option(help="File, .gif or .mp4 (default: FAMILY-taskN-QUALITY.gif in this folder).")
    ] = None,
) -> None:
    """Film an episode of a dataset: its seed and actions again, in the Gymnasium environment.

    The episode is the one whose return is the median of its task. Without the dataset, it is built first.

    Examples:
      omrl-bench data render point-goal --task 7 --quality expert

      MUJOCO_GL=egl omrl-bench data render cheetah-vel --task 7 --out cheetah.gif
    """
    from omrl_bench.cards.film import check_ending, check_renderer, encode, film, median_episode
    from omrl_bench.data.manifest import ensure_dataset
    from omrl_bench.data.store import read_episodes
    from omrl_bench.envs.families import get_family
    from omrl_bench.files import write_atomically

    chosen = get_family(family)
    chosen.tasks().check([task])
    if quality not in DATASETS:
        raise unknown_name("quality", quality, DATASETS)
    path = out or Path(f"{chosen.name}-task{task}-{quality}.gif")
    check_ending(path)
    check_renderer(chosen)  # before minutes of building
    ensure_dataset(chosen, quality, processors(), typer.echo)
    episodes, _ = read_episodes(chosen, quality)
    number = median_episode(episodes, task)
    if number is None:
        raise InputError(
            f"task {task} ({chosen.tasks().splits[task]}) of {chosen.name} has no episode of quality {quality!r}"
        )
    write_atomically(path, encode(film(chosen, episodes, number), path.suffix))
    said = f"episode {number} of {chosen.name}/{quality}, task {task}, return {episodes.returns()[number]:.1f}"
    typer.echo(f"{path}: {said}")


def _read(family: Family, quality: str) -> Local:
    from omrl_bench.cards.card import Local
    from omrl_bench.data.manifest import compare
    from omrl_bench.data.store import dataset_folder, read_contexts, read_episodes

    episodes, receipt = read_episodes(family, quality)
    files = dataset_folder(family, quality).rglob("*")
    return Local(
        episodes=episodes,
        content=receipt.content,
        contexts=read_contexts(family, quality).hashes(family.tasks().by_split()),
        dropped=receipt.dropped,
        size=sum(file.stat().st_size for file in files if file.is_file()),
        status=compare(episodes, family, quality)[0],
    )
