"""Faults, many of them, and what they leave of a results folder: the table of docs/reliability.md.

    python tools/fault_campaign.py                        # everything; minutes of one core
    python tools/fault_campaign.py --kills 6 --trials 1   # a few of each

A small suite on point-goal (a control, a built-in method, an adapter; two seeds each) is run by the real command line
and disturbed: processes are killed, the disk is full, files are damaged. After every fault the folder is examined, and
then the same command goes on until all is done. Nothing complete may be lost, done twice or half-written, and the end
must equal an undisturbed run: every cube bit for bit, every field of the records that is no circumstance. What goes
wrong is printed below the table, and the exit code is 1.

Most runs are forks of this process, which has imported everything: a run costs a second in place of ten, and the kills
meet the work and not the imports. Every twentieth kill, and the undisturbed run, are of commands of their own. Moments
are drawn from the seed, but a machine is never twice as fast.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
from fault_runs import BAD, FEW, GOOD, KINDS, YEARS, Campaign, prepare

from omrl_bench.runner.records import Cell


def kills(campaign: Campaign, count: int) -> None:
    """Kill -9 of the runner, of a worker, of both at once; the same command goes on, and is killed again."""
    rows = {victim: campaign.row(f"kill -9 of {victim}") for victim in ("the runner", "a worker", "both")}
    before: list[Cell] = []
    campaign.seconds *= len(FEW) / len(GOOD)
    while (done := sum(row.faults for row in rows.values())) < count:
        victim = campaign.rng.choice(list(rows))
        row = rows[victim]
        run = campaign.start(FEW, own=done % 20 == 19)
        alive = campaign.moment(run)
        workers = run.workers()
        if alive and (workers or victim == "the runner"):
            row.faults += 1
            for process in [*workers] if victim != "the runner" else []:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            if victim != "a worker":
                os.kill(run.pid, signal.SIGKILL)
            if victim == "a worker" or campaign.rng.random() < 0.5:  # else the next run meets the orphan
                psutil.wait_procs(workers, 30)
            code = campaign.end(row, run)
            if victim == "a worker" and code == 1 and "SIGKILL" not in run.text:
                row.problems.append(("not said in a line", run.text))
            campaign.out(f"kill {done + 1} of {victim}: {len(before)} complete before")
        else:
            run.wait()
        before = campaign.complete(row, before)
        if len(before) == len(campaign.cells_of(FEW)):
            campaign.finish(row, FEW)
            before = []
            campaign.clear()
    campaign.finish(row, FEW)
    campaign.clear()
    campaign.seconds *= len(GOOD) / len(FEW)


def disk_full(campaign: Campaign, trials: int) -> None:
    """A file system, or else a size of files, that has no room left at some point of a run."""
    campaign.results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(campaign.results)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    row = campaign.row("disk full (a tmpfs)" if mounted else "disk full (RLIMIT_FSIZE)")
    ballast, before = campaign.results / "ballast", list[Cell]()
    try:
        for _ in range(trials):
            room, begin = int(2 ** campaign.rng.uniform(6, 17)), lambda: None
            if mounted:
                with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                    while file.write(bytes(4096)):
                        pass
                os.truncate(ballast, max(0, ballast.stat().st_size - room))
            else:
                begin = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))  # noqa: B023, E731
            campaign.end(row, campaign.start(GOOD, begin=begin))
            row.faults += 1
            ballast.unlink(missing_ok=True)
            before = campaign.complete(row, before)
            campaign.out(f"disk full with room for {room} bytes: {len(before)} complete")
            if len(before) == len(campaign.reference):
                shutil.rmtree(campaign.results / "faults")
                before = []
        campaign.finish(row)
    finally:
        if mounted:
            subprocess.run(["umount", str(campaign.results)], check=True)
    campaign.clear()


def read_only(campaign: Campaign, trials: int) -> None:
    """Folders that nobody may write to, from a moment on; root, who may always, gives that up."""
    row, before = campaign.row("folder becomes read-only"), list[Cell]()
    for _ in range(trials):
        campaign.results.mkdir(exist_ok=True)
        run = campaign.start(GOOD, begin=drop_capabilities)
        campaign.moment(run)
        set_modes(campaign.results, 0o555)
        row.faults += 1
        campaign.end(row, run)
        set_modes(campaign.results, 0o755)
        before = campaign.complete(row, before)
        campaign.out(f"read-only: {len(before)} complete")
    campaign.finish(row)
    campaign.clear()


def drop_capabilities() -> None:
    """Be root without his rights, by capset(2): what a file's mode says holds."""
    if os.geteuid() == 0:
        header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None, use_errno=True).capset(header, nothing):
            raise OSError(ctypes.get_errno(), "capset")


def set_modes(results: Path, mode: int) -> None:
    for folder, _, _ in os.walk(results):
        Path(folder).chmod(mode)


def clock(campaign: Campaign, trials: int) -> None:
    """Every file is ten years older or younger all of a sudden, records, jobs and locks, in a run and between runs."""
    row, before = campaign.row("clock moved, back or on"), list[Cell]()
    for _ in range(trials):
        run = campaign.start(GOOD)
        while campaign.moment(run):
            row.faults += 1
            moved = time.time() + campaign.rng.choice((-YEARS, YEARS))
            for path in [*campaign.results.rglob("*")]:
                with contextlib.suppress(FileNotFoundError):
                    os.utime(path, (moved, moved))
            if campaign.rng.random() < 0.3:
                os.kill(run.pid, signal.SIGKILL)
        campaign.end(row, run)
        before = campaign.complete(row, before)
        campaign.out(f"clock: {len(before)} complete")
    campaign.finish(row)
    campaign.clear()


def truncate(campaign: Campaign, path: Path, others: Sequence[Path]) -> None:
    os.truncate(path, campaign.rng.randrange(max(1, path.stat().st_size)))


def overwrite(campaign: Campaign, path: Path, others: Sequence[Path]) -> None:
    content = bytearray(path.read_bytes() or b"x")
    content[campaign.rng.randrange(len(content))] ^= 1 << campaign.rng.randrange(8)
    path.write_bytes(content)


def swap(campaign: Campaign, path: Path, others: Sequence[Path]) -> None:
    others = [other for other in others if other != path]
    if others:
        other, content = campaign.rng.choice(others), path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)


DAMAGES = (truncate, overwrite, swap)


def records_damaged(campaign: Campaign, trials: int) -> None:
    """Records and cubes of a finished run; the next run makes them again, from the weights that are kept."""
    row = campaign.row("records and cubes truncated, overwritten, swapped")
    campaign.finish(row)
    for _ in range(trials):
        for pattern in ("seed-?.json", "seed-?.npz"):
            files = sorted(path for path in campaign.results.rglob(pattern) if ".jobs" not in path.parts)
            campaign.rng.choice(DAMAGES)(campaign, campaign.rng.choice(files), files)
            row.faults += 1
        campaign.finish(row)
        campaign.out("records damaged")


def weights_damaged(campaign: Campaign, trials: int) -> None:
    """Weights that are kept, of records that are gone."""
    row = campaign.row("kept weights truncated, overwritten, swapped")
    campaign.finish(row)
    for _ in range(trials):
        damage = campaign.rng.choice(DAMAGES)
        pattern = campaign.rng.choice(("weights.*", "training.json"))
        files = sorted((campaign.results / ".trained").rglob(pattern))
        for path in campaign.rng.sample(files, min(2, len(files))):
            alike = [other for other in files if other.name == path.name]
            damage(campaign, path, alike)
            row.faults += 1
        for name in ("Clone", "Other", "focal"):
            shutil.rmtree(campaign.results / "faults" / "quick" / "point-goal" / "mixed" / name, ignore_errors=True)
        campaign.finish(row)
        campaign.out(f"weights: {damage.__name__} {pattern}")
    campaign.clear()


def jobs_damaged(campaign: Campaign, trials: int) -> None:
    """Job files, claims, locks and reports, while a run goes on and after it was killed."""
    row, before = campaign.row("files of a run truncated, overwritten, swapped"), list[Cell]()
    for _ in range(trials):
        run = campaign.start(GOOD)
        for _ in range(campaign.rng.randint(1, 4)):
            campaign.moment(run)
            files = sorted(path for path in (campaign.results / ".jobs").rglob("seed*") if path.is_file())
            for path in campaign.rng.sample(files, min(2, len(files))):
                with contextlib.suppress(FileNotFoundError):
                    campaign.rng.choice(DAMAGES)(campaign, path, files)
                    row.faults += 1
        if campaign.rng.random() < 0.5 and run.poll() is None:
            os.kill(run.pid, signal.SIGKILL)
        campaign.end(row, run)
        before = campaign.complete(row, before)
        campaign.out(f"files of a run: {len(before)} complete")
    time.sleep(1)  # orphans end by themselves
    campaign.finish(row)
    campaign.clear()


def data_damaged(campaign: Campaign, trials: int) -> None:
    """The data set's files: a run says so, or does not read what is damaged."""
    row = campaign.row("data sets truncated, overwritten, swapped")
    kept = campaign.folder / "kept"
    shutil.copytree(campaign.data, kept)
    for _ in range(trials):
        files = sorted(path for path in campaign.data.rglob("*") if path.is_file())
        damage, path = campaign.rng.choice(DAMAGES), campaign.rng.choice(files)
        damage(campaign, path, files)
        row.faults += 1
        code = campaign.end(row, campaign.start(GOOD))
        campaign.out(f"data: {damage.__name__} {path.name}: exit code {code}")
        campaign.complete(row)
        shutil.rmtree(campaign.data)
        shutil.copytree(kept, campaign.data)
        campaign.finish(row)
        campaign.clear()


def bad_methods(campaign: Campaign, trials: int) -> None:
    """Methods that hang, crash, raise or act in NaN, among good ones."""
    row = campaign.row("methods that hang, crash, raise, act in NaN")
    for _ in range(trials):
        mixed = campaign.rng.sample((*GOOD, *BAD), len(GOOD) + len(BAD))
        run = campaign.start(mixed, preset="hung")
        row.faults += len(BAD)
        if campaign.end(row, run) != 1 or f"\n{len(BAD)} failed; " not in run.text:
            row.problems.append(("not said in a line", run.text))
        found = Counter((record.status, record.cell.method) for record in campaign._records(row.problems))
        expected = {("complete", name): 2 for name in GOOD} | {("failed", name): 2 for name in BAD}
        row.problems += [("lost", f"{key}: {found[key]}") for key in expected if found[key] != 2]
        campaign.clear()


def two_runs(campaign: Campaign, trials: int) -> None:
    """Two runs on one folder, one of which may be killed: every job is done by one of them."""
    row = campaign.row("two runs at once, one of them killed at times")
    for number in range(trials):
        first = campaign.start(GOOD)
        time.sleep(campaign.rng.uniform(0, campaign.seconds / 2))
        second = campaign.start(GOOD)
        row.faults += 1
        if number % 2:
            campaign.moment(first)
            with contextlib.suppress(ProcessLookupError):
                os.kill(first.pid, signal.SIGKILL)
        codes = campaign.end(row, first), campaign.end(row, second)
        lines = Counter(line for run in (first, second) for line in run.text.splitlines() if line.startswith("start "))
        twice = [line for line, count in lines.items() if count > 1 and codes[0] == 0]
        row.problems += [("done twice", line) for line in twice]
        if codes[1]:
            row.problems.append(("lost", second.text[-2000:]))
        campaign.complete(row, list(campaign.reference))
        campaign.finish(row)
        campaign.clear()
        campaign.out(f"two runs: exit codes {codes}")


ROWS: dict[str, Callable[[Campaign, int], None]] = {
    "full": disk_full, "readonly": read_only, "clock": clock, "records": records_damaged, "weights": weights_damaged,
    "jobs": jobs_damaged, "data": data_damaged, "methods": bad_methods, "two": two_runs,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="processes to kill in the first rows")
    parser.add_argument("--trials", type=int, default=6, help="of each other row")
    parser.add_argument("--rows", default="", help=f"only some of: kill, {', '.join(ROWS)}; separated by commas")
    parser.add_argument("--seed", type=int, default=0, help="draws moments and victims")
    parser.add_argument(
        "--data", type=Path, help="Minari's root folder with the data of point-goal (else they are built)"
    )
    parser.add_argument("--forks", action="store_true", help="let no command be a process of its own")
    options = parser.parse_args(arguments)
    prepare()
    wanted = options.rows.split(",") if options.rows else ["kill", *ROWS]
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        Path(name).chmod(0o755)
        started = time.monotonic()

        def say(text: str) -> None:
            print(f"{time.monotonic() - started:6.0f} s  {text}", file=sys.stderr, flush=True)

        campaign = Campaign(Path(name), options.data, random.Random(options.seed), options.forks, say)
        with contextlib.suppress(KeyboardInterrupt):  # then the table is of what was done
            for kind in wanted:
                if kind == "kill":
                    kills(campaign, options.kills)
                else:
                    ROWS[kind](campaign, options.trials)
    print(f"| fault | injected | exit codes | {' | '.join(KINDS)} |")
    print(f"|{'---|' * (3 + len(KINDS))}")
    for row in campaign.rows:
        print(row.line())
    problems = [f"{row.name}: {kind}: {what}" for row in campaign.rows for kind, what in row.problems]
    print("", *problems, sep="\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
