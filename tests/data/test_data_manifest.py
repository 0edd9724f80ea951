"""Manifests: what is canonical, what is equivalent, what is wrong; and the reference returns."""

from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

from omrl_bench.data import manifest as manifest_module
from omrl_bench.data.build import Collected, Levels
from omrl_bench.data.contexts import SOURCES
from omrl_bench.data.manifest import TOLERANCE, Manifest, compare, ensure_dataset, read_manifest, verify_dataset
from omrl_bench.data.store import read_episodes, write_dataset
from omrl_bench.envs.families import FAMILIES
from omrl_bench.errors import InputError
from omrl_bench.vocabulary import CONTEXT_ONLY, QUALITIES, UNITS

DATASETS = (*QUALITIES, *CONTEXT_ONLY)


def has_manifest(family):
    name = f"{family.name}-{family.version}.json"
    return resources.files("omrl_bench.data").joinpath("manifests", name).is_file()


every_manifest = pytest.mark.parametrize(
    "family", [pytest.param(f, id=f.name) for f in FAMILIES.values() if has_manifest(f)]
)


def test_a_family_with_a_manifest_has_policies_and_the_first_two_are_there(qualities_of):
    frozen = {name for name, family in FAMILIES.items() if has_manifest(family)}
    assert {"point-goal", "cheetah-vel"} <= frozen
    assert all("mixed" in qualities_of(FAMILIES[name]) for name in frozen)


@every_manifest
def test_manifest_describes_this_version_of_the_family(family):
    manifest = read_manifest(family)  # raises if the fingerprint is another
    table = family.tasks()
    assert set(manifest.datasets) == set(DATASETS)
    assert len(manifest.random) == len(manifest.expert) == len(table)
    assert len(manifest.behaviours) == 10
    for dataset, entry in manifest.datasets.items():
        training = 0 if dataset == "cross" else 45
        per_task = [training if split == "train" else 20 for split in table.splits]
        short = np.array(per_task) - entry.episodes
        assert (short >= 0).all()
        assert short.sum() == entry.dropped <= 0.01 * sum(per_task)
        assert entry.transitions <= sum(entry.episodes) * family.horizon
        if family.law.split(":")[0].rsplit(".")[-1] in ("point", "cheetah"):  # they never terminate
            assert entry.transitions == sum(entry.episodes) * family.horizon
        assert len(entry.return_mean) == len(entry.return_std) == len(table)
        served = {quality for quality, (source, _, _) in SOURCES.items() if source == dataset}
        assert set(entry.contexts) == {f"{quality}.{unit}" for quality in served for unit in UNITS}
        splits = set(table.by_split())
        assert all(set(hashes) == splits for hashes in entry.contexts.values())
        assert set(entry.parts) == splits - ({"train"} if dataset == "cross" else set())
    for kind in ("content", "parts", "contexts"):
        values = [str(getattr(entry, kind)) for entry in manifest.datasets.values() if getattr(entry, kind)]
        assert len(set(values)) == len(values)


@every_manifest
def test_the_expert_is_better_than_random(family):
    manifest = read_manifest(family)
    random, expert = np.array(manifest.random), np.array(manifest.expert)
    assert expert.mean() > random.mean()
    assert (expert > random).mean() > 0.9
    means = {quality: np.array(entry.return_mean) for quality, entry in manifest.datasets.items()}
    assert means["expert"].mean() > means["mixed"].mean() > means["random"].mean()
    assert abs(means["random"].mean() - random.mean()) < 0.02 * (expert.mean() - random.mean())  # two samples
    others = family.tasks().ids("validation", "test", "extrapolation")
    assert means["cross"][others].mean() < means["expert"][others].mean()
    np.testing.assert_array_equal(np.delete(means["cross"], others), 0)


@pytest.mark.parametrize("name", ["point-goal", "cheetah-vel"])
def test_the_expert_is_better_than_random_in_every_task(name):
    manifest = read_manifest(FAMILIES[name])
    assert (np.array(manifest.expert) > np.array(manifest.random)).all()
    expert, mixed = (np.array(manifest.datasets[quality].return_mean) for quality in ("expert", "mixed"))
    assert (expert > mixed).all()


@every_manifest
def test_medium_is_about_half_way_between_random_and_expert(family):
    """About: it rests on measured means of the behaviours, with errors of some per cent of the range."""
    train = family.tasks().ids("train")
    random, medium, expert = (
        np.array(read_manifest(family).datasets[quality].return_mean)[train].mean()
        for quality in ("random", "medium", "expert")
    )
    assert (medium - random) / (expert - random) == pytest.approx(0.5, abs=0.12)


FROZEN = {
    "point-goal": {"mixed": "67928a7b8828", "expert": "a91bc4d0b26f", "random": "6bbe2cc8adba"},
    "cheetah-vel": {"mixed": "0f10dd1711b7", "expert": "d1c431e81320", "random": "dd76b1896872"},
}


@pytest.mark.parametrize("name", FROZEN)
def test_content_of_the_first_release_is_frozen(name):
    datasets = read_manifest(FAMILIES[name]).datasets
    assert {quality: datasets[quality].content[:12] for quality in FROZEN[name]} == FROZEN[name]


def test_levels_and_reference_are_means_over_tasks(point):
    manifest = read_manifest(point)
    tasks = len(point.tasks())
    means = (pytest.approx(sum(manifest.random) / tasks), pytest.approx(sum(manifest.expert) / tasks))
    assert manifest.reference() == means
    # measured apart, in the tasks of the first version only
    assert manifest.levels() == Levels(manifest.random_level, manifest.behaviours)
    assert manifest.random_level == pytest.approx(sum(manifest.random) / tasks, rel=0.02)


def test_reference_expert_of_point_goal_is_the_exact_optimum(point):
    """The best step is the clipped difference on each axis; the loop is in plain Python."""
    for goal, stored in zip(point.tasks().descriptors, read_manifest(point).expert, strict=True):
        x = y = total = 0.0
        for _ in range(60):
            x += min(max(goal[0] - x, -0.1), 0.1)
            y += min(max(goal[1] - y, -0.1), 0.1)
            total -= ((x - goal[0]) ** 2 + (y - goal[1]) ** 2) ** 0.5
        assert stored == pytest.approx(total, rel=0.01)


def test_reference_random_of_point_goal(point):
    assert np.mean(read_manifest(point).random) == pytest.approx(-63.2, rel=0.01)


# --- compare


@pytest.mark.parametrize("quality", DATASETS)
def test_a_full_build_of_point_goal_is_canonical(point, canonical, quality):
    episodes = canonical[quality]
    entry = read_manifest(point).datasets[quality]
    returns = episodes.returns()
    means = [returns[episodes.tasks == task].mean() if entry.episodes[task] else 0 for task in point.tasks().ids()]
    # rounding cannot move a mean return by more than this, another random draw does
    np.testing.assert_allclose(means, entry.return_mean, rtol=0, atol=2e-3)
    status, reason = compare(episodes, point, quality)
    if status == "equivalent":
        pytest.skip(f"this processor rounds differently: {reason}")
    assert (status, reason) == ("canonical", "the content hash is the manifest's")


@pytest.mark.parametrize("quality", DATASETS)
def test_rounding_noise_is_equivalent(point, canonical, quality):
    episodes = canonical[quality]
    rng = np.random.default_rng(0)
    noisy = replace(
        episodes,
        rewards=(episodes.rewards + 1e-7 * rng.standard_normal(len(episodes.rewards))).astype(np.float32),
        observations=(episodes.observations + 1e-7 * rng.standard_normal(episodes.observations.shape)).astype("f4"),
    )
    status, reason = compare(noisy, point, quality)
    assert status == "equivalent"
    assert "other bytes, but the returns agree" in reason


def test_other_random_draws_are_equivalent(point, canonical):
    """The same policies with other draws: a task's mean return is off by its standard error."""
    episodes = canonical["random"]
    rng = np.random.default_rng(0)
    counts = episodes.counts(len(point.tasks()))
    order = np.repeat(np.searchsorted(episodes.tasks, point.tasks().ids()), counts)
    order += rng.integers(np.repeat(counts, counts))
    resampled = replace(
        episodes,
        rewards=episodes.rewards.reshape(-1, point.horizon)[order].ravel(),
    )
    assert compare(resampled, point, "random")[0] == "equivalent"


def shift_task(episodes, task, amount):
    rewards = episodes.rewards.copy()
    rewards[np.repeat(episodes.tasks == task, np.diff(episodes.offsets))] += amount
    return replace(episodes, rewards=rewards)


@pytest.mark.parametrize(("task", "episodes"), [(17, 45), (97, 20)])
@pytest.mark.parametrize("quality", QUALITIES)
def test_one_shifted_task_is_wrong(point, canonical, quality, task, episodes):
    """A shift by 5.5 standard errors of the difference is noticed, one by 4.5 is not."""
    entry = read_manifest(point).datasets[quality]
    error = entry.return_std[task] * np.sqrt(2 / episodes)
    for factor, expected in ((TOLERANCE + 0.5, "wrong"), (TOLERANCE - 0.5, "equivalent")):
        status, reason = compare(shift_task(canonical[quality], task, factor * error / 60), point, quality)
        assert status == expected
        assert f"task {task}'s mean return is {factor:.1f} standard errors" in reason


def test_a_shift_to_better_returns_is_wrong_too(point, canonical):
    assert compare(shift_task(canonical["mixed"], 0, 1.0), point, "mixed")[0] == "wrong"
    assert compare(shift_task(canonical["mixed"], 139, -1.0), point, "mixed")[0] == "wrong"


@pytest.mark.parametrize(("factor", "expected"), [(TOLERANCE + 0.5, "wrong"), (TOLERANCE - 0.5, "equivalent")])
def test_one_shifted_task_of_the_tasks_that_cross_has(point, canonical, factor, expected):
    """20 episodes, and tasks without any."""
    episodes = canonical["cross"]
    error = read_manifest(point).datasets["cross"].return_std[40] * np.sqrt(2 / 20)
    status, reason = compare(shift_task(episodes, 40, factor * error / 60), point, "cross")
    assert status == expected
    assert f"task 40's mean return is {factor:.1f} standard errors" in reason


def test_nan_rewards_are_wrong(point, canonical):
    assert compare(shift_task(canonical["mixed"], 3, np.nan), point, "mixed")[0] == "wrong"


@pytest.mark.parametrize(
    ("dropped", "said"),
    [
        (range(45 * 7, 45 * 7 + 1), "task 7 has 44 episodes, the canonical dataset 45"),
        (range(3550 - 20, 3550), "task 139 has 0 episodes, the canonical dataset 20"),
        (range(0, 3550, 2), "task 0 has 22 episodes, the canonical dataset 45"),
    ],
)
def test_missing_episodes_are_wrong(point, canonical, dropped, said):
    kept = np.setdiff1d(np.arange(len(canonical["mixed"].tasks)), dropped)
    assert compare(canonical["mixed"].select(kept), point, "mixed") == ("wrong", said)


def test_episodes_of_a_task_that_has_none_are_wrong(point, canonical):
    tasks = canonical["cross"].tasks.copy()
    tasks[:20] = 29
    status, said = compare(replace(canonical["cross"], tasks=tasks), point, "cross")
    assert (status, said) == ("wrong", "task 29 has 20 episodes, the canonical dataset 0")


def test_another_quality_is_wrong(point, canonical):
    assert compare(canonical["expert"], point, "mixed")[0] == "wrong"
    assert compare(canonical["mixed"], point, "expert")[0] == "wrong"


# --- verify, ensure


def test_verify_reads_the_local_dataset(point, canonical, written):
    assert verify_dataset(point, "mixed") == ("wrong", "task 0 has 2 episodes, the canonical dataset 45")
    with pytest.raises(InputError, match="is not in"):
        verify_dataset(point, "expert")


def test_ensure_builds_what_is_missing_and_says_so(point, root, monkeypatch, small):
    calls = []

    def collect(family, quality, threads, levels, progress):
        calls.append((family.name, quality, threads, levels))
        return Collected(small, 3)

    monkeypatch.setattr(manifest_module, "collect", collect)
    said = []
    for _ in range(2):
        ensure_dataset(point, "random", 2, said.append)
    assert said == ["building omrl/point-goal/random-v1"]
    assert calls == [("point-goal", "random", 2, read_manifest(point).levels())]
    episodes, receipt = read_episodes(point, "random")
    assert episodes.content_hash() == small.content_hash()
    assert receipt.dropped == 3


def test_reference_scores_of_the_dataset_are_the_manifests_means(point, root, monkeypatch, small):
    import minari

    monkeypatch.setattr(manifest_module, "collect", lambda *_, **__: Collected(small, 0))
    ensure_dataset(point, "expert", 1, lambda text: None)
    metadata = minari.load_dataset("omrl/point-goal/expert-v1").storage.metadata
    assert metadata["ref_min_score"] == pytest.approx(np.mean(read_manifest(point).random))
    assert metadata["ref_max_score"] == pytest.approx(np.mean(read_manifest(point).expert))


def test_a_family_without_a_manifest_is_an_input_error(point, root):
    with pytest.raises(InputError, match=r"has no manifest point-nowhere-v1\.json yet"):
        read_manifest(replace(point, name="point-nowhere"))


def test_a_manifest_of_another_definition_is_an_input_error(point):
    with pytest.raises(InputError, match="is of another definition of point-goal"):
        read_manifest(replace(point, horizon=61))


def test_freeze_writes_the_manifest_that_is_in_the_package(point, root, monkeypatch, canonical):
    """Without the files: they are tested elsewhere and take seconds."""
    stored, asked = [], {}

    def collect(family, quality, threads, levels=None):
        asked[quality] = levels
        return Collected(canonical[quality], 0)

    monkeypatch.setattr(manifest_module, "collect", collect)
    monkeypatch.setattr(manifest_module, "write_dataset", lambda *arguments: stored.append(arguments))
    again = Manifest.model_validate_json(manifest_module.freeze(point, 1, lambda text: None))
    frozen = read_manifest(point)
    np.testing.assert_allclose(again.expert, frozen.expert, atol=2e-3)
    np.testing.assert_allclose(again.random, frozen.random, atol=2e-3)
    np.testing.assert_allclose(again.behaviours, frozen.behaviours, atol=2e-3)
    np.testing.assert_allclose(asked["medium"].behaviours, frozen.behaviours, atol=2e-3)
    assert asked["medium"].random == pytest.approx(frozen.levels().random, abs=2e-3)
    assert again.family_fingerprint == frozen.family_fingerprint
    assert list(asked) == list(again.datasets) == [arguments[1] for arguments in stored] == list(DATASETS)
    assert {arguments[4] for arguments in stored} == {0}
    assert stored[0][3] == pytest.approx((np.mean(frozen.random), np.mean(frozen.expert)), abs=1e-3)
    if any(canonical[q].content_hash() != frozen.datasets[q].content for q in DATASETS):
        pytest.skip("this processor rounds differently")
    assert again.datasets == frozen.datasets


def test_write_dataset_is_what_verify_calls_canonical(point, root, canonical, monkeypatch):
    """Against a manifest made for a small dataset, so that it holds on every processor."""
    small = canonical["mixed"].select(np.searchsorted(canonical["mixed"].tasks, point.tasks().ids()))
    frozen = read_manifest(point)
    entry = frozen.datasets["mixed"].model_copy(update={"content": small.content_hash()})
    patched = frozen.model_copy(update={"datasets": {"mixed": entry}})
    monkeypatch.setattr(manifest_module, "read_manifest", lambda family: patched)
    write_dataset(point, "mixed", small, (0.0, 1.0))
    assert verify_dataset(point, "mixed") == ("canonical", "the content hash is the manifest's")
