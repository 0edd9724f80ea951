"""Manifests: what is canonical, what is equivalent, what is wrong; and the reference returns."""

from dataclasses import replace

import numpy as np
import pytest

from omrl_bench.data import manifest as manifest_module
from omrl_bench.data.manifest import TOLERANCE, Manifest, compare, ensure_dataset, read_manifest, verify_dataset
from omrl_bench.data.store import QUALITIES, read_episodes, write_dataset
from omrl_bench.envs.families import FAMILIES
from omrl_bench.errors import InputError

every_family = pytest.mark.parametrize("family", [pytest.param(f, id=f.name) for f in FAMILIES.values()])


@every_family
def test_manifest_describes_this_version_of_the_family(family):
    manifest = read_manifest(family)  # raises if the fingerprint is another
    count = len(family.tasks())
    assert set(manifest.datasets) == set(QUALITIES)
    assert len(manifest.random) == len(manifest.expert) == count
    for entry in manifest.datasets.values():
        assert entry.episodes == 45 * count
        assert entry.transitions == entry.episodes * family.horizon  # no family here terminates
        assert len(entry.return_mean) == len(entry.return_std) == count
        assert min(entry.return_std) > 0
    assert len({entry.content for entry in manifest.datasets.values()}) == 3


@every_family
def test_the_expert_is_better_than_random_in_every_task(family):
    manifest = read_manifest(family)
    assert (np.array(manifest.expert) > np.array(manifest.random)).all()
    means = {quality: np.array(entry.return_mean) for quality, entry in manifest.datasets.items()}
    assert (means["expert"] > means["mixed"]).all()
    assert means["mixed"].mean() > means["random"].mean()
    np.testing.assert_allclose(means["random"], manifest.random)


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


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_full_build_of_point_goal_is_canonical(point, canonical, quality):
    episodes = canonical[quality]
    entry = read_manifest(point).datasets[quality]
    means = episodes.returns().reshape(60, 45).mean(axis=1)
    # rounding cannot move a mean return by more than this, another random draw does
    np.testing.assert_allclose(means, entry.return_mean, rtol=0, atol=2e-3)
    status, reason = compare(episodes, point, quality)
    if status == "equivalent":
        pytest.skip(f"this processor rounds differently: {reason}")
    assert (status, reason) == ("canonical", "the content hash is the manifest's")


@pytest.mark.parametrize("quality", QUALITIES)
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
    order = np.concatenate([45 * task + rng.integers(45, size=45) for task in range(60)])
    resampled = replace(
        episodes,
        rewards=episodes.rewards.reshape(-1, 60)[order].ravel(),
    )
    assert compare(resampled, point, "random")[0] == "equivalent"


def shift_task(episodes, task, amount):
    rewards = episodes.rewards.copy().reshape(60, -1)
    rewards[task] += amount
    return replace(episodes, rewards=rewards.ravel())


@pytest.mark.parametrize("quality", QUALITIES)
def test_one_shifted_task_is_wrong(point, canonical, quality):
    """A shift by 5.5 standard errors of the difference is noticed, one by 4.5 is not."""
    entry = read_manifest(point).datasets[quality]
    error = entry.return_std[17] * np.sqrt(2 / 45)
    for factor, expected in ((TOLERANCE + 0.5, "wrong"), (TOLERANCE - 0.5, "equivalent")):
        status, reason = compare(shift_task(canonical[quality], 17, factor * error / 60), point, quality)
        assert status == expected
        assert f"task 17's mean return is {factor:.1f} standard errors" in reason


def test_a_shift_to_better_returns_is_wrong_too(point, canonical):
    assert compare(shift_task(canonical["mixed"], 0, 1.0), point, "mixed")[0] == "wrong"
    assert compare(shift_task(canonical["mixed"], 59, -1.0), point, "mixed")[0] == "wrong"


def test_nan_rewards_are_wrong(point, canonical):
    assert compare(shift_task(canonical["mixed"], 3, np.nan), point, "mixed")[0] == "wrong"


def keep_episodes(episodes, kept):
    rows = np.concatenate([np.arange(episodes.offsets[e], episodes.offsets[e + 1]) for e in kept])
    lengths = np.diff(episodes.offsets)[kept]
    per_row = {name: getattr(episodes, name)[rows] for name in ("observations", "actions", "rewards")}
    per_row |= {name: getattr(episodes, name)[rows] for name in ("next_observations", "terminated")}
    per_episode = {name: getattr(episodes, name)[kept] for name in ("tasks", "behaviours", "seeds")}
    return replace(episodes, **per_row, **per_episode, offsets=np.concatenate([[0], np.cumsum(lengths)]))


@pytest.mark.parametrize(
    ("dropped", "said"),
    [
        (range(45 * 7, 45 * 7 + 1), "task 7 has 44 episodes, the canonical dataset 45"),
        (range(45 * 59, 45 * 60), "task 59 has 0 episodes, the canonical dataset 45"),
        (range(0, 45 * 60, 2), "task 0 has 22 episodes, the canonical dataset 45"),
    ],
)
def test_missing_episodes_are_wrong(point, canonical, dropped, said):
    kept = np.setdiff1d(np.arange(45 * 60), dropped)
    assert compare(keep_episodes(canonical["mixed"], kept), point, "mixed") == ("wrong", said)


def test_another_quality_is_wrong(point, canonical):
    assert compare(canonical["expert"], point, "mixed")[0] == "wrong"
    assert compare(canonical["mixed"], point, "expert")[0] == "wrong"


# --- verify, ensure


def test_verify_reads_the_local_dataset(point, canonical, written):
    assert verify_dataset(point, "mixed") == ("wrong", "task 0 has 2 episodes, the canonical dataset 45")
    with pytest.raises(InputError, match="is not in"):
        verify_dataset(point, "expert")


def test_ensure_builds_what_is_missing_and_says_so(point, root, monkeypatch, small):
    collected = []

    def collect(family, quality, threads):
        collected.append((family.name, quality, threads))
        return small

    monkeypatch.setattr(manifest_module, "collect", collect)
    said = []
    for _ in range(2):
        ensure_dataset(point, "random", 2, said.append)
    assert said == ["building omrl/point-goal/random-v0"]
    assert collected == [("point-goal", "random", 2)]
    assert read_episodes(point, "random")[0].content_hash() == small.content_hash()


def test_reference_scores_of_the_dataset_are_the_manifests_means(point, root, monkeypatch, small):
    import minari

    monkeypatch.setattr(manifest_module, "collect", lambda family, quality, threads: small)
    ensure_dataset(point, "expert", 1, lambda text: None)
    metadata = minari.load_dataset("omrl/point-goal/expert-v0").storage.metadata
    assert metadata["ref_min_score"] == pytest.approx(np.mean(read_manifest(point).random))
    assert metadata["ref_max_score"] == pytest.approx(np.mean(read_manifest(point).expert))


def test_a_family_without_a_manifest_is_an_input_error(point, root):
    with pytest.raises(InputError, match=r"has no manifest point-nowhere-v0\.json yet"):
        read_manifest(replace(point, name="point-nowhere"))


def test_a_manifest_of_another_definition_is_an_input_error(point):
    with pytest.raises(InputError, match="is of another definition of point-goal"):
        read_manifest(replace(point, horizon=61))


def test_freeze_writes_the_manifest_that_is_in_the_package(point, root, monkeypatch, canonical):
    """Without the files: they are tested elsewhere and take seconds."""
    stored, said = [], []
    monkeypatch.setattr(manifest_module, "collect", lambda family, quality, threads: canonical[quality])
    monkeypatch.setattr(manifest_module, "write_dataset", lambda *arguments: stored.append(arguments))
    again = Manifest.model_validate_json(manifest_module.freeze(point, 1, said.append))
    frozen = read_manifest(point)
    np.testing.assert_allclose(again.expert, frozen.expert, atol=2e-3)
    np.testing.assert_allclose(again.random, frozen.random, atol=2e-3)
    assert again.family_fingerprint == frozen.family_fingerprint
    assert [arguments[1] for arguments in stored] == ["random", "expert", "mixed"]
    assert stored[0][3] == pytest.approx((np.mean(frozen.random), np.mean(frozen.expert)), abs=1e-3)
    if any(canonical[q].content_hash() != frozen.datasets[q].content for q in QUALITIES):
        pytest.skip("this processor rounds differently")
    assert again.datasets == frozen.datasets


def test_write_dataset_is_what_verify_calls_canonical(point, root, canonical, monkeypatch):
    """Against a manifest made for a small dataset, so that it holds on every processor."""
    small = keep_episodes(canonical["mixed"], np.arange(0, 2700, 45))
    frozen = read_manifest(point)
    entry = frozen.datasets["mixed"].model_copy(update={"content": small.content_hash()})
    patched = frozen.model_copy(update={"datasets": {"mixed": entry}})
    monkeypatch.setattr(manifest_module, "read_manifest", lambda family: patched)
    write_dataset(point, "mixed", small, (0.0, 1.0))
    assert verify_dataset(point, "mixed") == ("canonical", "the content hash is the manifest's")
