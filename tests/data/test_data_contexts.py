"""Context sets: whole episodes, against brute-force ranks."""

import numpy as np
import pytest

from omrl_bench.data.contexts import DRAWS, SOURCES, draw_contexts, source_dataset
from omrl_bench.data.manifest import read_manifest
from omrl_bench.errors import InputError
from omrl_bench.vocabulary import UNITS

#: Ranks, from the worst, of so many episodes: the top and bottom 10 % and the middle 45-55 %, rounded outwards.
RANKS = {
    45: {"high": range(40, 45), "medium": range(20, 25), "low": range(0, 5)},
    20: {"high": range(18, 20), "medium": range(9, 11), "low": range(0, 2)},
}
QUALITIES = ("high", "medium", "low")


@pytest.fixture(scope="module")
def mixed_draws(point, canonical):
    return draw_contexts(point, "mixed", canonical["mixed"]).draws


def ranked(episodes, task):
    """Episode numbers of a task, from the lowest return to the highest."""
    returns = episodes.returns()
    return sorted(np.flatnonzero(episodes.tasks == task).tolist(), key=lambda e: (returns[e], e))


@pytest.mark.parametrize("quality", QUALITIES)
def test_pools_are_exactly_the_rank_ranges(point, canonical, mixed_draws, quality):
    draws, tasks = mixed_draws[quality, "episode"], point.tasks().ids()
    assert draws.shape == (len(tasks), DRAWS)
    sizes = set()
    for task in tasks:
        order = ranked(canonical["mixed"], task)
        assert set(draws[task].tolist()) == {order[rank] for rank in RANKS[len(order)][quality]}
        sizes.add(len(order))
    assert sizes == set(RANKS)


def test_qualities_are_ordered_by_return(canonical, mixed_draws):
    returns = canonical["mixed"].returns()
    low, medium, high = (returns[mixed_draws[q, "episode"]] for q in ("low", "medium", "high"))
    assert (low.max(axis=1) < medium.min(axis=1)).all()
    assert (medium.max(axis=1) < high.min(axis=1)).all()


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize(("split", "pool"), [("train", 5), ("test", 2)])
def test_draws_go_through_the_pool_in_rounds_of_random_order(point, mixed_draws, quality, split, pool):
    draws = mixed_draws[quality, "episode"][point.tasks().ids(split)]
    rounds = draws.reshape(len(draws), DRAWS // pool, pool)
    assert (np.sort(rounds, axis=2) == np.sort(rounds[:, :1], axis=2)).all()
    assert not (rounds[:, 0] == rounds[:, 1]).all(axis=1).all()


@pytest.mark.parametrize("quality", ["random", "expert", "mixed"])
def test_contexts_of_a_whole_dataset_are_any_of_the_tasks_episodes(point, canonical, quality):
    assert source_dataset(quality) == quality
    draws = draw_contexts(point, quality, canonical[quality]).draws[quality, "episode"]
    tasks, train = point.tasks().ids(), point.tasks().ids("train")
    assert draws.shape == (len(tasks), DRAWS)
    np.testing.assert_array_equal(canonical[quality].tasks[draws], tasks[:, None].repeat(DRAWS, 1))
    assert all(len(set(row)) == DRAWS for row in draws.tolist())  # 45 episodes, or 20: none twice
    numbers = draws - np.searchsorted(canonical[quality].tasks, tasks)[:, None]
    assert len(np.unique(numbers[train])) == 45  # and any of them
    assert not (np.diff(numbers, axis=1) == 1).all(axis=1).any()  # in random order


def test_cross_contexts_are_all_twenty_episodes_of_the_tasks_that_have_some(point, canonical):
    episodes = canonical["cross"]
    draws = draw_contexts(point, "cross", episodes).draws["cross", "episode"]
    others = point.tasks().ids("validation", "test")
    np.testing.assert_array_equal(draws[point.tasks().ids("train")], -1)
    for task in others:
        assert sorted(draws[task].tolist()) == np.flatnonzero(episodes.tasks == task).tolist()
    assert not (np.diff(draws[others], axis=1) == 1).all(axis=1).any()  # in random order


def test_each_dataset_serves_its_qualities(point, canonical):
    assert {quality: source_dataset(quality) for quality in SOURCES} == {
        "high": "mixed",
        "medium": "mixed",
        "low": "mixed",
        "mixed": "mixed",
        "random": "random",
        "expert": "expert",
        "cross": "cross",
    }
    for dataset, episodes in canonical.items():
        served = {quality for quality, (source, _, _) in SOURCES.items() if source == dataset}
        draws = draw_contexts(point, dataset, episodes).draws
        assert set(draws) == {(quality, unit) for quality in served for unit in UNITS}


def test_the_same_dataset_gives_the_same_sets(point, canonical):
    first, second = (draw_contexts(point, "mixed", canonical["mixed"]) for _ in range(2))
    splits = point.tasks().by_split()
    assert first.hashes(splits) == second.hashes(splits)
    assert all(array.tobytes() == second.draws[key].tobytes() for key, array in first.draws.items())


def test_draws_of_episodes_are_those_of_the_first_release(mixed_draws, point, canonical):
    """Frozen: published numbers rest on them."""
    if canonical["mixed"].content_hash() != read_manifest(point).datasets["mixed"].content:
        pytest.skip("this processor rounds differently: ranks may, too")
    drawn = {quality: mixed_draws[quality, "episode"][[0, 30, 60], :8].tolist() for quality in QUALITIES}
    assert drawn == {
        "high": [
            [19, 42, 29, 39, 9, 19, 9, 42],
            [1359, 1369, 1369, 1359, 1369, 1359, 1369, 1359],
            [1959, 1969, 1959, 1969, 1959, 1969, 1959, 1969],
        ],
        "medium": [
            [10, 24, 37, 27, 15, 10, 27, 37],
            [1356, 1361, 1361, 1356, 1361, 1356, 1356, 1361],
            [1957, 1963, 1963, 1957, 1957, 1963, 1963, 1957],
        ],
        "low": [
            [2, 40, 30, 31, 32, 40, 30, 31],
            [1352, 1360, 1352, 1360, 1360, 1352, 1352, 1360],
            [1952, 1954, 1954, 1952, 1954, 1952, 1952, 1954],
        ],
    }


def test_pools_of_unequal_episodes(point, make_ragged):
    """With one to four episodes in a task no pool is empty."""
    ragged = make_ragged(point)
    draws = draw_contexts(point, "mixed", ragged).draws
    for task in point.tasks().ids():
        order = ranked(ragged, task)
        assert set(draws["high", "episode"][task]) == {order[-1]}
        assert set(draws["low", "episode"][task]) == {order[0]}
        assert set(draws["medium", "episode"][task]) <= set(order)


def test_the_middle_tenth_of_100_episodes_is_ten(point, make_ragged):
    episodes = make_ragged(point, episodes=(100, 100), length=(1, 1))  # returns rise with the episode
    draws = draw_contexts(point, "mixed", episodes).draws
    assert [set(draws[q, "episode"][0].tolist()) for q in ("low", "high")] == [set(range(10)), set(range(90, 100))]
    assert set(draws["medium", "episode"][0].tolist()) == set(range(45, 55))


def test_an_unknown_context_quality_is_an_input_error_with_the_nearest_name():
    with pytest.raises(InputError, match="unknown context quality 'hihg'; did you mean 'high'"):
        source_dataset("hihg")
