"""What is installed, and what a checkout that is not installed can do."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The tracked files, as they are now, in a folder of their own: no build products, no installation."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("needs a git checkout")
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=True).stdout
    folder = tmp_path_factory.mktemp("packaging") / "checkout"
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file() and not name.startswith("results/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def python(path, *arguments):
    """Python without the editable installation: only this path, and the site-packages as a plain folder."""
    packages = [place for place in sys.path if place.endswith(("site-packages", "dist-packages"))]
    places = os.pathsep.join((str(path), *packages))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"PYTHONPATH": places}
    command = [sys.executable, "-S", *arguments]
    done = subprocess.run(command, env=environment, cwd=path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(copy, tmp_path_factory):
    for tool in ("setuptools", "pip"):
        if importlib.util.find_spec(tool) is None:
            pytest.skip(f"needs {tool}, as building without the network does")
    version = metadata.version("setuptools")
    if int(version.split(".")[0]) < 77:
        pytest.skip(f"setuptools {version} is too old for pyproject.toml")
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    out = root / "omrl-wheel"  # built once, whatever the number of xdist's processes
    with FileLock(root / "omrl-wheel.lock"):
        if not out.exists():
            options = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet")
            command = [sys.executable, "-m", "pip", "wheel", str(copy), *options, "-w", str(out)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=100)
            assert done.returncode == 0, done.stderr
    (file,) = out.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_only_top_level_package_is_omrl_bench(names):
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"omrl_bench"}
    (info,) = top - {"omrl_bench"}
    assert info.startswith("omrl_bench-")


def test_every_module_is_in_the_wheel(names, copy):
    for folder in ("omrl_bench", "baselines", "protocols"):
        for file in (copy / folder).rglob("*.py"):
            inside = file.relative_to(copy).as_posix()
            assert (inside if folder == "omrl_bench" else f"omrl_bench/{inside}") in names


@pytest.mark.parametrize(
    "pattern",
    [
        "omrl_bench/py.typed",
        "omrl_bench/envs/tasks/*",
        "omrl_bench/envs/assets/*",
        "omrl_bench/data/manifests/*",
        "omrl_bench/data/policies/**/*",
        "omrl_bench/report/site/templates/*",
        "protocols/*.toml",
        "protocols/papers/*",
    ],
)
def test_data_files_are_in_the_wheel(names, copy, pattern):
    files = [file.relative_to(copy).as_posix() for file in copy.glob(pattern) if file.is_file()]
    assert files
    missing = [f for f in files if (f if f.startswith("omrl_bench/") else f"omrl_bench/{f}") not in names]
    assert missing == []


def test_wheel_is_small_and_has_no_tests(names, wheel):
    assert wheel.stat().st_size < 12 * 2**20  # most of it behaviour policies
    assert not [name for name in names if "tests/" in name or name.endswith((".pyc", ".hdf5", ".npz"))]


def test_wheel_declares_its_command_and_licence(names, wheel):
    with zipfile.ZipFile(wheel) as archive:
        info = next(name.split("/")[0] for name in names if ".dist-info/" in name)
        points = archive.read(f"{info}/entry_points.txt").decode()
        described = archive.read(f"{info}/METADATA").decode()
    assert "omrl-bench = omrl_bench.cli.main:main" in points
    from omrl_bench import __version__

    assert f"\nVersion: {__version__}\n" in described
    assert any(name.endswith("/LICENSE") for name in names)


def test_an_unpacked_wheel_works(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "import omrl_bench, omrl_bench.baselines as b, omrl_bench.protocols as p; print(b.__file__, p.__file__)"
    folder = tmp_path / "omrl_bench"
    assert python(tmp_path, "-c", code).split() == [
        str(folder / "baselines" / "__init__.py"),
        str(folder / "protocols" / "__init__.py"),
    ]
    assert "focal" in python(tmp_path, "-m", "omrl_bench", "list", "methods")
    assert "shift" in python(tmp_path, "-m", "omrl_bench", "list", "suites")


def test_a_bare_checkout_works(copy):
    code = """
import importlib.util
import sys
assert not any("editable" in repr(finder) for finder in sys.meta_path)
import omrl_bench
import omrl_bench.baselines
import omrl_bench.protocols.suite
print(omrl_bench.__file__, omrl_bench.baselines.__file__, omrl_bench.protocols.suite.__file__)
"""
    assert python(copy, "-c", code).split() == [
        str(copy / "omrl_bench" / "__init__.py"),
        str(copy / "baselines" / "__init__.py"),
        str(copy / "protocols" / "suite.py"),
    ]
    assert "focal" in python(copy, "-m", "omrl_bench", "list", "methods")
    assert "shift" in python(copy, "-m", "omrl_bench", "list", "suites")


def test_the_installed_package_maps_the_folders():
    """One copy of each module: nothing imports `baselines` or `protocols` under a top-level name."""
    import omrl_bench.baselines
    import omrl_bench.protocols
    import omrl_bench.runner.plan

    for package in (omrl_bench.baselines, omrl_bench.protocols):
        assert package.__name__.startswith("omrl_bench.")
    assert not {name.split(".")[0] for name in sys.modules} & {"baselines", "protocols"}
