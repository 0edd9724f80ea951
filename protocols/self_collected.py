"""Protocols in which a method is given nothing and collects its context itself.

A lane stays in one task. It starts from the method's prior; a method with the privilege ``descriptors`` is told them in
an empty context. While it acts, the method may update its belief (``observe``). After each episode it is given
everything its lane has seen so far as a context, so that methods without a running belief adapt between episodes, as
in the papers' online evaluations (R2PGO, table 1; GENTLE, table 1).

* `zero-shot`: episodes 1..K; the return of each. In the first one, only a belief that is updated while acting helps.
* `one-shot`: one episode from the prior, then one with the inferred belief: the first two of `zero-shot`.
* `explore`: episodes in which the policy is asked to explore; after K of them, for each K of the suite, one in which
  it executes with what they showed (CCM; CSRO's non-prior collection of contexts is K = 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from omrl_bench.conditions import EPISODE, EXECUTE, EXPLORE, Condition

from .protocol import NEEDED, Protocol

if TYPE_CHECKING:
    from omrl_bench.api import MetaPolicy, Transitions

    from .rollout import Episode, Rollout

PROTOCOLS = {"one-shot": "OneShot", "zero-shot": "ZeroShot", "explore": "Explore"}

Episodes = Annotated[int, Field(strict=True, ge=1, le=20)]


def _several(value: Any) -> Any:
    """One number is a list of one."""
    return (value,) if isinstance(value, int) else value


def _ascending(numbers: tuple[int, ...]) -> tuple[int, ...]:
    if not numbers or any(second <= first for first, second in pairwise(numbers)):
        raise ValueError("give numbers of episodes, ascending")
    return numbers


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
        return _in_one_task(policy(), rollout, len(conditions))


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


class Explore(Protocol):
    """Episodes to explore, and after some of them one that counts.

    Execution is an episode beside the exploration, which it does not touch: the policy as it was trained is given what
    the first K episodes have shown. With contexts of a quality it acts on such a logged context as well: what the same
    policy does when nothing has to be found.

    Attributes:
        episodes: After how many of exploration it executes, ascending.
    """

    gives_contexts: ClassVar[bool] = True
    explores: ClassVar[bool] = True
    asks: ClassVar[tuple[str, ...]] = (*NEEDED, "observe", "end_episode")

    episodes: Annotated[tuple[Episodes, ...], BeforeValidator(_several), AfterValidator(_ascending)]

    def conditions(self, qualities: Sequence[str]) -> tuple[Condition, ...]:
        """The episodes of exploration, those of execution, and the contexts given."""
        explored = (Condition(EXPLORE, number + 1) for number in range(self.episodes[-1]))
        executed = (Condition(EXECUTE, number) for number in self.episodes)
        return (*explored, *executed, *map(Condition.context, qualities))

    def sentence(self) -> str:
        """What a method does."""
        numbers = " and ".join(map(str, self.episodes))
        return f"a method explores for {self.episodes[-1]} episodes; after {numbers} it acts with what they showed."

    def evaluate(
        self,
        policy: Callable[[], MetaPolicy],
        rollout: Rollout,
        conditions: Sequence[Condition],
        context: Callable[[Condition], Transitions],
    ) -> list[Episode]:
        """Exploration first; see :meth:`omrl_bench.protocols.protocol.Protocol.evaluate`."""
        longest = max((condition.number for condition in conditions if not condition.given), default=0)
        explored = _in_one_task(policy(), rollout, longest, explore=True)
        played = []
        for condition in conditions:
            if condition.kind == EXPLORE:
                played.append(explored[condition.number - 1])
                continue
            acting = policy()
            acting.reset(rollout.lanes)
            acting.condition(context(condition) if condition.given else rollout.seen(explored[: condition.number]))
            played.append(rollout.episode(acting, condition.number))
        return played

    def validated(self, conditions: Sequence[Condition]) -> Sequence[Condition]:
        """The first execution and the exploration before it."""
        first = self.episodes[0]
        return [condition for condition in conditions if not condition.given and condition.number <= first]

    def context_sets(self, qualities: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Episodes of the preset's qualities."""
        return tuple((quality, "episode") for quality in qualities)


def _in_one_task(acting: MetaPolicy, rollout: Rollout, episodes: int, explore: bool = False) -> list[Episode]:
    """Play one episode after the other, each with what was seen before as its context."""
    acting.reset(rollout.lanes)
    if rollout.descriptors is not None:
        acting.condition(rollout.seen([]))
    played: list[Episode] = []
    for number in range(episodes):
        if played:
            acting.condition(rollout.seen(played))
        played.append(rollout.episode(acting, number, explore))
    return played
