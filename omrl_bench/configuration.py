"""A method's hyper-parameters as records keep them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def as_json(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return hyper-parameters as they come back from JSON: tuples are lists.

    Raises:
        TypeError: if JSON cannot hold them; it has neither NaN nor infinity.
    """
    try:
        return dict(json.loads(json.dumps(dict(configuration), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise TypeError(f"configuration must be what JSON can hold: {error}") from error
