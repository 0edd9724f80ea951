"""``python -m omrl_bench``."""

from omrl_bench.cli.main import main

main()
