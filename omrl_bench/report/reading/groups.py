"""Which built-in methods belong together, and which of them are controls: the one place that says so.

A new built-in method is named here once; colours, orders, the leaderboard and what a crowded figure leaves out follow.
A method from elsewhere is in no group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

CONTROL = "control"
BACKBONE_LOSS = "backbone's loss"

#: The controls that bound a method which infers the task: with it told, and without any adaptation.
BOUNDS = ("oracle", "task-blind")

#: Methods by what their representation is trained with; the first one that has results stands for its group where
#: there is no room for all. Controls are the rows that bound the others. ``supervised`` is none: it infers the task, by
#: the backbone's losses alone, and bounds nothing.
GROUPS: Mapping[str, tuple[str, ...]] = {
    CONTROL: ("random", "behaviour", *reversed(BOUNDS)),
    BACKBONE_LOSS: ("supervised",),
    "distance": (
        *("focal", "focalpp-sequence", "focalpp-batch"),
        *("focalpp-contrastive", "focalpp-series", "focalpp-parallel"),
    ),
    "hard update": tuple(f"focalpp-{name}-hard" for name in ("sequence", "batch", "contrastive", "series", "parallel")),
    "collection": ("sweep", "uniform", "idaq-focal", "idaq-csro", "idaq-unicorn"),
    "hard sampling": ("hs-hard", "hs-scl", "hs-hp", "hs-hg"),
    "robust contrast": ("corro-cvae", "corro-noise", "dora", "spc"),
    "dynamics and value": ("ccm-rv", "ccm-rv-explore", "ccm-dp", "rv", "dp", "ccm-rv-explore-noreg"),
    "information": ("csro", "unicorn", "unicorn-sup", "er-trl"),
    "posterior": ("borel", "pearl", "borel-oracle", "contextual-bcq", "mbml"),
    "relabelling": ("gentle", "gentle-contrastive", "gentle-norelabel", "gentle-nopolicyrelabel"),
    "recurrence": ("r2pgo", "r2pgo-noapg", "r2pgo-norctr", "r2pgo-blind"),
    "in context": ("ad", "dpt", "ic-iql", "ic-td3bc", "dpt-expert"),
    "prompt": ("prompt-dt", "meta-dt", "prompt-dt-expert"),
    "imitation": ("nearest-task", "context-bc"),
}

CONTROLS = GROUPS[CONTROL]


def ordered(names: Iterable[str], first: Sequence[str] = CONTROLS) -> list[str]:
    """Sort names: those of ``first`` as they are there, then the rest alphabetically."""
    ranks = {name: rank for rank, name in enumerate(first)}
    return sorted(set(names), key=lambda name: (ranks.get(name, len(ranks)), name))
