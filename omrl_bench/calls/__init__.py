"""The calls of the package for scripts: data, environments, contexts, evaluation and records.

They are what ``omrl_bench.load`` and its like mean, see :mod:`omrl_bench`; the command line does not use them.
"""
