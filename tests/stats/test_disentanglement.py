"""DCI and InfoMEC of codes that are known to hold their factors well, badly or not at all."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from omrl_bench.stats.disentanglement import BINS, FEWEST_TASKS, MOST_FACTORS, NAMES, disentanglement
from omrl_bench.stats.disentanglement import normalised_information as information
from omrl_bench.stats.representation import measures

DCI, INFOMEC = NAMES[:3], NAMES[3:]
TASKS = 100


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def factors(rng):
    return rng.uniform(-1, 1, (TASKS, 2))


def rotation(size, rng):
    return np.linalg.qr(rng.normal(size=(size, size)))[0]


def test_a_code_that_is_its_factors_is_perfect(factors):
    assert disentanglement(factors, factors) == pytest.approx(dict.fromkeys(NAMES, 1), abs=0.01)


def test_dimensions_without_information_cost_little(factors, rng):
    code = np.column_stack([factors, rng.normal(size=(TASKS, 18)), np.ones(TASKS)])
    assert min(disentanglement(code, factors).values()) > 0.9


def test_a_rotated_code_has_all_information_and_is_not_disentangled(factors):
    rotated = factors @ np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    found = disentanglement(rotated, factors)
    assert found["informativeness"] > 0.99 and found["explicitness"] > 0.99
    assert all(found[name] < 0.2 for name in ("disentanglement", "completeness", "modularity", "compactness"))


def test_noise_and_a_constant_code_tell_nothing(factors, rng):
    noise = [disentanglement(rng.normal(size=(TASKS, size)), factors) for size in (5, 5, 5, 20, 40)]
    assert np.mean([found["informativeness"] for found in noise]) < 0.03
    assert np.mean([found["explicitness"] for found in noise]) < 0.03
    assert max(found["compactness"] for found in noise) == 0
    assert disentanglement(np.ones((TASKS, 5)), factors) == dict.fromkeys(NAMES, 0)


def test_order_sign_and_scale_of_dimensions_do_not_matter(factors, rng):
    code = np.column_stack([factors + 0.3 * rng.normal(size=factors.shape), rng.normal(size=(TASKS, 3))])
    code = code @ rotation(5, rng)
    other = (code * [3, -0.01, 100, 1, -7])[:, [3, 1, 4, 0, 2]]
    assert disentanglement(other, factors) == pytest.approx(disentanglement(code, factors), abs=0.01)


def test_a_code_twice_is_not_compact(factors):
    found = disentanglement(np.tile(factors, 2), factors)
    assert found["modularity"] == pytest.approx(1)
    assert found["compactness"] < 0.7


def test_of_one_factor_every_code_would_be_disentangled(rng):
    velocity = rng.uniform(0, 3, (TASKS, 1))
    found = disentanglement(np.column_stack([velocity, rng.normal(size=(TASKS, 4))]), velocity)
    assert np.isnan([found["disentanglement"], found["modularity"]]).all()
    assert all(found[name] > 0.95 for name in NAMES if name not in ("disentanglement", "modularity"))
    direction = np.sign(velocity - 1.5)
    assert disentanglement(direction, direction)["compactness"] == 1


def test_factors_that_tell_of_one_another_have_no_modularity(rng):
    angle = rng.uniform(0, 2 * np.pi, TASKS)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    found = disentanglement(circle, circle)
    assert np.isnan([found["modularity"], found["compactness"]]).all()
    assert all(found[name] > 0.95 for name in (*DCI, "explicitness"))


def test_too_few_tasks_or_too_many_factors_have_no_measures(rng):
    few = rng.normal(size=(FEWEST_TASKS - 1, 2))
    many = rng.normal(size=(TASKS, MOST_FACTORS + 1))
    for values in (few, many, np.ones((TASKS, 2))):
        assert np.isnan(list(disentanglement(values, values).values())).all()


def test_information_is_that_of_scikit_learn_where_it_is_more_than_chance(factors, rng):
    code = np.column_stack([factors[:, 0] + 0.1 * rng.normal(size=TASKS), factors.sum(axis=1), rng.normal(size=TASKS)])
    found = information(code, factors)

    def bins(values):
        return np.digitize(values, np.quantile(values, np.arange(1, BINS) / BINS))

    for (i, j), value in np.ndenumerate(found):
        expected = mutual_info_score(bins(code[:, i]), bins(factors[:, j])) / np.log(BINS)
        assert value in (0, pytest.approx(expected))
    assert (found[[0, 1, 1], [0, 0, 1]] > 0.15).all() and not found[2].any()


def test_noise_seldom_has_information(rng):
    found = [information(rng.normal(size=(TASKS, 10)), rng.normal(size=(TASKS, 2))).any() for _ in range(200)]
    assert np.mean(found) < 0.03


def test_measures_take_one_context_of_each_task(factors, rng):
    tasks = np.repeat(np.arange(TASKS), 2)
    code = rng.normal(size=(2 * TASKS, 2))
    code[::2] = factors  # the first context of each task tells all, the second nothing
    found = measures(code, tasks, None, factors)
    assert [found[name] for name in NAMES] == pytest.approx([1] * 6, abs=0.01)
