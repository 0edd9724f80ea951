"""What files and records are parsed into."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A model that takes no unknown keys and does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
