"""omrl-bench: the benchmark suite and leaderboard harness for offline meta-reinforcement learning.

From a script, without the command line and without subclassing anything:

    data = omrl_bench.load("point-goal", "mixed")                    # training data as arrays
    env = omrl_bench.make("point-goal", task=3)                      # a Gymnasium environment
    context, tasks = omrl_bench.contexts("point-goal", "high")       # what a method is given of the test tasks
    scores = omrl_bench.evaluate(policy, "shift", "point-goal")      # a tidy frame, from any object that acts
    omrl_bench.record({0: policy}, "mine", "shift", "point-goal", trained_with="my loop, one GPU")

Importing the package takes no time: what a call needs is imported when it is first named.
"""

from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec
from pathlib import Path as _Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omrl_bench.calls.data import contexts, load, make
    from omrl_bench.calls.evaluation import evaluate
    from omrl_bench.calls.recording import record

__all__ = ["__version__", "contexts", "evaluate", "load", "make", "record"]
__version__ = "0.1.0"

_CALLS = {"contexts": "data", "load": "data", "make": "data", "evaluate": "evaluation", "record": "recording"}

# In a bare checkout (not installed) `baselines/` and `protocols/` lie beside this package;
# an installation maps them inside it (setup.py), and this finds nothing to do.
if _find_spec("omrl_bench.baselines") is None:
    _root = _Path(__file__).resolve().parent.parent
    if (_root / "pyproject.toml").is_file():
        __path__.append(str(_root))

if not TYPE_CHECKING:  # a type checker that saw it would take every name for one of ours

    def __getattr__(name):
        """Import a call when it is first named."""
        if name not in _CALLS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(_import_module(f"{__name__}.calls.{_CALLS[name]}"), name)


def __dir__() -> list[str]:
    """The calls, too, although they are not imported yet."""
    return sorted({*globals(), *__all__})
