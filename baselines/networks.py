"""Networks of R seeds at once: every parameter has a leading axis R, drawn seed by seed from its own generator."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

Rngs = Sequence[np.random.Generator]
AnyModule = TypeVar("AnyModule", bound=nn.Module)

#: Outputs up to which a layer works on transposes: with MKL (AVX-512) products with fewer than 16 columns take as long
#: as with 30, or longer.
NARROW = 15


class TensorModule(nn.Module):
    """A module that returns one tensor; torch leaves the type of a call open."""

    __call__: Callable[..., Tensor]


class Encoder(TensorModule):
    """An encoder of contexts: (R, C, n, features), valid (R, C, n) bool -> z (R, C, z size)."""

    @abstractmethod
    def forward(self, context: Tensor, valid: Tensor | None = None) -> Tensor:
        """Z of every context; every transition counts where ``valid`` is not given."""


class SeedLinear(TensorModule):
    """R linear layers side by side, U(-1/sqrt(inputs), 1/sqrt(inputs)): (R, ..., inputs) -> (R, ..., outputs)."""

    def __init__(self, rngs: Rngs, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(_stack([rng.uniform(-bound, bound, (inputs, outputs)) for rng in rngs]))
        self.bias = nn.Parameter(_stack([rng.uniform(-bound, bound, (1, outputs)) for rng in rngs]))
        self.product = _Narrow.apply if outputs <= NARROW else torch.baddbmm

    def forward(self, x: Tensor) -> Tensor:
        """Apply each seed's layer to its slice."""
        rows = self.product(self.bias, x.reshape(x.shape[0], -1, x.shape[-1]), self.weight)
        return rows if x.dim() == 3 else rows.reshape(*x.shape[:-1], -1)


class _Narrow(torch.autograd.Function):
    """Bias + x @ weight where the outputs are a few columns, by products in which they are rows."""

    @staticmethod
    def forward(ctx: Any, bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """(R, 1, outputs), (R, B, inputs), (R, inputs, outputs) -> (R, B, outputs)."""
        ctx.save_for_backward(x, weight)
        y = torch.baddbmm(bias.mT, weight.mT, x.mT)
        return y.mT.clone(memory_format=torch.contiguous_format)  # no view: ReLU may overwrite it

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the three; None where none is asked for."""
        x, weight = ctx.saved_tensors
        of_bias, of_x, of_weight = ctx.needs_input_grad
        product = torch.mul if weight.shape[-1] == 1 else torch.bmm  # of one column and one row, an outer product
        return (
            gradient.sum(dim=1, keepdim=True) if of_bias else None,
            product(gradient, weight.mT) if of_x else None,
            torch.bmm(gradient.mT, x).mT if of_weight else None,
        )


class SeedLayerNorm(TensorModule):
    """R layer normalisations side by side, over the last axis: (R, ..., width) -> the same shape."""

    def __init__(self, rngs: Rngs, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(len(rngs), 1, width))
        self.bias = nn.Parameter(torch.zeros(len(rngs), 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every row, then scale and shift it with its seed's parameters."""
        normal = nn.functional.layer_norm(x, x.shape[-1:]).reshape(x.shape[0], -1, x.shape[-1])
        return torch.addcmul(self.bias, normal, self.weight).reshape(x.shape)


class SelfAttention(TensorModule):
    """Single-head self-attention over the second last axis, residual: (R, ..., n, width) -> the same shape."""

    def __init__(self, rngs: Rngs, width: int) -> None:
        super().__init__()
        self.query = SeedLinear(rngs, width, width)
        self.key = SeedLinear(rngs, width, width)
        self.value = SeedLinear(rngs, width, width)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Attend to all valid elements; ``valid`` (R, ..., n) bool."""
        mask = None if valid is None else valid[..., None, :]
        attended = nn.functional.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x), mask)
        return x + attended


class Layers(TensorModule, nn.Sequential):
    """Layers one after the other, applied to rows: (R, ..., inputs) -> (R, ..., outputs)."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply them; what is in the middle has three axes, so that ReLU may overwrite it (no view of anything)."""
        rows: Tensor = super().forward(x.reshape(x.shape[0], -1, x.shape[-1]))  # type: ignore[no-untyped-call]
        return rows if x.dim() == 3 else rows.reshape(*x.shape[:-1], -1)


def mlp(rngs: Rngs, *sizes: int) -> Layers:
    """ReLU network with the given layer sizes and a linear output."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [SeedLinear(rngs, inputs, outputs), nn.ReLU(inplace=True)]
    return Layers(*layers[:-1])


def with_layer_norm(module: AnyModule, rngs: Rngs) -> AnyModule:
    """Put a layer normalisation before every ReLU of the module's networks, in place; no weight is drawn anew."""
    for layers in [part for part in module.modules() if isinstance(part, Layers)]:
        rectifiers = [index for index, layer in enumerate(layers) if isinstance(layer, nn.ReLU)]
        for index in reversed(rectifiers):
            linear = layers[index - 1]
            assert isinstance(linear, SeedLinear)
            norm = SeedLayerNorm(rngs, linear.weight.shape[-1])
            layers.insert(index, norm.requires_grad_(linear.weight.requires_grad))
    return module


def masked_mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over the second last axis, (..., n, width) -> (..., width), of the valid elements (..., n)."""
    if valid is None:
        return x.mean(dim=-2)
    weight = valid.to(x.dtype)[..., None]
    return (x * weight).sum(dim=-2) / weight.sum(dim=-2).clamp(min=1)


class ConditionedMLP(TensorModule):
    """ReLU network on (x, z): (R, ..., inputs), (R, ..., z size) -> (R, ..., outputs); what backbones are made of."""

    def __init__(self, rngs: Rngs, inputs: int, z_size: int, hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.layers = mlp(rngs, inputs + z_size, *hidden, outputs)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Apply each seed's network to its slice."""
        return self.layers(torch.cat([x, z], dim=-1))


@torch.no_grad()
def follow(follower: nn.Module, leader: nn.Module, rate: float) -> None:
    """Polyak step: move every parameter of the follower ``rate`` of the way to the leader's."""
    torch._foreach_lerp_(list(follower.parameters()), list(leader.parameters()), rate)


def frozen(module: nn.Module) -> Callable[..., Tensor]:
    """The module as a function that passes gradients to its inputs, but not to its parameters."""
    parameters = {name: parameter.detach() for name, parameter in module.named_parameters()}

    def call(*inputs: Tensor) -> Tensor:
        return torch.func.functional_call(module, parameters, inputs)

    return call


def standard_normal(rngs: Rngs, *shape: int) -> Tensor:
    """Noise (R, *shape), each seed's from its own generator."""
    return torch.as_tensor(np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in rngs]))


def take_seed(module: AnyModule, index: int) -> AnyModule:
    """Return a copy of the module that holds one seed only (R = 1)."""
    single = copy.deepcopy(module).requires_grad_(False)
    for parameter in single.parameters():
        parameter.data = parameter.data[index : index + 1].clone()
    return single


def _stack(arrays: list[np.ndarray]) -> Tensor:
    return torch.as_tensor(np.stack(arrays).astype(np.float32))
