"""Takes lanes side by side for the draws of one task, and uses the best context of them for all."""

import numpy as np
from honest import Honest, Walker

DRAWS = 4


class Pooling(Walker):
    def condition(self, context):
        super().condition(context)
        if len(self.goals) % DRAWS:
            return
        rewards = context.rewards.sum(axis=1).reshape(-1, DRAWS)
        best = np.arange(len(rewards)) * DRAWS + rewards.argmax(axis=1)
        self.goals = np.repeat(self.goals[best], DRAWS, axis=0)


class Cheat(Honest):
    def policy(self, seed):
        return Pooling(self.space.action_limit)
