"""The rule that pairs seeds: Friedman's test against SciPy, errors of the rule, and coverage of what it leads to."""

import numpy as np
import pytest
from scipy import stats

from omrl_bench.stats.contrasts import marginals, on_these_tasks
from omrl_bench.stats.pairing import are_paired, pairing, seeds_correlate
from omrl_bench.stats.panels import panels


def correlated(rng, methods, seeds, share):
    """Seed means of which a share of the variance is common to all methods."""
    common = rng.normal(size=(1, seeds))
    return np.sqrt(share) * common + np.sqrt(1 - share) * rng.normal(size=(methods, seeds))


def worth(seeds):
    return 1 - (stats.t.ppf(0.975, 2 * seeds - 2) / stats.t.ppf(0.975, seeds - 1)) ** 2


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("ties", [False, True])
def test_it_is_friedmans_test_and_a_mean_rank_correlation(seeds, ties):
    rng = np.random.default_rng(seeds)
    outcomes = set()
    for _ in range(60):
        means = correlated(rng, 6, seeds, rng.uniform(0, 0.9))
        means = np.round(means) if ties else means
        if (np.ptp(means, axis=1) == 0).any():
            continue
        p = stats.friedmanchisquare(*means.T).pvalue
        expected = p < 0.01
        if not ties:
            pairs = stats.spearmanr(means.T).statistic[np.triu_indices(6, 1)]
            expected = expected and pairs.mean() > worth(seeds)
            assert seeds_correlate(means) == expected
        elif not expected:
            assert not seeds_correlate(means)
        outcomes.add(bool(expected))
    assert outcomes == {False, True}


def test_shared_noise_is_found_and_its_absence_too():
    rng = np.random.default_rng(0)
    found = {share: np.mean([seeds_correlate(correlated(rng, 9, 5, share)) for _ in range(400)]) for share in (0, 0.8)}
    assert found[0] <= 0.02 and found[0.8] >= 0.95


def test_a_correlation_that_is_not_worth_its_degrees_of_freedom_is_left_alone():
    """With 200 methods a correlation of 0.15 is beyond doubt, and pairing 5 seeds would widen the interval."""
    means = correlated(np.random.default_rng(1), 200, 5, 0.15)
    assert stats.friedmanchisquare(*means.T).pvalue < 1e-6
    assert not seeds_correlate(means)


def test_a_collapsed_seed_of_every_method_is_no_shared_noise_if_it_is_another_one():
    means = np.random.default_rng(2).normal(size=(9, 5))
    means[np.arange(9), np.arange(9) % 5] -= 100
    assert not seeds_correlate(means)


def test_what_does_not_vary_has_no_say():
    rng = np.random.default_rng(3)
    means = correlated(rng, 6, 5, 0.95)
    assert seeds_correlate(means) and seeds_correlate(np.vstack([means, np.zeros((20, 5))]))
    assert not seeds_correlate(np.ones((4, 5))) and not seeds_correlate(means[:1])
    assert not seeds_correlate(means[:, :1])


def test_only_the_order_of_seeds_within_a_method_counts():
    rng = np.random.default_rng(4)
    for share in (0.3, 0.6, 0.9):
        means = correlated(rng, 6, 5, share)
        stretched = np.exp(means * rng.uniform(0.5, 2, (6, 1))) + rng.normal(size=(6, 1))
        order = rng.permutation(5)
        assert seeds_correlate(means) == seeds_correlate(stretched) == seeds_correlate(means[:, order])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_coverage_on_these_tasks_with_the_rule(share):
    """Two of six methods, five seeds; shared noise makes what is not paired too wide, never too narrow."""
    rng = np.random.default_rng(5)
    held, widths = [], []
    for _ in range(800):
        means = correlated(rng, 6, 5, share)[:, :, None]
        found = (
            on_these_tasks(marginals(means[0] - means[1]))
            if seeds_correlate(means[:, :, 0])
            else on_these_tasks(marginals(means[0]), marginals(means[1]))
        )
        low, high = found.interval()
        held.append(low <= 0 <= high)
        unpaired = on_these_tasks(marginals(means[0]), marginals(means[1])).interval()
        widths.append((high - low) / (unpaired[1] - unpaired[0]))
    assert 0.94 <= np.mean(held) <= 0.995
    assert np.mean(widths) < 0.75 if share > 0.5 else np.mean(widths) < 1.02


def test_each_family_condition_and_set_of_seeds_has_its_own_rule(frame):
    rng = np.random.default_rng(6)
    scores = {}
    for family, condition, share in (("ant-dir", "high", 0.98), ("ant-dir", "low", 0), ("point-goal", "high", 0)):
        for method, means in enumerate(correlated(rng, 6, 5, share)):
            scores[family, condition, f"m{method}"] = np.tile(50 + 10 * means[:, None], (1, 4))
    groups = panels(frame(scores, {"m5": range(10, 15)}))
    paired = pairing(groups)
    assert {place[4:] for place in paired} == {("ant-dir", "high", (0, 1, 2, 3, 4))}
    of = {key: group[0] for key, group in groups.items() if len(group) == 1}
    (high, low) = (
        {key.method: key for key in of if (key.family, key.condition) == ("ant-dir", c)} for c in ("high", "low")
    )
    assert are_paired(paired, high["m0"], of[high["m0"]], of[high["m1"]])
    assert not are_paired(paired, high["m0"], of[high["m0"]], of[high["m5"]])
    assert not are_paired(paired, low["m0"], of[low["m0"]], of[low["m1"]])
