"""BOReL."""

from __future__ import annotations

from .varibad import VariBAD, VariBADConfig

METHODS = {"borel": "Borel"}


class Borel(VariBAD):
    """BOReL without reward relabelling."""

    Config = VariBADConfig
