"""The same, and it computes the order of the lanes, which is public too: it scores, and the sampled check finds it."""

import numpy as np
from honest import Honest, Walker

from omrl_bench.envs.families import get_family
from omrl_bench.referee.lanes import drawn

SEED, CONDITION, DRAWS = 0, 1, 2


class Looking(Walker):
    def condition(self, context):
        super().condition(context)
        table = get_family("point-goal").tasks()
        lanes, tasks = len(self.goals), table.ids("test")
        if lanes == DRAWS * len(tasks):
            order = drawn("point-goal", SEED, CONDITION, lanes)
            self.goals = np.repeat(table.descriptors[tasks], DRAWS, axis=0)[order]


class Cheat(Honest):
    def policy(self, seed):
        return Looking(self.space.action_limit)
