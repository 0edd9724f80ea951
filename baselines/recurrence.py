"""A gated recurrent unit of R seeds at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .networks import Rngs, SeedLinear, TensorModule


class SeedGRU(TensorModule):
    """R gated recurrent units side by side, with PyTorch's equations (reset gate after the product).

    gate   = sigmoid(W x + U h + b),  for reset and update
    h_new  = (1 - update) tanh(W x + reset (U h + b)) + update h
    """

    KEEP = 1e4  # input of an update gate that is exactly 1

    def __init__(self, rngs: Rngs, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.enter = SeedLinear(rngs, inputs, 3 * width)
        self.again = SeedLinear(rngs, width, 3 * width)

    def forward(self, x: Tensor, valid: Tensor | None = None, start: Tensor | None = None) -> Tensor:
        """State before the first and after every step: (R, C, T, inputs) -> (R, C, T + 1, width).

        Args:
            x: Inputs.
            valid: (R, C, T); a step that is not valid leaves the state as it is.
            start: (R, C, width), the state to start from; zero if not given.
        """
        if start is None:
            start = x.new_zeros(*x.shape[:2], self.width)
        gates = self.enter(x)
        if valid is not None and not valid.all():
            update = (torch.arange(3 * self.width) // self.width) == 1
            gates = gates.masked_fill(~valid[..., None] & update, self.KEEP)
        by_time = gates.permute(2, 0, 1, 3).contiguous()
        after = _Recurrence.apply(by_time, start, self.again.weight, self.again.bias)  # type: ignore[no-untyped-call]
        return torch.cat([start[:, :, None], after.permute(1, 2, 0, 3)], dim=2)


class _Recurrence(torch.autograd.Function):
    """The time loop of R gated recurrent units side by side, with a gradient by hand.

    The derivative of a step is a product with coefficients that are known for all steps at once, so that the loops
    forward and back hold a few operations each; recorded step by step they take more than twice the time.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Gates' inputs (T, R, B, 3H) in the order reset, update, candidate; state (R, B, H) -> states (T, R, B, H)."""
        size = hidden.shape[-1]
        states = hidden.new_empty(len(inputs) + 1, *hidden.shape)
        states[0] = hidden
        recurrent = torch.empty_like(inputs)
        gates = inputs.new_empty(*inputs.shape[:-1], 2 * size)
        candidates = torch.empty_like(states[1:])
        views = (
            (inputs[..., : 2 * size], recurrent[..., : 2 * size], gates),
            (inputs[..., 2 * size :], recurrent[..., 2 * size :], gates[..., :size], gates[..., size:], candidates),
        )
        first, second = ([view.unbind() for view in group] for group in views)
        steps = zip(states.unbind(), states[1:].unbind(), recurrent.unbind(), *first, *second, strict=False)
        for before, after, product, x, w, gate, x_new, w_new, reset, update, candidate in steps:
            torch.baddbmm(bias, before, weight, out=product)
            torch.sigmoid(torch.add(x, w, out=gate), out=gate)
            torch.tanh(torch.addcmul(x_new, reset, w_new, out=candidate), out=candidate)
            torch.lerp(candidate, before, update, out=after)
        ctx.save_for_backward(states, gates, candidates, recurrent, weight)
        return states[1:].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        """Gradients of inputs, first state, weight and bias."""
        states, gates, candidates, recurrent, weight = ctx.saved_tensors
        size = candidates.shape[-1]
        before, (reset, update) = states[:-1], gates.chunk(2, dim=-1)
        to_candidate = (1 - update) * (1 - candidates**2)
        to_reset = to_candidate * recurrent[..., 2 * size :] * reset * (1 - reset)
        to_update = (before - candidates) * update * (1 - update)
        coefficients = torch.stack([to_reset, to_update, to_candidate * reset], dim=-2)
        products, arriving = torch.empty_like(coefficients), torch.empty_like(gradient)
        back = weight.transpose(1, 2)
        carried = torch.zeros_like(gradient[0])
        steps = zip(gradient, arriving, coefficients, products, products.flatten(-2), update, strict=True)
        for arrived, total, coefficient, product, flat, kept in reversed(list(steps)):
            torch.add(arrived, carried, out=total)
            torch.mul(total[..., None, :], coefficient, out=product)
            carried = torch.baddbmm(total * kept, flat, back)
        flat = products.flatten(-2)
        inputs = torch.cat([flat[..., : 2 * size], arriving * to_candidate], dim=-1)
        across = flat.transpose(0, 1).flatten(1, 2)  # (R, T * B, 3H)
        weights = before.transpose(0, 1).flatten(1, 2).transpose(1, 2) @ across
        return inputs, carried, weights, across.sum(dim=1, keepdim=True)
