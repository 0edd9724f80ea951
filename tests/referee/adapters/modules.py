"""Says what is imported where it runs."""

import sys

from honest import Honest


class Cheat(Honest):
    def policy(self, seed):
        print("modules", *sorted(sys.modules))
        return super().policy(seed)
