"""Never done importing."""

import time

from honest import Honest

time.sleep(600)


class Cheat(Honest):
    pass
