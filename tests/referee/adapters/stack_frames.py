"""Reads the local variables of whoever calls it."""

import sys

from honest import Honest, Walker


class Reading(Walker):
    def act(self, observations, explore=False):
        frame = sys._getframe()
        while frame is not None:
            for name in ("tasks", "rollout", "env", "evaluation"):
                if name in frame.f_locals:
                    raise AssertionError(f"the scorer's {name} can be read")
            frame = frame.f_back
        return super().act(observations, explore)


class Cheat(Honest):
    def policy(self, seed):
        return Reading(self.space.action_limit)
