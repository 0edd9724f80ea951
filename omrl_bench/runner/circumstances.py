"""Where, when and with what a record was made."""

from __future__ import annotations

import datetime
import os
import platform
import resource
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("omrl-bench", "gymnasium", "mujoco", "minari", "numpy", "torch")


def now() -> str:
    """UTC time, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def circumstances() -> dict[str, Any]:
    """The fields of a record that describe the machine, the software and this process."""
    import psutil

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "peak_memory_mib": round(peak / (1024 if sys.platform != "darwin" else 1024**2), 1),
        "machine": {
            "processor": _processor(),
            "cores": psutil.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "platform": platform.platform(),
        },
        **_software(),
    }


@lru_cache(maxsize=1)  # what this process has imported stays what it is
def _software() -> dict[str, dict[str, Any]]:
    """The fields that describe the software."""
    return {"versions": _versions(), "git": git_state(Path(__file__).resolve().parents[2])}


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # a bare checkout
            versions[package] = "not installed"
    return versions


@lru_cache(maxsize=1)
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def git_state(root: Path) -> dict[str, Any]:
    """Commit of the checkout that a folder is, and whether its code has changed since; {} if it is none.

    If git cannot say, why: ``{"unknown": reason}``.
    """
    if not (root / ".git").exists():
        return {}
    # GIT_DIR and its like are of another repository, such as that whose hook runs us
    others = {
        name for name in os.environ if name.startswith("GIT_") and not name.startswith(("GIT_CONFIG", "GIT_EXEC"))
    }
    environment = {name: value for name, value in os.environ.items() if name not in others}

    def git(*arguments: str) -> str:
        # whoever owns the checkout: its code is what runs here
        command = ["git", "--no-optional-locks", "-c", f"safe.directory={root}", "-C", str(root), *arguments]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", check=True, timeout=10
        )
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "omrl_bench", "baselines", "protocols")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except subprocess.CalledProcessError as error:  # such as a checkout without commits
        return {"unknown": (error.stderr.strip().splitlines() or ["git failed"])[0][:200]}
    except (OSError, subprocess.SubprocessError) as error:
        return {"unknown": f"git cannot be run: {error}"[:200]}
