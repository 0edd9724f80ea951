"""Methods on another device than the CPU.

No accelerator is needed for most of it: on torch's device `meta`, where tensors have shapes but no values, an operation
with a tensor that was left on the CPU fails as it would on CUDA.
"""

import numpy as np
import pytest
import torch

from omrl_bench.api import Budget

#: They select rows by a mask, whose number of true values `meta` cannot tell.
MASKED = ("borel", "r2pgo", "ccm_explore")


#: They choose part of a context by what a model makes of it.
CHOOSING = ("meta_dt",)


def methods_file(cls):
    return cls.__module__.rpartition(".")[2]


@pytest.fixture
def no_values(monkeypatch):
    """What needs values: a fused optimiser's step, and the truth of a tensor."""
    for optimiser in (torch.optim.Adam, torch.optim.AdamW):
        monkeypatch.setattr(optimiser, "step", lambda self: None)
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda self: False)


@pytest.mark.usefixtures("no_values")
def test_training_leaves_nothing_on_the_cpu(case, make, data_for):
    cls, backbone = case
    if methods_file(cls) in MASKED + CHOOSING:
        pytest.skip("selects rows by values")
    with torch.device("meta"):
        method = make(cls, backbone=backbone)
        method.fit(data_for(cls), Budget(2, 2), (0, 1), lambda stage, step, total: None)
    for module in method.modules().values():
        assert {tensor.device.type for tensor in module.state_dict().values()} == {"meta"}


@pytest.mark.usefixtures("no_values")
@pytest.mark.filterwarnings("ignore:for .*non-meta parameter")
def test_a_loaded_policy_is_on_the_device(case, fit, make, contexts, tmp_path):
    cls, backbone = case
    if methods_file(cls) in CHOOSING:
        pytest.skip("selects rows by values")
    fit(cls, (3,), 1, 1, backbone=backbone).save(tmp_path)
    context, observations = contexts
    with torch.device("meta"):
        restored = make(cls, backbone=backbone)
        restored.load(tmp_path)
        policy = restored.policy(3)
        policy.reset(len(observations))
        policy.condition(context)
        with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):  # all but the last step works
            policy.act(observations)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_gives_what_the_cpu_gives(case, make, data_for, contexts):
    """The same networks, batches and noise; a few updates, so that rounding has not grown."""
    cls, backbone = case
    context, observations = contexts
    actions = []
    for device in ("cpu", "cuda"):
        with torch.device(device):
            method = make(cls, backbone=backbone)
            method.fit(data_for(cls), Budget(3, 3), (0, 1), lambda stage, step, total: None)
            policy = method.policy(1)
            policy.reset(len(observations))
            policy.condition(context)
            actions.append(policy.act(observations))
    np.testing.assert_allclose(actions[1], actions[0], atol=1e-3)
