"""A dataset that somebody collected with Minari is taken in as a quality of a family of one's own."""

import gymnasium
import minari
import numpy as np
import pytest
from minari.data_collector.episode_buffer import EpisodeBuffer

from omrl_bench.cards.card import make_card
from omrl_bench.cards.page import card_sections
from omrl_bench.data.behaviour import EXPERT, make_actor
from omrl_bench.data.contexts import draw_contexts
from omrl_bench.data.elsewhere import UNKNOWN_SEED, read_minari
from omrl_bench.data.manifest import Manifest, build_dataset, verify_dataset
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.data.store import read_episodes
from omrl_bench.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")  # what a dataset had better have
RELABELS = frozenset({"reward_function"})


@pytest.fixture
def home(ring, tmp_path, monkeypatch):
    """An empty Minari root."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path


def collect(family, minari_id, episodes=2, seed=lambda number: number, change=lambda facts: facts, last=0):
    """Collect with Gymnasium and Minari, in tasks from last to first, as any user would."""
    env, rng, table = gymnasium.make(family.env_id), np.random.default_rng(3), family.tasks()
    actor, buffers, facts = make_actor(family), [], []
    for number in range(episodes * (len(table) - last)):
        task = len(table) - 1 - number // episodes
        observations, actions, rewards, ends = [env.reset(seed=seed(number), options={"task": task})[0]], [], [], []
        actor.reset(np.array([EXPERT]), rng)
        while not ends or not any(ends[-1]):
            act = actor.act(observations[-1][None], table.descriptors[[task]], rng)[0].astype(np.float32)
            observation, reward, *end, _ = env.step(act)
            observations.append(observation)
            actions.append(act)
            rewards.append(reward)
            ends.append(end)
        terminations, truncations = np.array(ends).T
        arrays = {"terminations": terminations, "truncations": truncations}
        arrays |= {"observations": np.array(observations), "actions": np.array(actions), "rewards": np.array(rewards)}
        buffers.append(EpisodeBuffer(id=number, seed=seed(number), **arrays))
        facts.append({"task_id": task, "split": table.splits[task], "behaviour": EXPERT, "return": sum(rewards)})
    dataset = minari.create_dataset_from_buffers(minari_id, buffers, env=env, algorithm_name="a", author="b")
    dataset.storage.update_episode_metadata([change(about) for about in facts])
    env.close()
    return minari_id


def test_it_is_read_ordered_by_task(ring, home):
    episodes = read_minari(ring, collect(ring, "walks/ring-v0"))
    assert episodes.tasks.tolist() == np.repeat(np.arange(13), 2).tolist()
    assert (np.diff(episodes.offsets) == 12).all() and not episodes.terminated.any()
    assert sorted(episodes.seeds) == list(range(26)) and set(episodes.behaviours) == {EXPERT}
    np.testing.assert_array_equal(episodes.observations[1:12], episodes.next_observations[:11])
    law, rows = ring.make_law(), np.arange(12 * 26)
    goals = ring.tasks().descriptors[np.repeat(episodes.tasks, 12)]
    rewards = law.reward(episodes.observations[rows], episodes.actions[rows], episodes.next_observations[rows], goals)
    np.testing.assert_allclose(rewards, episodes.rewards, atol=1e-5)


def test_its_rewards_can_be_relabelled_if_it_replays(ring, home):
    known = MetaDataset(ring, read_minari(ring, collect(ring, "walks/known-v0")), RELABELS)
    relabelled = known.relabelled_rewards(np.array([0]), np.array([0]))
    np.testing.assert_allclose(relabelled[0], known.rewards[:12], atol=1e-5)
    wrong = read_minari(ring, collect(ring, "walks/large-v0", seed=lambda number: 2**63 + number))
    assert (wrong.seeds == UNKNOWN_SEED).all()
    with pytest.raises(InputError, match="these data do not replay from seeds"):
        MetaDataset(ring, wrong, RELABELS).relabelled_rewards(np.array([0]), np.array([0]))


def test_seeds_that_do_not_replay_are_unknown(ring, home, monkeypatch):
    from omrl_bench.data import elsewhere

    taken = read_minari(ring, collect(ring, "walks/square-v0"))
    assert (taken.seeds != UNKNOWN_SEED).all()
    shifted = type(taken)(**taken.arrays() | {"next_observations": taken.next_observations + np.float32(0.01)})
    monkeypatch.setattr(elsewhere, "_joined", lambda logged, facts: shifted)
    assert (read_minari(ring, "walks/square-v0").seeds == UNKNOWN_SEED).all()


def test_a_manifest_says_where_it_is_from_and_others_build_it_from_there(ring, home, invoke, frozen, monkeypatch):
    collect(ring, "walks/ring-v0")
    outcome = invoke("data", "freeze", "ring-goal", "--out", home / "manifests", "--take", "mixed=walks/ring-v0")
    assert outcome.code == 0, outcome.err
    text = (home / "manifests" / "ring-goal-v0.json").read_text()
    manifest = Manifest.model_validate_json(text)
    assert manifest.datasets["mixed"].source == "walks/ring-v0" and text.count('"source"') == 1
    assert manifest.datasets["mixed"].episodes == (2,) * 13
    assert manifest.datasets["expert"].episodes == (45,) * 6 + (20,) * 7  # of the training tasks, and of all others
    monkeypatch.setattr("omrl_bench.data.manifest.read_manifest", lambda family: manifest)
    before = read_episodes(ring, "mixed")[0]
    build_dataset(ring, "mixed", 1)
    assert verify_dataset(ring, "mixed")[0] == "canonical"
    assert (
        minari.load_dataset("omrl/ring-goal/mixed-v0").storage.metadata["algorithm_name"] == "taken from walks/ring-v0"
    )
    card = make_card(ring, manifest, {}, None)
    assert ("collected elsewhere", "mixed: walks/ring-v0") in card_sections(card)[0].rows
    assert read_episodes(ring, "mixed")[0].content_hash() == before.content_hash()
    draws = draw_contexts(ring, "mixed", before).draws["high", "episode"]
    assert (before.tasks[draws] == np.arange(13)[:, None]).all()


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"change": lambda facts: facts | {"split": "train"}}, "is for extrapolation, not train"),
        ({"change": lambda facts: facts | {"task_id": 13}}, "there is no task 13; the table has tasks 0 to 12"),
        ({"change": lambda facts: facts | {"return": 99.0}}, "its metadata say return 99"),
        ({"change": lambda facts: {"task_id": facts["task_id"]}}, "its metadata lack 'split'; needed: task_id, split"),
        ({"last": 1}, "has no episode of task 0 of ring-goal"),
    ],
    ids=["split", "task", "return", "metadata", "missing"],
)
def test_what_is_not_the_familys_is_not_taken(ring, home, keywords, words):
    collect(ring, "walks/bad-v0", episodes=1, **keywords)
    with pytest.raises(InputError, match=f"Minari dataset walks/bad-v0.*({words})"):
        read_minari(ring, "walks/bad-v0")


def test_a_dataset_of_another_family_is_not_taken(ring, point, home):
    collect(point, "walks/point-v0", episodes=1)
    with pytest.raises(InputError, match=r"there is no task 139|it has 60 steps; the horizon is 12"):
        read_minari(ring, "walks/point-v0")


@pytest.mark.parametrize(
    ("take", "words"),
    [
        ("mixt=walks/ring-v0", "unknown quality 'mixt'; did you mean 'mixed'"),
        ("cross=walks/ring-v0", "unknown quality 'cross'"),
        ("mixed", "--take mixed: write it as QUALITY=MINARI_ID"),
    ],
)
def test_bad_ways_to_say_what_to_take(ring, home, invoke, take, words):
    outcome = invoke("data", "freeze", "ring-goal", "--out", home, "--take", take)
    assert outcome.code == 2 and words in outcome.err and outcome.err.count("\n") == 1
