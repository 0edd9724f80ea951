"""The files that environments and data read are part of an installed package."""

import tomllib
from pathlib import Path

import pytest

import omrl_bench

PACKAGE = Path(omrl_bench.__file__).parent
PROJECT = PACKAGE.parent / "pyproject.toml"


@pytest.mark.parametrize(
    "package",
    [
        "envs",
        "data",
    ],
)
def test_every_file_beside_the_code_is_package_data(package):
    if not PROJECT.is_file():
        pytest.skip("not a checkout")
    declared = tomllib.loads(PROJECT.read_text())["tool"]["setuptools"]["package-data"][f"omrl_bench.{package}"]
    folder = PACKAGE / package
    files = [f for f in folder.rglob("*") if f.is_file() and f.suffix not in (".py", ".pyc")]
    assert files
    shipped = {f for pattern in declared for f in folder.glob(pattern)}
    missing = sorted(str(f.relative_to(folder)) for f in files if f not in shipped)
    assert missing == []
