"""Replaces what writes records, as far as it can be imported."""

from honest import Honest

import omrl_bench.runner.records


def forge(results, record, cube):
    raise AssertionError("the writer of records can be replaced")


omrl_bench.runner.records.write_record = forge
omrl_bench.runner.records._write = forge


class Cheat(Honest):
    pass
