"""Remembers the contexts of the condition before, in its module, its class and its instance."""

from honest import Honest, Walker

SEEN = []


class Remembering(Walker):
    kept = []

    def condition(self, context):
        super().condition(context)
        for memory in (SEEN, Remembering.kept, Cheat.kept):
            memory.append(self.goals)
            self.goals = memory[0]


class Cheat(Honest):
    kept = []

    def policy(self, seed):
        return Remembering(self.space.action_limit)
