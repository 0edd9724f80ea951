"""A causal transformer of R seeds at once, what Prompt-DT, AD, DPT and their like are made of.

    [Q, K, V, u] = W_in normal(x),     x <- x + W_out [ softmax( Q K^T / sqrt(d) + mask ) V,  ReLU(u) ]

with heads of size d. A mask says which tokens each token sees. There are no positions here: a method adds to its tokens
what tells them apart. Acting, a policy keeps the keys and values of what its lanes have seen (:class:`Cache`), so that
a step costs one token.

Deviations from GPT-2, which the papers take
* Attention and the two linear layers of each token stand side by side, not one after the other (as in GPT-J): half as
  many operations, whose number is what takes the time while acting. For the same reason Q, K and V are half as wide as
  a token (GPT-2: as wide), and u is twice as wide (4 times).
* No dropout, which would draw from torch's global generator.
* normal(x) has no scale and shift of its own, which the linear layer behind it has already; ReLU in the place of GELU;
  weights start as everywhere in this benchmark.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, layer_norm, scaled_dot_product_attention

from .networks import Rngs, SeedLinear, TensorModule, standard_normal


class SeedEmbedding(TensorModule):
    """R tables side by side, N(0, 0.02^2): indices (R, ...) below ``count`` -> (R, ..., width)."""

    def __init__(self, rngs: Rngs, count: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.02 * standard_normal(rngs, count, width))

    def forward(self, index: Tensor) -> Tensor:
        """Each seed's rows."""
        seeds, count, width = self.weight.shape
        first = count * torch.arange(seeds).reshape(-1, *[1] * (index.dim() - 1))
        return embedding(index + first, self.weight.reshape(seeds * count, width))


class Block(nn.Module):
    """One layer: attention, and beside it two linear layers for each token; residual, on normalised inputs."""

    def __init__(self, rngs: Rngs, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // (2 * heads)
        self.sizes = [3 * heads * self.size, 2 * width]
        self.enter = SeedLinear(rngs, width, sum(self.sizes))
        self.leave = SeedLinear(rngs, heads * self.size + 2 * width, width)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, keys and values, (R * C, heads, L, size) each, and u, of x (R, C, L, width)."""
        attention, hidden = torch.split(self.enter(normal(x)), self.sizes, dim=-1)
        parts = attention.reshape(-1, x.shape[2], 3, self.heads, self.size)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind()
        return query, key, value, hidden

    def follow(self, x: Tensor, attended: Tensor, hidden: Tensor) -> Tensor:
        """The rest of the layer: x (R, C, L, width), attended (R * C, heads, L, size), u -> the shape of x."""
        joined = attended.transpose(1, 2).reshape(*x.shape[:3], -1)
        return x + self.leave(torch.cat([joined, hidden.relu()], dim=-1))


class Transformer(TensorModule):
    """Layers one after the other, and a last normalisation.

    Args:
        rngs: One generator per seed.
        width: Of a token.
        layers: Their number.
        heads: Of each layer; they divide half the width.
    """

    def __init__(self, rngs: Rngs, width: int, layers: int, heads: int) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"{heads} heads do not divide half a width of {width}")
        self.width = width
        self._layers = nn.ModuleList([Block(rngs, width, heads) for _ in range(layers)])

    @property
    def blocks(self) -> list[Block]:
        """The layers."""
        return [layer for layer in self._layers if isinstance(layer, Block)]

    def forward(self, tokens: Tensor, sees: Tensor) -> Tensor:
        """What the last layer makes of every token.

        Args:
            tokens: (R, C, L, width).
            sees: (R, C, L, L) bool or broadcast to it, [i, j] whether token i sees token j; each must see one at least.

        Returns:
            (R, C, L, width).
        """
        x, length = tokens, tokens.shape[2]
        mask = sees.expand(*x.shape[:2], length, length).reshape(-1, 1, length, length)
        for block in self.blocks:
            query, key, value, hidden = block.project(x)
            x = block.follow(x, scaled_dot_product_attention(query, key, value, mask), hidden)
        return normal(x)

    def extend(self, tokens: Tensor, valid: np.ndarray, cache: Cache, keep: int) -> Tensor:
        """The same for tokens that follow those of a cache, which each of them sees, as it sees those before it.

        Args:
            tokens: (1, lanes, n, width); one seed.
            valid: (lanes, n) bool; a token that is not valid is seen by itself only.
            cache: Its keys and values; the attention of the last token in the last layer is left there.
            keep: How many of the tokens, the first ones, stay in the cache; later ones do not see the others.

        Returns:
            (1, lanes, n, width).
        """
        x, heard = tokens, cache.hear(valid)
        for number, block in enumerate(self.blocks):
            query, new_key, new_value, hidden = block.project(x)
            key, value = cache.put(number, new_key, new_value)
            # of one token a lane, by hand: half the time of the fused function
            scores = (query @ key.mT).mul_(query.shape[-1] ** -0.5)
            cache.weights = (scores if heard is None else scores.add_(heard)).softmax(dim=-1)
            x = block.follow(x, cache.weights @ value, hidden)
        cache.keep(valid[:, :keep])
        return normal(x)


class Cache:
    """Keys and values of the tokens that some lanes have seen, of every layer of one seed.

    Args:
        trunk: The seed's transformer.
        lanes: Their number.
        capacity: Most tokens of a lane, with those that are not kept.

    Attributes:
        length: Tokens of each lane, valid or not.
        weights: (lanes, heads, n, length + n) attention of the tokens that were last extended by, in the last layer.
    """

    weights: Tensor

    def __init__(self, trunk: Transformer, lanes: int, capacity: int) -> None:
        first = trunk.blocks[0]
        shape = len(trunk.blocks), lanes, first.heads, capacity, first.size
        self._keys, self._values = torch.zeros(shape), torch.zeros(shape)
        self._valid = np.zeros((lanes, capacity), bool)
        self.length = 0

    def truncate(self, length: int) -> None:
        """Forget all tokens but the first ones."""
        self.length = length

    def hear(self, valid: np.ndarray) -> Tensor | None:
        """What to add to the scores of new tokens (lanes, 1, n, length + n): -inf where one is not seen; None for 0."""
        new, stop = valid.shape[1], self.length + valid.shape[1]
        self._valid[:, self.length : stop] = valid
        known = self._valid[:, None, None, :stop]
        if new == 1 and known[..., : self.length].all():
            return None
        order = np.arange(stop)
        own = order == np.arange(self.length, stop)[:, None]
        sees = (known & (order <= np.arange(self.length, stop)[:, None])) | own
        return torch.as_tensor(np.where(sees, np.float32(0), np.float32(-np.inf)))

    def put(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new tokens' keys and values behind the others, (lanes, heads, n, size); return those of all."""
        stop = self.length + key.shape[2]
        self._keys[layer, :, :, self.length : stop] = key
        self._values[layer, :, :, self.length : stop] = value
        return self._keys[layer, :, :, :stop], self._values[layer, :, :, :stop]

    def keep(self, valid: np.ndarray) -> None:
        """Keep the first of the new tokens, (lanes, n); later ones see those that are valid."""
        stop = self.length + valid.shape[1]
        self._valid[:, self.length : stop] = valid
        self.length = stop


def causal(valid: Tensor) -> Tensor:
    """Which tokens each token sees, (..., L, L): itself, and the valid ones before it; ``valid`` (..., L) bool."""
    length = valid.shape[-1]
    before = torch.ones(length, length, dtype=torch.bool).tril()
    return (before & valid[..., None, :]) | torch.eye(length, dtype=torch.bool)


def normal(x: Tensor) -> Tensor:
    """Every row with mean 0 and deviation 1, (..., width)."""
    return layer_norm(x, x.shape[-1:])
