"""Maps `baselines/` and `protocols/` into the package, so that nothing is installed at the top level."""

from setuptools import find_packages, setup


def inside(folder: str) -> list[str]:
    """Name a top-level folder's packages as parts of omrl_bench."""
    return [f"omrl_bench.{p}" for p in find_packages(".", include=[folder, folder + ".*"])]


setup(
    packages=find_packages(".", include=["omrl_bench", "omrl_bench.*"]) + inside("baselines") + inside("protocols"),
    package_dir={"omrl_bench.baselines": "baselines", "omrl_bench.protocols": "protocols"},
)
