"""Importing MuJoCo where nothing is drawn."""

from __future__ import annotations

import os
import sys

_VARIABLE = "MUJOCO_GL"


def import_mujoco() -> None:
    """Import MuJoCo even if the graphics library that ``MUJOCO_GL`` names is not there: simulating needs none.

    To be called before anything imports it, as Minari does. What draws says what is missing
    (:func:`omrl_bench.cards.film.check_renderer`).
    """
    if "mujoco" in sys.modules:
        return
    try:
        import mujoco
    except ImportError:
        raise
    except Exception:  # whatever a graphics library raises
        chosen = os.environ.get(_VARIABLE, "")
        os.environ[_VARIABLE] = "disable"
        try:
            import mujoco  # noqa: F401
        finally:
            os.environ[_VARIABLE] = chosen
