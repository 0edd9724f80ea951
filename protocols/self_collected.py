"""Protocols in which a method is given nothing and collects its context itself.

A lane stays in one task. It starts from the method's prior; a method with the privilege ``descriptors`` is told them in
an empty context. While it acts, the method may update its belief (``observe``). After each episode it is given
everything its lane has seen so far as a context, so that methods without a running belief adapt between episodes, as
in the papers' online evaluations (R2PGO, table 1; GENTLE, table 1).

* `zero-shot`: episodes 1..K; the return of each. In the first one, only a belief that is updated while acting helps.
* `one-shot`: one episode from the prior, then one with the inferred belief: the first two of `zero-shot`.
* `explore`: K episodes in which the policy is asked to explore, then one in which it executes (CCM; CSRO's non-prior
  collection of contexts is K = 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from omrl_bench.conditions import EPISODE, EXECUTE, EXPLORE, Condition

from .protocol import NEEDED, Protocol

if TYPE_CHECKING:
    from omrl_bench.api import MetaPolicy, Transitions

    from .rollout import Episode, Rollout

PROTOCOLS = {"one-shot": "OneShot", "zero-shot": "ZeroShot", "explore": "Explore"}

Episodes = Annotated[int, Field(strict=True, ge=1, le=20)]


class SelfCollected(Protocol):
    """Episodes in one task, each with what was seen before as its context."""

    asks: ClassVar[tuple[str, ...]] = (*NEEDED, "observe", "end_episode")

    def evaluate(
        self,
        policy: Callable[[], MetaPolicy],
        rollout: Rollout,
        conditions: Sequence[Condition],
        context: Callable[[Condition], Transitions],
    ) -> list[Episode]:
        """One episode after the other; see :meth:`omrl_bench.protocols.protocol.Protocol.evaluate`."""
        acting = policy()
        acting.reset(rollout.lanes)
        if rollout.descriptors is not None:
            acting.condition(rollout.seen([]))
        played: list[Episode] = []
        for number, condition in enumerate(conditions):
            if played:
                acting.condition(rollout.seen(played))
            played.append(rollout.episode(acting, number, explore=condition.kind == EXPLORE))
        return played


class OneShot(SelfCollected):
    """One episode to collect the context, one that uses it."""

    def conditions(self, qualities: Sequence[str]) -> tuple[Condition, ...]:
        """The two episodes."""
        return Condition(EPISODE, 1), Condition(EPISODE, 2)

    def sentence(self) -> str:
        """What a method does."""
        return "a method collects one episode from its prior, then acts for one with what it inferred."


class ZeroShot(SelfCollected):
    """Episode after episode in a new task.

    Attributes:
        episodes: How many.
    """

    episodes: Episodes

    def conditions(self, qualities: Sequence[str]) -> tuple[Condition, ...]:
        """The episodes."""
        return tuple(Condition(EPISODE, number + 1) for number in range(self.episodes))

    def sentence(self) -> str:
        """What a method does."""
        return f"a method is given nothing and acts for {self.episodes} episodes, its belief updated on the way."


class Explore(SelfCollected):
    """Episodes to explore, then one that counts.

    Attributes:
        episodes: How many of exploration.
    """

    explores: ClassVar[bool] = True

    episodes: Episodes

    def conditions(self, qualities: Sequence[str]) -> tuple[Condition, ...]:
        """The episodes of exploration, and that of execution."""
        return (*(Condition(EXPLORE, number + 1) for number in range(self.episodes)), Condition(EXECUTE))

    def sentence(self) -> str:
        """What a method does."""
        return (
            f"a method explores for {self.episodes} episodes, then acts for one with what it inferred; "
            f"{self.draws} times per task."
        )
