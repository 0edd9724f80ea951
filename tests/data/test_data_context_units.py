"""Context sets: i.i.d. transitions and segments, their hashes and files, and the padding of gathered contexts."""

import numpy as np
import pytest
from scipy.stats import kstest

from omrl_bench.data.contexts import DRAWS, SOURCES, ContextSet, draw_contexts, gather
from omrl_bench.data.manifest import read_manifest
from omrl_bench.data.store import dataset_folder, read_contexts, write_dataset
from omrl_bench.errors import InputError
from omrl_bench.vocabulary import SEGMENT, UNITS

ROW_ARRAYS = ("observations", "actions", "rewards", "next_observations", "terminated")
MIXED = [quality for quality, (source, _, _) in SOURCES.items() if source == "mixed"]
WITHOUT = [3, 139]  # tasks without episodes


@pytest.fixture(scope="module")
def ragged(point, make_ragged):
    """Episodes that are shorter and longer than a segment, and tasks without any."""
    episodes = make_ragged(point, episodes=(1, 30), length=(60, 180))
    return episodes.select(np.flatnonzero(~np.isin(episodes.tasks, WITHOUT)))


@pytest.fixture(scope="module")
def context_set(point, ragged):
    return draw_contexts(point, "mixed", ragged)


def pool(episodes, task, quality):
    """Episode numbers in the quality's range of return ranks."""
    returns = episodes.returns()
    order = sorted(np.flatnonzero(episodes.tasks == task).tolist(), key=lambda e: (returns[e], e))
    _, low, high = SOURCES[quality]
    return [e for rank, e in enumerate(order) if rank >= low * len(order) // 100 and 100 * rank < high * len(order)]


def rows_of(episodes, number):
    return range(int(episodes.offsets[number]), int(episodes.offsets[number + 1]))


@pytest.mark.parametrize("quality", MIXED)
def test_transitions_are_uniform_over_the_rows_of_the_pool(point, ragged, context_set, quality):
    draws = context_set.draws[quality, "transitions"]
    assert draws.shape == (len(point.tasks()), DRAWS, point.horizon)
    places = []
    for task in np.setdiff1d(point.tasks().ids(), WITHOUT):
        allowed = [row for e in pool(ragged, task, quality) for row in rows_of(ragged, e)]
        place = {row: k for k, row in enumerate(allowed)}
        places.append([(place[row] + 0.5) / len(allowed) for row in draws[task].ravel().tolist()])  # KeyError outside
    assert kstest(np.concatenate(places), "uniform").pvalue > 1e-3
    # every draw by itself, and no two alike
    assert kstest(np.array(places)[:, ::7].reshape(-1), "uniform").pvalue > 1e-3
    assert len(np.unique(np.sort(draws[0], axis=1), axis=0)) == DRAWS


@pytest.mark.parametrize("quality", MIXED)
def test_segments_are_consecutive_rows_of_one_episode_of_the_pool(point, ragged, context_set, quality):
    draws = context_set.draws[quality, "segment"]
    assert draws.shape == (len(point.tasks()), DRAWS, 2)
    lengths, begins = [], []
    for task in np.setdiff1d(point.tasks().ids(), WITHOUT):
        numbers = pool(ragged, task, quality)
        drawn = []
        for first, stop in draws[task].tolist():
            (number,) = (e for e in numbers if first in rows_of(ragged, e))
            drawn.append(number)
            rows = rows_of(ragged, number)
            assert stop - 1 in rows
            assert stop - first == min(SEGMENT, len(rows))
            lengths.append(stop - first)
            if len(rows) > SEGMENT:
                begins.append((first - rows[0] + 0.5) / (len(rows) - SEGMENT + 1))
        fresh = min(len(numbers), DRAWS)
        assert len(set(drawn[:fresh])) == fresh  # through the pool in rounds
    assert min(lengths) < SEGMENT == max(lengths)
    assert kstest(begins, "uniform").pvalue > 1e-3


def test_segments_begin_at_the_first_and_at_the_last_place_where_they_fit(point, make_ragged):
    episodes = make_ragged(point, episodes=(20, 20), length=(SEGMENT + 1, SEGMENT + 1))
    first = draw_contexts(point, "random", episodes).draws["random", "segment"][..., 0]
    counts = np.bincount((first % (SEGMENT + 1)).ravel())
    assert len(counts) == 2
    assert counts.min() > 0.45 * first.size


def test_units_are_drawn_independently_of_each_other(ragged, context_set):
    """The segments' episodes are not those of the draws of episodes, in the same order."""
    episodes, segments = (context_set.draws["mixed", unit] for unit in ("episode", "segment"))
    numbers = np.searchsorted(ragged.offsets, segments[:3, :, 0], side="right") - 1
    assert (numbers != episodes[:3]).any(axis=1).all()


@pytest.mark.parametrize("unit", UNITS)
def test_a_task_without_data_has_no_draws_and_gather_says_so(ragged, context_set, unit):
    draws = context_set.draws["mixed", unit]
    assert (draws[WITHOUT] == -1).all()
    assert (np.delete(draws, WITHOUT, axis=0) >= 0).all()
    with pytest.raises(InputError, match="a task has no context of this quality: `cross` has none for training tasks"):
        gather(ragged, draws[[2, 3], 0], unit=unit)


# --- hashes and files


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("quality", MIXED)
def test_the_hash_of_a_set_sees_a_changed_draw_and_no_other_does(point, ragged, quality, unit):
    """Nor does the hash of the same set for the tasks of another split."""
    context_set, splits = draw_contexts(point, "mixed", ragged), point.tasks().by_split()
    before = context_set.hashes(splits)
    context_set.draws[quality, unit][splits["test"][-1]].flat[-1] += 1
    after = context_set.hashes(splits)
    assert [
        (name, split) for name in before for split in before[name] if before[name][split] != after[name][split]
    ] == [(f"{quality}.{unit}", "test")]


def test_the_hash_of_a_set_sees_its_shape(point, context_set):
    key, splits = ("high", "segment"), point.tasks().by_split()
    flat = ContextSet(context_set.draws | {key: context_set.draws[key].reshape(len(point.tasks()), -1)})
    now, then = (each.hashes(splits)["high.segment"] for each in (flat, context_set))
    assert set(now) == {"train", "validation", "test"}
    assert all(now[split] != then[split] for split in splits)


def test_round_trip_through_arrays(point, context_set):
    arrays = context_set.arrays()
    assert set(arrays) == {f"{quality}.{unit}" for quality in MIXED for unit in UNITS}
    again = ContextSet.from_arrays(arrays)
    assert again.hashes(point.tasks().by_split()) == context_set.hashes(point.tasks().by_split())
    assert all(again.draws[key] is array for key, array in context_set.draws.items())


@pytest.mark.parametrize("dataset", ["mixed", "cross"])
def test_round_trip_through_the_file(point, ragged, root, dataset):
    ragged = ragged.select(np.arange(30))
    write_dataset(point, dataset, ragged, (0.0, 1.0))
    assert (dataset_folder(point, dataset) / "contexts.safetensors").is_file()
    read, drawn = read_contexts(point, dataset), draw_contexts(point, dataset, ragged)
    assert read.hashes(point.tasks().by_split()) == drawn.hashes(point.tasks().by_split())
    for key, array in drawn.draws.items():
        assert read.draws[key].dtype == array.dtype
        np.testing.assert_array_equal(read.draws[key], array)


def test_the_manifest_knows_the_context_sets(point, canonical):
    splits = point.tasks().by_split()
    for dataset, entry in read_manifest(point).datasets.items():
        if canonical[dataset].content_hash() != entry.content:
            pytest.skip("this processor rounds differently: ranks may, too")
        assert draw_contexts(point, dataset, canonical[dataset]).hashes(splits) == entry.contexts


# --- gather


def literal(episodes, draw, unit):
    """Rows of one draw."""
    if unit == "transitions":
        return draw.tolist()
    return list(range(*draw.tolist())) if unit == "segment" else list(rows_of(episodes, int(draw)))


@pytest.mark.parametrize("unit", UNITS)
def test_gather_equals_slow_literal_gathering(ragged, context_set, unit):
    draws = np.concatenate([context_set.draws["low", unit][:3, 0], context_set.draws["mixed", unit][40, 5:8]])
    descriptors = np.arange(12, dtype=np.float32).reshape(6, 2)
    before = ragged.content_hash()
    context = gather(ragged, draws, descriptors, unit)
    rows = [literal(ragged, draw, unit) for draw in draws]
    longest = max(len(lane) for lane in rows)
    assert context.valid.shape == (6, longest)
    assert context.descriptors is descriptors
    for lane, expected in enumerate(rows):
        np.testing.assert_array_equal(context.valid[lane], np.arange(longest) < len(expected))
        for name in ROW_ARRAYS:
            taken, source = getattr(context, name)[lane], getattr(ragged, name)
            assert taken.dtype == source.dtype
            np.testing.assert_array_equal(taken[: len(expected)], source[expected])
            assert not taken[len(expected) :].any()
    assert (len({len(lane) for lane in rows}) > 1) == (unit != "transitions")
    assert ragged.content_hash() == before


def test_an_unknown_unit_is_an_input_error_with_the_nearest_name(ragged):
    with pytest.raises(InputError, match="unknown context unit 'segments'; did you mean 'segment'"):
        gather(ragged, np.array([0]), unit="segments")


def test_gather_pads_and_masks_unequal_episodes(point, make_ragged):
    ragged = make_ragged(point)
    lengths = np.diff(ragged.offsets)
    ended = ragged.terminated[ragged.offsets[1:] - 1]
    short_ended = int(np.flatnonzero((lengths == 2) & ended)[0])
    long_cut = int(np.flatnonzero((lengths == 5) & ~ended)[0])
    middle_ended = int(np.flatnonzero((lengths == 4) & ended)[0])
    numbers = np.array([long_cut, short_ended, middle_ended, short_ended, len(lengths) - 1])
    before = ragged.content_hash()
    descriptors = np.arange(10, dtype=np.float32).reshape(5, 2)
    context = gather(ragged, numbers, descriptors)
    longest = int(lengths[numbers].max())
    assert context.valid.shape == (5, longest)
    for lane, number in enumerate(numbers):
        start, length = int(ragged.offsets[number]), int(lengths[number])
        np.testing.assert_array_equal(context.valid[lane], np.arange(longest) < length)
        for name in ("observations", "actions", "rewards", "next_observations", "terminated"):
            taken, source = getattr(context, name)[lane], getattr(ragged, name)
            assert taken.dtype == source.dtype
            assert taken.shape == (longest, *source.shape[1:])
            np.testing.assert_array_equal(taken[:length], source[start : start + length])
            assert not taken[length:].any()
    assert context.terminated.sum(axis=1)[:4].tolist() == [0, 1, 1, 1]
    assert context.descriptors is descriptors
    assert ragged.content_hash() == before


def test_gather_of_equal_episodes_has_no_padding(canonical):
    context = gather(canonical["mixed"], np.array([3, len(canonical["mixed"].tasks) - 1]))
    assert context.valid.all()
    assert context.observations.shape == (2, 60, 2)
    assert context.descriptors is None


def test_gather_is_a_copy(point, make_ragged):
    ragged = make_ragged(point)
    before = ragged.content_hash()
    gather(ragged, np.array([0, 1])).rewards[:] = 7
    assert ragged.content_hash() == before
