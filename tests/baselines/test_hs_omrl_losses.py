"""HS-OMRL's contrastive losses against loops over anchors, positives and negatives, and the views they see."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from omrl_bench.baselines.hs_omrl import (
    AttentionEncoder,
    HardNegatives,
    HardPositives,
    HardSampling,
    SupervisedContrastive,
)
from omrl_bench.baselines.training import Batches, Scale, seed_generators

R, C, D = 3, 8, 5
LABELS = torch.tensor([[0, 1, 1, 0, 2, 2, 0, 1], [3, 3, 3, 3, 4, 4, 5, 5], [0, 1, 2, 3, 0, 1, 2, 3]])
LOSSES = (SupervisedContrastive, HardNegatives, HardPositives, HardSampling)


def projections(seed=0):
    return normalize(torch.from_numpy(np.random.default_rng(seed).standard_normal((R, C, D))), dim=-1)


def scl(w, labels, temperature):
    """Eq. 4 of one seed, the mean over anchors."""
    total = 0.0
    for q in range(len(w)):
        positives = [p for p in range(len(w)) if p != q and labels[p] == labels[q]]
        others = [a for a in range(len(w)) if a != q]
        normaliser = sum(math.exp(w[q] @ w[a] / temperature) for a in others)
        total += sum(-math.log(math.exp(w[q] @ w[p] / temperature) / normaliser) for p in positives) / len(positives)
    return total / len(w)


def hard_negatives(w, labels, temperature, hardness=1.0):
    """Eq. 5 to 7 of one seed, the mean over anchors."""
    total = 0.0
    for q in range(len(w)):
        positives = [p for p in range(len(w)) if p != q and labels[p] == labels[q]]
        negatives = [a for a in range(len(w)) if labels[a] != labels[q]]
        v = {a: math.exp(hardness * w[q] @ w[a]) for a in negatives}
        z_positive = sum(math.exp(w[q] @ w[a] / temperature) for a in positives)
        z_negative = sum(v[a] / sum(v.values()) * math.exp(w[q] @ w[a] / temperature) for a in negatives)
        terms = [math.exp(w[q] @ w[p] / temperature) / (z_positive + z_negative) for p in positives]
        total += sum(-math.log(term) for term in terms) / len(positives)
    return total / len(w)


def hard_positives(w, labels, temperature, hardness=1.0):
    """Eq. 8 with the negative sum of section 5.3, of one seed, the mean over anchors."""
    total = 0.0
    for q in range(len(w)):
        positives = [p for p in range(len(w)) if p != q and labels[p] == labels[q]]
        negatives = [a for a in range(len(w)) if labels[a] != labels[q]]
        u = {a: math.exp(-hardness * w[q] @ w[a]) for a in positives}
        weighted = {a: u[a] / sum(u.values()) * math.exp(w[q] @ w[a] / temperature) for a in positives}
        z_negative = sum(math.exp(w[q] @ w[a] / temperature) for a in negatives)
        total += sum(-math.log(weighted[p] / (sum(weighted.values()) + z_negative)) for p in positives) / len(positives)
    return total / len(w)


def hard(w, labels, temperature, hardness=1.0):
    """Eq. 8 of one seed, the mean over anchors."""
    total = 0.0

    def exp(x):
        return math.exp(hardness * x)

    for q in range(len(w)):
        positives = [p for p in range(len(w)) if p != q and labels[p] == labels[q]]
        negatives = [a for a in range(len(w)) if labels[a] != labels[q]]
        u = {a: exp(-w[q] @ w[a]) / sum(exp(-w[q] @ w[b]) for b in positives) for a in positives}
        v = {a: exp(w[q] @ w[a]) / sum(exp(w[q] @ w[b]) for b in negatives) for a in negatives}
        z_positive = sum(u[a] * math.exp(w[q] @ w[a] / temperature) for a in positives)
        z_negative = sum(v[a] * math.exp(w[q] @ w[a] / temperature) for a in negatives)
        terms = [u[p] * math.exp(w[q] @ w[p] / temperature) / (z_positive + z_negative) for p in positives]
        total += sum(-math.log(term) for term in terms) / len(positives)
    return total / len(w)


LITERAL = {
    SupervisedContrastive: scl,
    HardNegatives: hard_negatives,
    HardPositives: hard_positives,
    HardSampling: hard,
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("temperature", [0.1, 0.7])
@pytest.mark.parametrize(("cls", "literal"), list(LITERAL.items()))
def test_loss_is_the_papers_equation(make, cls, literal, seed, temperature):
    w = projections(seed)
    expected = [literal(w[r].numpy(), LABELS[r].tolist(), temperature) for r in range(R)]
    loss = make(cls, temperature=temperature).contrastive_loss(w, LABELS)
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("cls", LOSSES[1:])
@pytest.mark.parametrize("hardness", [0.0, 0.4, 3.0])
def test_hardness_scales_the_similarities_in_the_weights(make, cls, hardness):
    w = projections()
    expected = [LITERAL[cls](w[r].numpy(), LABELS[r].tolist(), 0.3, hardness) for r in range(R)]
    loss = make(cls, temperature=0.3, hardness=hardness).contrastive_loss(w, LABELS)
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("cls", LOSSES[1:])
def test_without_hardness_the_weights_are_uniform_and_times_the_size_of_their_set_it_is_scl(make, cls):
    """The paper's weights sum to 1, those of the public code to the size of the set."""

    class Sized(cls):
        def log_u(self, similarity, positive):
            size = positive.sum(-1, keepdim=True) if issubclass(cls, HardPositives) else torch.ones(1)
            return super().log_u(similarity, positive) + size.log()

        def log_v(self, similarity, negative):
            size = negative.sum(-1, keepdim=True) if issubclass(cls, HardNegatives) else torch.ones(1)
            return super().log_v(similarity, negative) + size.log()

    losses = [
        make(one, temperature=0.3, **settings).contrastive_loss(projections(), LABELS)
        for one, settings in ((SupervisedContrastive, {}), (Sized, {"hardness": 0.0}), (cls, {"hardness": 0.0}))
    ]
    torch.testing.assert_close(losses[1], losses[0])
    assert not torch.allclose(losses[2], losses[0])


def test_defaults_are_the_papers(make):
    assert make(HardSampling).config.temperature == 0.1
    assert all(make(cls).config.hardness == 1.0 for cls in LOSSES[1:])


@pytest.mark.parametrize("cls", LOSSES)
def test_gradient_is_that_of_finite_differences(make, cls):
    """The hardness weights are differentiated too: detaching them would fail."""
    method = make(cls, temperature=0.5)
    w = projections()[:1, :6].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: method.contrastive_loss(x, LABELS[:1, :6]), w)


@pytest.mark.parametrize("cls", LOSSES)
def test_order_of_the_batch_does_not_matter(make, cls):
    method, w = make(cls), projections()
    order = torch.from_numpy(np.random.default_rng(0).permutation(C))
    torch.testing.assert_close(
        method.contrastive_loss(w[:, order], LABELS[:, order]), method.contrastive_loss(w, LABELS)
    )


@pytest.mark.parametrize("cls", LOSSES)
def test_names_of_the_tasks_do_not_matter(make, cls):
    method, w = make(cls), projections()
    torch.testing.assert_close(method.contrastive_loss(w, 100 - 7 * LABELS), method.contrastive_loss(w, LABELS))


def test_equal_similarities_have_closed_forms(make):
    """With p positives and n negatives all alike: SCL log(p + n), HG log(p + 1), HP log(p + pn), HP+HG log(2p)."""
    w = normalize(torch.ones(1, 8, D).double(), dim=-1)
    labels = torch.tensor([[0, 0, 1, 1, 2, 2, 3, 3]])
    assert make(SupervisedContrastive).contrastive_loss(w, labels).item() == pytest.approx(math.log(7))
    assert make(HardNegatives).contrastive_loss(w, labels).item() == pytest.approx(math.log(1 + 1))
    assert make(HardPositives).contrastive_loss(w, labels).item() == pytest.approx(math.log(1 + 6))
    assert make(HardSampling).contrastive_loss(w, labels).item() == pytest.approx(math.log(2))
    labels = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]])
    assert make(SupervisedContrastive).contrastive_loss(w, labels).item() == pytest.approx(math.log(7))
    assert make(HardNegatives).contrastive_loss(w, labels).item() == pytest.approx(math.log(3 + 1))
    assert make(HardPositives).contrastive_loss(w, labels).item() == pytest.approx(math.log(3 * (1 + 4)))
    assert make(HardSampling).contrastive_loss(w, labels).item() == pytest.approx(math.log(6))


def test_one_positive_and_one_negative_leave_nothing_to_weigh(make):
    similarity = torch.tensor([[[1.0, 0.3, -0.6]]]).double()
    positive, negative = torch.tensor([[[False, True, False]]]), torch.tensor([[[False, False, True]]])
    expected = math.log(1 + math.exp((-0.6 - 0.3) / 0.1))
    for cls in LOSSES:
        assert make(cls).anchor_loss(similarity, positive, negative).item() == pytest.approx(expected)


@pytest.mark.parametrize("cls", LOSSES)
def test_loss_is_lower_when_positives_coincide(make, cls):
    """Two tasks; positives spread along an axis of their own, so that similarities to negatives stay zero."""

    def spread(angle):
        near, far = math.cos(angle), math.sin(angle)
        return torch.tensor([[[near, 0, far, 0], [near, 0, -far, 0], [0, near, 0, far], [0, near, 0, -far]]]).double()

    labels = torch.tensor([[0, 0, 1, 1]])
    losses = [make(cls).contrastive_loss(spread(angle), labels).item() for angle in (0.0, 0.3, 0.6)]
    assert losses[0] < losses[1] < losses[2]


def slopes(method, similarity, positives):
    """Derivatives of one anchor's loss by its similarities; element 0 is the anchor, then positives, then negatives."""
    similarity = torch.tensor([1.0, *similarity]).double().requires_grad_()
    positive = torch.arange(len(similarity)) <= positives
    negative = ~positive
    positive[0] = False
    loss = method.anchor_loss(similarity[None, None], positive[None, None], negative[None, None])
    return torch.autograd.grad(loss.sum(), similarity)[0][1:].numpy()


def test_slopes_of_equation_8_have_a_closed_form(make):
    """With the shares h of the normaliser: (1/T - 1) (h_p - 1/|P|) - u_p h_N and (1/T + 1) h_n - v_n h_N.

    The term - u_p h_N is the pull of far positives that u_p in the numerator brings; without it there would be a push.
    """
    s, temperature = np.array([0.9, 0.2, -0.3, 0.1, -0.5]), 0.3
    u, v = np.exp(-s[:3]) / np.exp(-s[:3]).sum(), np.exp(s[3:]) / np.exp(s[3:]).sum()
    share = np.concatenate([u, v]) * np.exp(s / temperature)
    share /= share.sum()
    rest = share[3:].sum()
    expected = np.concatenate(
        [
            (1 / temperature - 1) * (share[:3] - 1 / 3) - u * rest,
            (1 / temperature + 1) * share[3:] - v * rest,
        ]
    )
    np.testing.assert_allclose(slopes(make(HardSampling, temperature=temperature), s, 3), expected, atol=1e-12)


def test_hard_sampling_gives_the_near_negative_a_larger_share_of_the_push(make):
    *_, near, far = slopes(make(SupervisedContrastive), [0.9, 0.2, 0.1, -0.1], 2)
    assert near > far > 0
    for cls in (HardNegatives, HardSampling):
        *_, hard_near, hard_far = slopes(make(cls), [0.9, 0.2, 0.1, -0.1], 2)
        assert hard_near / hard_far > near / far


@pytest.mark.parametrize("cls", LOSSES)
def test_extreme_similarities_stay_finite(make, cls):
    w = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]]).requires_grad_()
    method = make(cls, temperature=0.01)
    loss = method.contrastive_loss(w, torch.tensor([[0, 0, 1, 1]]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert w.grad.isfinite().all()


def test_a_single_task_is_contrasted_among_its_positives(make):
    """Without negatives the second sum is empty."""
    w, labels = projections()[:1].requires_grad_(), torch.zeros(1, C, dtype=torch.long)
    rows = w[0].detach().numpy()
    for cls, literal in LITERAL.items():
        loss = make(cls).contrastive_loss(w, labels)
        assert loss.item() == pytest.approx(literal(rows, labels[0].tolist(), 0.1))
        assert torch.autograd.grad(loss.sum(), w)[0].isfinite().all()


@pytest.fixture
def seen(make, data_for, monkeypatch):
    """What one representation loss drew: method, data, episodes, views, labels, projections, loss."""
    seeds, data = (0, 1), data_for(HardSampling)
    method = make(HardSampling, episodes=48, transitions=7)
    method.build(seeds, Scale.of(data, method.space))
    batches = Batches(data, method.scale, method.space, seed_generators(seeds, "data"))
    drawn = {"method": method, "data": data}

    def segments(episodes, length, kept):
        drawn.update(episodes=episodes, length=length, views=Batches.segments(batches, episodes, length, kept))
        return drawn["views"]

    def contrastive_loss(w, labels):
        drawn.update(w=w, labels=labels.numpy())
        return HardSampling.contrastive_loss(method, w, labels)

    monkeypatch.setattr(batches, "segments", segments)
    monkeypatch.setattr(method, "contrastive_loss", contrastive_loss)
    drawn["loss"] = method.representation_loss(batches)
    return drawn


def test_views_are_two_segments_of_half_the_horizon_of_the_same_episodes(seen):
    episodes, data = seen["episodes"], seen["data"]
    assert episodes.shape == (2, 96)
    np.testing.assert_array_equal(episodes[:, :48], episodes[:, 48:])
    assert seen["length"] == 30
    assert seen["views"].shape == (2, 96, 7, 7)
    first, second = seen["views"][:, :48], seen["views"][:, 48:]
    assert (first != second).any(dim=-1).any(dim=-1).float().mean() > 0.8  # two draws, not one view twice
    task_of = np.repeat(np.arange(30), np.diff(data.task_episodes))
    np.testing.assert_array_equal(task_of[episodes], seen["labels"])
    for row in seen["labels"]:
        assert np.unique(row, return_counts=True)[1].tolist() == [6] * 16  # 16 tasks, 3 episodes, 2 views
    assert not np.array_equal(seen["labels"][0], seen["labels"][1])


def test_loss_sees_the_projections_of_the_views(seen):
    method, encoder = seen["method"], seen["method"].encoder
    torch.testing.assert_close(seen["w"], encoder.project(encoder(seen["views"])))
    torch.testing.assert_close(seen["w"].norm(dim=-1), torch.ones(2, 96))
    assert seen["w"].shape[-1] == 5
    each = method.contrastive_loss(seen["w"], torch.from_numpy(seen["labels"]))
    torch.testing.assert_close(seen["loss"], each.sum())


def test_encoder_is_composed_as_in_section_4_1(make, data_for):
    method = make(HardSampling)
    method.build((0, 1), Scale.of(data_for(HardSampling), method.space))
    encoder = method.encoder
    assert isinstance(encoder, AttentionEncoder)
    context = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 5, 7))).float()
    hidden = []
    handle = encoder.enter.register_forward_pre_hook(lambda module, inputs: hidden.append(inputs[0]))
    z = encoder(context)
    handle.remove()
    assert hidden[0].shape == (2, 3, 5, 20)
    torch.testing.assert_close(hidden[0].norm(dim=-1), torch.ones(2, 3, 5))
    assert z.shape == (2, 3, 64)
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(2, 3))


def test_policy_does_not_use_the_projection_head(fit, act):
    method = fit(HardSampling, seeds=(0,), updates=3, encoder_updates=3)
    before = act(method, 0)
    with torch.no_grad():
        for parameter in method.encoder.projection.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(act(method, 0), before)
