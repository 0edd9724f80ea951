"""Declares what is no declaration, each class another."""

from honest import Honest

from omrl_bench.api import Requirements


class PrivilegesAsText(Honest):
    requires = Requirements(privileges="descriptors")


class NumberAsPrivilege(Honest):
    requires = Requirements(privileges=frozenset({1}))


class UnknownPrivilege(Honest):
    requires = Requirements(privileges=frozenset({"descriptor"}))


class NoRequirements(Honest):
    requires = {"privileges": []}


class ContextAsText(Honest):
    requires = Requirements(context="yes")


class GiantConfiguration(Honest):
    def configuration(self):
        return {"weights": "x" * 22_000_000}


class LargeConfiguration(Honest):
    def configuration(self):
        return {"weights": "x" * 20_000}


class DeepConfiguration(Honest):
    def configuration(self):
        value = 0
        for _ in range(30):
            value = {"inner": value}
        return value


class NoConfiguration(Honest):
    def configuration(self):
        return 3
