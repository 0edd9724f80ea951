"""Protocol `given-context`: each lane gets one logged context of its task, then acts for one episode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from omrl_bench.conditions import Condition
from omrl_bench.vocabulary import UNITS, Unit

from .protocol import NEEDED, Protocol

if TYPE_CHECKING:
    from omrl_bench.api import MetaPolicy, Transitions

    from .rollout import Episode, Rollout

PROTOCOLS = {"given-context": "GivenContext"}


class GivenContext(Protocol):
    """A context of each quality, then one episode.

    Attributes:
        unit: What one context draw is, see :mod:`omrl_bench.data.contexts`.
    """

    gives_contexts: ClassVar[bool] = True
    asks: ClassVar[tuple[str, ...]] = (*NEEDED, "observe", "end_episode")

    unit: Unit = "episode"

    def conditions(self, qualities: Sequence[str]) -> tuple[Condition, ...]:
        """The qualities of the contexts."""
        return tuple(map(Condition.context, qualities))

    def sentence(self) -> str:
        """What a method is given, and what it does with it."""
        return f"a method is given {UNITS[self.unit]} of the task as context, then acts for one episode."

    def evaluate(
        self,
        policy: Callable[[], MetaPolicy],
        rollout: Rollout,
        conditions: Sequence[Condition],
        context: Callable[[Condition], Transitions],
    ) -> list[Episode]:
        """One episode for each quality; see :meth:`omrl_bench.protocols.protocol.Protocol.evaluate`."""
        played = []
        for condition in conditions:
            conditioned = policy()  # of its own for each: none depends on what came before it
            conditioned.reset(rollout.lanes)
            conditioned.condition(context(condition))
            played.append(rollout.episode(conditioned))
        return played

    def validated(self, conditions: Sequence[Condition]) -> Sequence[Condition]:
        """The first quality."""
        return conditions[:1]

    def context_sets(self, qualities: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Those of the preset's qualities."""
        return tuple((quality, self.unit) for quality in qualities)
