"""FOCAL++ (Li, Huang & Luo, 2021): attention inside a context, contrast between tasks, slowly following keys.

Of T tasks two contexts each, q_i from the encoder and k_j from the key encoder, temperature t:

    L = - sum_i log( exp(q_i . k_i / t) / sum_j exp(q_i . k_j / t) )                                         (eq. 8, 9)
    key parameters <- m key parameters + (1 - m) query parameters, after each step                           (eq. 17)

m = 0 is the paper's "hard update", focalpp-<variant>-hard (table 4): the two encoders are then the same. The encoder is
a stack of residual blocks; its variants differ in what a block has before its feed-forward part:

    focalpp-contrastive   nothing
    focalpp-batch         batch-wise channel attention: x w, one weight w of every transition
    focalpp-sequence      sequence-wise multi-head self-attention                                            (eq. 6)
    focalpp-parallel      the sum of both
    focalpp-series        sequence-wise, then batch-wise, each with its own residual connection

Deviations
* Sequence-wise attention attends to all transitions of the context. Eq. 6, and the public code, reshape the context to
  sequences of length 1, whose softmax is always 1: a linear map of each transition by itself, no attention. Preset
  `paper` does as printed (`single_sequences`).
* Layer normalisation comes before each part of a block, as in the public code; eq. 6 writes it after the sum.
* No dropout [.1]: the benchmark's encoders are small, and are trained on freshly drawn contexts.
* The loss is a mean over tasks, as in eq. 26, not the sum. No 2T form with the roles of query and key exchanged.
* The encoder is trained first and then frozen. In the paper both train side by side, but no gradient of the policy
  reaches the encoder there either. The agent that computes the loss was never released; the loss is the paper's.
* A context is one episode (the benchmark's unit), from which the loss draws i.i.d. transitions; query and key are two
  episodes of a task. The backbone sees embeddings of whole episodes, with more transitions than the loss draws.
* Backbone: the suite's choice; the paper's is BRAC.

Privileges: none.

Cost (`standard`, cheetah-vel, iql included; FOCAL: 129 thousand, 1): 109 to 144 thousand parameters, 0.9 to 1.3 of
its training time.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from omrl_bench.api import Transitions

from .conditioned import META_BATCH
from .encoded import EncodedConfig
from .networks import Encoder, Rngs, SeedLayerNorm, SeedLinear, TensorModule, follow, masked_mean, take_seed
from .training import Batches, Scale
from .two_stage import TwoStage

METHODS = {
    "focalpp-contrastive": "Contrastive",
    "focalpp-batch": "BatchWise",
    "focalpp-sequence": "SequenceWise",
    "focalpp-parallel": "Parallel",
    "focalpp-series": "Series",
    "focalpp-contrastive-hard": "ContrastiveHard",
    "focalpp-batch-hard": "BatchWiseHard",
    "focalpp-sequence-hard": "SequenceWiseHard",
    "focalpp-parallel-hard": "ParallelHard",
    "focalpp-series-hard": "SeriesHard",
}


@dataclass(frozen=True)
class FocalPPConfig(EncodedConfig):
    """Hyper-parameters; the paper's table 7 in brackets where another value is used."""

    latent: int = 20  # [5 for point families]
    width: int = 64  # of the encoder [128]
    feed_forward: int = 64  # hidden width of a block's last part [512, from the public code]
    blocks: int = 2  # [3]
    heads: int = 4  # of sequence-wise attention [8]
    reduction: int = 16  # the hidden layer of batch-wise attention is narrower than the width by this factor
    single_sequences: bool = False  # eq. 6 as printed: every transition is a sequence of its own [True]
    transitions: int = 32  # per context in the loss [512 or 1024, from many episodes]
    temperature: float = 0.5
    momentum: float = 0.9  # m of the key encoder; 0 is the hard update
    learning_rate: float = 1e-3  # of the encoder [3e-4 but for point families]

    PRESETS: ClassVar = {
        "quick": {"width": 32},
        "paper": {
            "width": 128,
            "feed_forward": 512,
            "blocks": 3,
            "heads": 8,
            "single_sequences": True,
            "transitions": 200,  # ours: what one episode has, for 512 from many
            "learning_rate": 3e-4,
        },
    }


@dataclass(frozen=True)
class HardUpdateConfig(FocalPPConfig):
    """Hyper-parameters with the hard update of the key encoder."""

    momentum: float = 0.0


class BatchWiseAttention(TensorModule):
    """Each transition times a weight in (0, 1), which it computes itself: (R, C, n, width) -> the same shape."""

    def __init__(self, rngs: Rngs, config: FocalPPConfig) -> None:
        super().__init__()
        narrow = max(config.width // config.reduction, 1)
        self.squeeze = SeedLinear(rngs, config.width, narrow)
        self.excite = SeedLinear(rngs, narrow, config.width)

    def weights(self, x: Tensor) -> Tensor:
        """The weights of the transitions, (R, C, n, 1)."""
        channels = torch.sigmoid(self.excite(torch.tanh(self.squeeze(x))))
        return channels.mean(dim=-1, keepdim=True)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Weight the transitions."""
        return x * self.weights(x)


class SequenceWiseAttention(TensorModule):
    """Multi-head self-attention between the transitions of a context: (R, C, n, width) -> the same shape."""

    def __init__(self, rngs: Rngs, config: FocalPPConfig) -> None:
        super().__init__()
        self.heads, self.single = config.heads, config.single_sequences
        self.enter = SeedLinear(rngs, config.width, 3 * config.width)  # query, key and value
        self.leave = SeedLinear(rngs, config.width, config.width)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Attend to all valid transitions; ``valid`` (R, C, n) bool."""
        if self.single:
            attended = self.attend(self.enter(x)[..., None, :], None)[..., 0, :]
        else:
            attended = self.attend(self.enter(x), valid)
        return self.leave(attended)

    def attend(self, projected: Tensor, valid: Tensor | None) -> Tensor:
        """Softmax attention within sequences: (..., n, 3 width), valid (..., n) -> (..., n, width)."""
        *outer, n, _ = projected.shape
        split = projected.reshape(-1, n, 3, self.heads, projected.shape[-1] // (3 * self.heads))
        query, key, value = split.transpose(1, 3).unbind(dim=2)
        mask = None
        if valid is not None:
            anything = valid | ~valid.any(dim=-1, keepdim=True)  # an empty context would be 0 / 0; it is 0 in the mean
            mask = anything.reshape(-1, 1, 1, n)
        attended = scaled_dot_product_attention(query, key, value, mask)  # (sequences, heads, n, width / heads)
        return attended.transpose(1, 2).reshape(*outer, n, -1)


class FeedForward(TensorModule):
    """Two linear layers with GELU between them, transition by transition."""

    def __init__(self, rngs: Rngs, config: FocalPPConfig) -> None:
        super().__init__()
        self.enter = SeedLinear(rngs, config.width, config.feed_forward)
        self.leave = SeedLinear(rngs, config.feed_forward, config.width)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Apply each seed's layers to its slice."""
        return self.leave(gelu(self.enter(x)))


PARTS = {"batch": BatchWiseAttention, "sequence": SequenceWiseAttention, "feed-forward": FeedForward}


class Residual(TensorModule):
    """X plus the sum of some parts, all of which see the normalised x."""

    def __init__(self, rngs: Rngs, config: FocalPPConfig, names: Sequence[str]) -> None:
        super().__init__()
        self.norm = SeedLayerNorm(rngs, config.width)
        self.parts = nn.ModuleList([PARTS[name](rngs, config) for name in names])

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(R, C, n, width) -> the same shape."""
        normal = self.norm(x)
        for part in self.parts:
            x = x + part(normal, valid)
        return x

    def weights(self, x: Tensor) -> list[Tensor]:
        """Weights (R, C, n) of the transitions in each part that is batch-wise attention."""
        return [part.weights(self.norm(x))[..., 0] for part in self.parts if isinstance(part, BatchWiseAttention)]


class AttentiveEncoder(Encoder):
    """Linear layer with tanh, residual blocks, linear layer with tanh, mean over the context.

    Args:
        rngs: One generator per seed.
        features: Length of a transition.
        config: Hyper-parameters.
        attention: What each block has before its feed-forward part: a sequence of sums of parts, by name.
    """

    def __init__(
        self, rngs: Rngs, features: int, config: FocalPPConfig, attention: tuple[tuple[str, ...], ...]
    ) -> None:
        super().__init__()
        self.enter = SeedLinear(rngs, features, config.width)
        block = (*attention, ("feed-forward",))
        self.residuals = nn.ModuleList([Residual(rngs, config, names) for names in block * config.blocks])
        self.leave = SeedLinear(rngs, config.width, config.latent)

    def forward(self, context: Tensor, valid: Tensor | None = None) -> Tensor:
        """(R, C, n, features) -> (R, C, latent)."""
        x = torch.tanh(self.enter(context))
        for residual in self.residuals:
            x = residual(x, valid)
        return masked_mean(torch.tanh(self.leave(x)), valid)

    def weights(self, context: Tensor, valid: Tensor | None = None) -> Tensor | None:
        """Batch-wise attention, mean over the blocks: (R, C, n, features) -> (R, C, n); None if blocks have none."""
        x = torch.tanh(self.enter(context))
        found = []
        for residual in self.residuals:
            assert isinstance(residual, Residual)
            found += residual.weights(x)
            x = residual(x, valid)
        return torch.stack(found).mean(dim=0) if found else None


class Contrastive(TwoStage):
    """FOCAL++ without attention.

    Attributes:
        attention: What each block has before its feed-forward part: a sequence of sums of parts, by name.
        key_encoder: Follows the encoder; only the loss uses it.
    """

    Config = FocalPPConfig
    encoder: AttentiveEncoder
    attention: ClassVar[tuple[tuple[str, ...], ...]] = ()

    def make_encoder(self, rngs: Rngs, features: int) -> AttentiveEncoder:
        """The encoder, of queries and of what the policy acts on."""
        return AttentiveEncoder(rngs, features, self.config, self.attention)

    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct backbone and encoders; the key encoder starts as a copy."""
        super().build(seeds, scale)
        self.key_encoder = copy.deepcopy(self.encoder).requires_grad_(False)

    def representation_loss(self, batches: Batches) -> Tensor:
        """A query and a key context of each task of a meta-batch."""
        tasks = batches.tasks(META_BATCH)
        contexts = [batches.contexts(batches.episodes(tasks), self.config.transitions) for _ in range(2)]
        queries, keys = self.encoder(contexts[0]), self.key_encoder(contexts[1])
        return self.contrastive_loss(queries, keys).sum()

    def contrastive_loss(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Eq. 8 over T: each query is to find the key of its task; (R, T, latent) each -> (R,)."""
        logits = queries @ keys.transpose(1, 2) / self.config.temperature
        return -logits.log_softmax(dim=-1).diagonal(dim1=1, dim2=2).mean(dim=-1)

    def after_encoder_step(self) -> None:
        """Eq. 17."""
        follow(self.key_encoder, self.encoder, 1 - self.config.momentum)

    @torch.no_grad()
    def attention_weights(self, seed: int, context: Transitions) -> np.ndarray | None:
        """Batch-wise attention weights of the transitions of given contexts (figure 7), (lanes, n)."""
        encoder = take_seed(self.encoder, self.seeds.index(seed))
        weights = encoder.weights(self.scale.features(context)[None], torch.as_tensor(context.valid)[None])
        return None if weights is None else np.asarray(weights[0].cpu())


class BatchWise(Contrastive):
    """FOCAL++ with batch-wise channel attention."""

    attention = (("batch",),)


class SequenceWise(Contrastive):
    """FOCAL++ with sequence-wise self-attention."""

    attention = (("sequence",),)


class Parallel(Contrastive):
    """FOCAL++ with both attentions side by side."""

    attention = (("batch", "sequence"),)


class Series(Contrastive):
    """FOCAL++ with both attentions one after the other."""

    attention = (("sequence",), ("batch",))


class ContrastiveHard(Contrastive):
    """FOCAL++ without attention, hard update."""

    Config = HardUpdateConfig


class BatchWiseHard(BatchWise):
    """FOCAL++ with batch-wise channel attention, hard update."""

    Config = HardUpdateConfig


class SequenceWiseHard(SequenceWise):
    """FOCAL++ with sequence-wise self-attention, hard update."""

    Config = HardUpdateConfig


class ParallelHard(Parallel):
    """FOCAL++ with both attentions side by side, hard update."""

    Config = HardUpdateConfig


class SeriesHard(Series):
    """FOCAL++ with both attentions one after the other, hard update."""

    Config = HardUpdateConfig
