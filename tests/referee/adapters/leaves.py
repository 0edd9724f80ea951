"""Leaves behind what it should not."""

import os
import subprocess
import sys
import time
from pathlib import Path

from honest import Honest


class Chatty(Honest):
    """Prints 300 MB."""

    def fit(self, data, budget, seeds, log):
        print("first words")
        for _ in range(300):
            print("x" * 1_000_000)
        super().fit(data, budget, seeds, log)


class Detached(Honest):
    """Starts a process in a session of its own, whose parent ends at once, and says which."""

    def fit(self, data, budget, seeds, log):
        child = f"import os, time; open({str(Path.cwd() / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
        code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)"
        subprocess.run([sys.executable, "-c", code], start_new_session=True, check=True)
        while not (Path("pid").exists() and Path("pid").read_text()):
            time.sleep(0.01)
        print(f"left {Path('pid').read_text()}")
        super().fit(data, budget, seeds, log)


class ThroughLink(Honest):
    """Saves a link to a file elsewhere, which the harness would write through."""

    def save(self, folder):
        super().save(folder)
        (folder / "training.json").symlink_to(os.environ["OMRL_TEST_OUTSIDE"])


class HardLink(Honest):
    def save(self, folder):
        super().save(folder)
        os.link(os.environ["OMRL_TEST_OUTSIDE"], folder / "training.json")


class LinkedFolder(Honest):
    def save(self, folder):
        super().save(folder)
        (folder / "more").symlink_to(Path(os.environ["OMRL_TEST_OUTSIDE"]).parent)


class Pipe(Honest):
    def save(self, folder):
        super().save(folder)
        os.mkfifo(folder / "pipe")


class ManyFiles(Honest):
    def save(self, folder):
        super().save(folder)
        for number in range(1001):
            (folder / str(number)).touch()


class Heavy(Honest):
    """Saves a sparse file of 2 GB, and cannot make it larger."""

    def save(self, folder):
        super().save(folder)
        with (folder / "weights.bin").open("wb") as file:
            file.truncate(2 << 30)


class Ends(Honest):
    """Ends the process that its own came from, its parent."""

    def fit(self, data, budget, seeds, log):
        os.kill(os.getppid(), 9)
        time.sleep(0.1)
        super().fit(data, budget, seeds, log)


class Exits(Honest):
    def fit(self, data, budget, seeds, log):
        os._exit(0)


class Quits(Honest):
    def fit(self, data, budget, seeds, log):
        sys.exit("I am done")
