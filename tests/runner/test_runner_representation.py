"""What records say of the representation, in real runs."""

import math

import numpy as np
import pytest

from omrl_bench.runner.records import iterate_records
from omrl_bench.stats.disentanglement import NAMES

MEASURES = {"dimensions", "rms", "separation", "uniformity", "alignment", "silhouette", "probe"}


def by_method(results):
    return {record.cell.method: record.representation for record in iterate_records(results) if record.cell.seed == 0}


@pytest.mark.slow
def test_measures_of_every_kind_of_method(tiny, cli, inline, tmp_path):
    methods = '["random", "task-blind", "behaviour", "oracle", "focal", "borel", "ccm-rv-explore", "r2pgo"]'
    suite = tiny(('["random", "focal"]', methods))
    assert cli("run", "--suite", suite, "--seeds", "0", "--out", tmp_path).code == 0
    found = by_method(tmp_path)
    for method in ("random", "task-blind", "behaviour"):  # they have none
        assert found.pop(method) == {}
    for measured in found.values():
        assert set(measured) == {"high", "low"}
        for values in measured.values():
            assert set(values) - {*NAMES, "saturated"} == MEASURES  # of what is not confined to [-1, 1] nothing is
            assert all(math.isfinite(value) for value in values.values())
    for values in found["oracle"].values():  # it is told the descriptor, whatever the context
        assert values["probe"] == pytest.approx(1, abs=1e-3)
        assert values["alignment"] == 0
        assert values["silhouette"] == pytest.approx(1)
    assert found["oracle"]["high"] == found["oracle"]["low"]
    assert found["focal"]["high"] != found["focal"]["low"]


def test_attention_is_measured_and_kept_for_a_picture(tiny, cli, inline, tmp_path):
    from omrl_bench.runner.traces import read_traces

    suite = tiny(('["random", "focal"]', '["focalpp-batch"]'))
    assert cli("run", "--suite", suite, "--seeds", "0", "--out", tmp_path).code == 0
    (record,) = iterate_records(tmp_path)
    assert {name for values in record.representation.values() for name in values} - {
        *NAMES,
        "saturated",
    } == MEASURES | {"attention"}
    attention = read_traces(tmp_path, record.cell).attention
    assert attention.shape[0] == 2  # high and low
    assert attention.shape[3] == 2
    assert np.all((attention[..., 1] > 0) & (attention[..., 1] < 1))


def test_measures_equal_those_of_the_kept_encoder(tiny, cli, inline, tmp_path):
    """Load the weights by hand and embed the same contexts one by one."""
    from omrl_bench.api import Setup
    from omrl_bench.baselines.focal import Focal
    from omrl_bench.data.contexts import gather
    from omrl_bench.data.store import read_contexts, read_episodes
    from omrl_bench.envs.families import get_family
    from omrl_bench.stats.representation import alignment, root_mean_square

    assert cli("run", "--suite", tiny(), "--method", "focal", "--seeds", "0", "--out", tmp_path).code == 0
    (file,) = tmp_path.glob(".trained/focal/*/seeds-0/training.json")
    family = get_family("point-goal")
    method = Focal(family.space(), Setup())
    method.load(file.parent)
    policy, episodes = method.policy(0), read_episodes(family, "mixed")[0]
    draws = read_contexts(family, "mixed").draws["low", "episode"]
    tasks = np.repeat(family.tasks().ids("test"), 2)
    embedded = []
    for index, task in enumerate(tasks):
        policy.reset(1)
        policy.condition(gather(episodes, draws[task, index % 2][None]))
        embedded.append(policy.representation()[0])
    values = by_method(tmp_path)["focal"]["low"]
    assert values["rms"] == pytest.approx(root_mean_square(np.stack(embedded).astype(float), tasks), abs=1e-3)
    assert values["alignment"] == pytest.approx(alignment(np.stack(embedded).astype(float), tasks), abs=1e-3)


def test_protocols_without_given_contexts_have_none(tiny, cli, inline, tmp_path):
    suite = tiny(("given-context", "one-shot"), ('["high", "low"]', "[]"), ('["high"]', "[]"))
    assert cli("run", "--suite", suite, "--method", "focal", "--seeds", "0", "--out", tmp_path).code == 0
    assert by_method(tmp_path) == {"focal": {}}
