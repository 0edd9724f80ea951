"""Networks of R seeds that are saved and loaded together: what the methods that train with torch share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from omrl_bench.api import Algorithm, Setup, TaskSpace

from .training import Scale, load_tensors, save_tensors


class Seeded(Algorithm):
    """A method whose networks have a leading axis R.

    Attributes:
        seeds: The trained seeds, in the order of that axis.
        scale: The scaling of the training data.
    """

    scale: Scale

    def __init__(self, space: TaskSpace, setup: Setup) -> None:
        super().__init__(space, setup)
        self.seeds: list[int] = []

    @abstractmethod
    def build(self, seeds: Sequence[int], scale: Scale) -> None:
        """Construct the networks of all seeds."""

    @abstractmethod
    def modules(self) -> dict[str, nn.Module]:
        """Everything that is saved, by name."""

    def save(self, folder: Path) -> None:
        """Write the weights of all seeds."""
        tensors = {f"{n}.{k}": v for n, module in self.modules().items() for k, v in module.state_dict().items()}
        save_tensors(folder, self.seeds, tensors | self.scale.state())

    def load(self, folder: Path) -> None:
        """Read the weights of all seeds."""
        seeds, tensors = load_tensors(folder)
        self.build(seeds, Scale.from_state(tensors))
        for name, module in self.modules().items():
            prefix = f"{name}."
            module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})

    def parameter_count(self) -> int:
        """Trained parameters per seed."""
        if not self.seeds:
            return 0
        trained = [p for module in self.modules().values() for p in module.parameters() if p.requires_grad]
        return sum(parameter.numel() for parameter in trained) // len(self.seeds)
