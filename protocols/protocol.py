"""What a protocol is: a class with all that the harness asks of it, found by the name of its kind.

A file of this folder declares its protocols in a literal ``PROTOCOLS = {"kind": "Class"}``; other packages bring
theirs under the entry-point group ``omrl_bench.protocols`` (``kind = "module:Class"``). The fields of the class are the
keys of ``[protocol]`` in a suite's file.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from omrl_bench.conditions import Condition
from omrl_bench.errors import InputError, unknown_name
from omrl_bench.frozen import Frozen
from omrl_bench.named import import_subclass
from omrl_bench.registry import protocols
from omrl_bench.vocabulary import Split

if TYPE_CHECKING:
    from omrl_bench.api import MetaPolicy, Transitions

    from .rollout import Episode, Rollout

#: The hooks of :class:`omrl_bench.api.MetaPolicy` without which nothing can be evaluated.
NEEDED = ("reset", "condition", "act")


#: Lanes of each task in an evaluation.
Draws = Annotated[int, Field(strict=True, ge=1, le=20)]


class Protocol(Frozen):
    """How a trained method is evaluated; a subclass is one protocol, an instance one with its settings.

    Attributes:
        kind: The protocol's name.
        split: Which tasks it evaluates.
        draws: Lanes of each task: context draws, one episode each.
        gives_contexts: Whether it gives a method logged contexts, of the preset's qualities, if it has any.
        explores: Whether it asks a policy to explore, ``act(observations, explore=True)``.
        asks: The hooks of :class:`omrl_bench.api.MetaPolicy` that it calls; a policy may leave out all but
            :data:`NEEDED`.
    """

    gives_contexts: ClassVar[bool] = False
    explores: ClassVar[bool] = False
    asks: ClassVar[tuple[str, ...]] = NEEDED

    kind: str
    split: Split = "test"
    draws: Draws = 10

    @abstractmethod
    def conditions(self, qualities: Sequence[str]) -> tuple[Condition, ...]:
        """What is measured, in order; ``qualities`` are those of the preset's contexts, none if it gives none."""

    @abstractmethod
    def sentence(self) -> str:
        """Say what a method does in an evaluation of a task; how often it does, its draws, is said beside it."""

    @abstractmethod
    def evaluate(
        self,
        policy: Callable[[], MetaPolicy],
        rollout: Rollout,
        conditions: Sequence[Condition],
        context: Callable[[Condition], Transitions],
    ) -> list[Episode]:
        """Play one episode in every lane for each condition.

        Args:
            policy: Makes the policy of one trained seed, as it was trained.
            rollout: The lanes.
            conditions: What to measure, some of :meth:`conditions`.
            context: The contexts that the lanes are given under a condition; not for protocols that give none.

        Returns:
            What was played, one for each condition.

        Raises:
            PolicyError: see :meth:`omrl_bench.protocols.rollout.Rollout.episode`.
        """

    def validated(self, conditions: Sequence[Condition]) -> Sequence[Condition]:
        """The conditions that a point of the learning curve is measured under; the score of the last one counts."""
        return conditions

    def context_sets(self, qualities: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """The context sets that it draws from, (quality, unit) for each quality, as in ``ContextSet.draws``."""
        return ()

    def fingerprint(self) -> str:
        """Everything of it that changes numbers, as text.

        The text has a unit of contexts, as in the first records, whether the protocol gives any or not.
        """
        fields = self.model_dump(mode="json")
        first = {"kind": fields.pop("kind"), "unit": fields.pop("unit", "episode")}
        return json.dumps(first | fields, separators=(",", ":"))


def load_protocol(kind: str) -> type[Protocol]:
    """Import the class of a kind of protocol.

    Raises:
        InputError: if there is no such kind, with the nearest names, or it cannot be imported, or is no complete
            subclass of :class:`Protocol`.
    """
    known = protocols()
    if kind not in known:
        raise unknown_name("protocol", kind, known)
    return import_subclass(known[kind], Protocol, f"protocol {kind!r}")


def parse_protocol(value: Any) -> Any:
    """Make a table of a suite's file, or of a job, the protocol of its kind; anything else is returned as it is.

    Raises:
        ValidationError: if there is no such kind, or a key is wrong.
    """
    if isinstance(value, Protocol) or not isinstance(value, dict):
        return value
    kind = value.get("kind")
    try:
        if not isinstance(kind, str):
            raise InputError("name a kind of protocol, e.g. kind = 'given-context'")
        cls = load_protocol(kind)
    except InputError as error:
        reason = PydanticCustomError("protocol", "{reason}", {"reason": str(error)})
        line = InitErrorDetails(type=reason, loc=("kind",), input=kind)
        raise ValidationError.from_exception_data("Protocol", [line]) from error
    return cls.model_validate(value)


#: A field of a model that holds a protocol of any kind.
AnyProtocol = Annotated[SerializeAsAny[Protocol], BeforeValidator(parse_protocol)]
