import subprocess
import sys

HELP_SECONDS = 0.4  # the one absolute time that is a promise to users
HEAVY = ("torch", "mujoco", "pandas", "matplotlib", "gymnasium", "minari")


def test_help_is_quick(benchmark):
    command = [sys.executable, "-m", "omrl_bench", "--help"]
    if benchmark.disabled:
        benchmark(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
        return
    benchmark.pedantic(subprocess.run, (command,), {"check": True, "stdout": subprocess.DEVNULL}, rounds=7)
    assert benchmark.stats.stats.median < HELP_SECONDS


def test_help_imports_nothing_heavy():
    code = f"import sys; import omrl_bench.cli.main; print([m for m in {HEAVY!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    assert found == "[]"
