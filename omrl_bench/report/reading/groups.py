"""Which built-in methods belong together, and which of them are controls: the one place that says so.

A new built-in method is named here once; colours, orders, the leaderboard and what a crowded figure leaves out follow.
A method from elsewhere is in no group.
"""

from __future__ import annotations

from collections.abc import Mapping

CONTROL = "control"

#: Methods by what their representation is trained with; the first one that has results stands for its group where
#: there is no room for all. Controls are the rows that bound the others. ``supervised`` is none: it infers the task, by
#: the policy's loss alone, and bounds nothing.
GROUPS: Mapping[str, tuple[str, ...]] = {
    CONTROL: ("random", "behaviour", "task-blind", "oracle"),
    "policy's loss": ("supervised",),
    "distance": (
        *("focal", "focalpp-sequence", "focalpp-batch"),
        *("focalpp-contrastive", "focalpp-series", "focalpp-parallel"),
    ),
    "hard sampling": ("hs-hard", "hs-scl", "hs-hp", "hs-hg"),
    "robust contrast": ("corro-cvae", "corro-noise"),
    "dynamics and value": ("ccm-rv", "ccm-rv-explore", "ccm-dp", "rv", "dp"),
    "information": ("csro", "unicorn"),
    "posterior": ("borel", "pearl", "borel-oracle"),
    "relabelling": ("gentle", "gentle-contrastive", "gentle-norelabel", "gentle-nopolicyrelabel"),
    "recurrence": ("r2pgo", "r2pgo-noapg", "r2pgo-norctr", "r2pgo-blind"),
}

CONTROLS = GROUPS[CONTROL]


def group_of(method: str) -> str | None:
    """The group of a method; None if it is in none."""
    return next((group for group, members in GROUPS.items() if method in members), None)
