"""omrl-bench: the benchmark suite and leaderboard harness for offline meta-reinforcement learning."""

from importlib.util import find_spec as _find_spec
from pathlib import Path as _Path

__version__ = "0.1.0"

# In a bare checkout (not installed) `baselines/` and `protocols/` lie beside this package;
# an installation maps them inside it (setup.py), and this finds nothing to do.
if _find_spec("omrl_bench.baselines") is None:
    _root = _Path(__file__).resolve().parent.parent
    if (_root / "pyproject.toml").is_file():
        __path__.append(str(_root))
