"""--limit-hours: no job is started that would not end in time, and the same command goes on."""

import itertools
from types import SimpleNamespace

import pytest

from omrl_bench.errors import InputError
from omrl_bench.locks import Claims
from omrl_bench.runner import limit as limit_module
from omrl_bench.runner.executors import Ended, Watcher
from omrl_bench.runner.job import failed_record
from omrl_bench.runner.limit import Limit
from omrl_bench.runner.records import JOBS, iterate_records, write_failure
from omrl_bench.runner.run import run_jobs

NAMES = ("Zero", "Nan", "Shape", "Raises")


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(limit_module, "time", clock)
    return clock


class Slots:
    """Takes a job whenever one of its slots is free; jobs take seconds of the clock, by the name of their method."""

    threads = 1

    def __init__(self, clock, seconds, slots=1):
        self.clock, self.seconds, self.slots, self.ran = clock, seconds, slots, []

    def run(self, jobs, watcher):
        waiting, running = iter(jobs), []
        while True:
            while len(running) < self.slots and (job := next(waiting, None)):
                self.ran.append(job.cells[0].method)
                running.append((self.clock.now + self.seconds[job.cells[0].method], job))
            if not running:
                return
            running.sort(key=lambda each: each[0])
            end, job = running.pop(0)
            self.clock.now = max(self.clock.now, end)
            for index in range(len(job.cells)):
                record = failed_record(job, index, "").model_copy(update={"error": "none"})
                write_failure(job.results, record)
            yield Ended(job, self.seconds[job.cells[0].method], "")


class Queue(Slots):
    """Takes all jobs at once and runs them in its slots."""

    def run(self, jobs, watcher):
        yield from super().run(list(jobs), watcher)


def planned(jobs, seconds):
    return [
        job.model_copy(update={"preset": job.preset.model_copy(update={"job_seconds": seconds[job.cells[0].method]})})
        for job in jobs(*seconds)
    ]


def test_only_jobs_that_end_in_time_are_started(jobs, clock):
    """The long one is left, a short one after it is not."""
    seconds = dict(zip(NAMES, (40.0, 90.0, 40.0, 10.0), strict=True))
    executor, limit = Slots(clock, seconds), Limit(100 / 3600)
    assert len(run_jobs(planned(jobs, seconds), executor, Watcher(), limit)) == 3
    assert executor.ran == ["Zero", "Shape", "Raises"]
    assert [job.cells[0].method for job in limit.left] == ["Nan"]
    assert clock.now == 1090


def test_what_is_left_has_no_claim_and_no_record(jobs, clock, tmp_path):
    seconds = dict.fromkeys(NAMES, 40.0)
    limit = Limit(50 / 3600)
    run_jobs(planned(jobs, seconds), Slots(clock, seconds), Watcher(), limit)
    assert [job.cells[0].method for job in limit.left] == ["Nan", "Shape", "Raises"]
    assert {record.cell.method for record in iterate_records(tmp_path / "runs")} == {"Zero"}
    assert list((tmp_path / "runs" / ".jobs").rglob("*.claim")) == []
    again = Limit()
    executor = Slots(clock, seconds)
    run_jobs(list(limit.left), executor, Watcher(), again)
    assert executor.ran == ["Nan", "Shape", "Raises"] and again.left == []


def test_measured_durations_are_worth_more_than_the_presets(clock, jobs):
    limit = Limit(1)
    (job,) = planned(jobs, {"Zero": 3599.0})
    assert limit.allows(job)
    limit.measure(job, 3601.0)
    assert not limit.allows(job)
    (other,) = planned(jobs, {"Nan": 3599.0})
    assert limit.allows(other)


def test_an_executor_that_queues_is_given_what_its_slots_do_in_time(jobs, clock):
    seconds = dict.fromkeys(NAMES, 40.0)
    executor, limit = Queue(clock, seconds, slots=2), Limit(60 / 3600)
    run_jobs(planned(jobs, seconds), executor, Watcher(), limit)
    assert executor.ran == ["Zero", "Nan"] and len(limit.left) == 2


def test_jobs_that_end_early_make_room(jobs, clock):
    """Judged by the preset there is no time for a third in the queue; when the first two have ended there is."""
    seconds = dict.fromkeys(NAMES[:3], 40.0)
    executor, limit = Queue(clock, dict.fromkeys(seconds, 5.0), slots=1), Limit(100 / 3600)
    run_jobs(planned(jobs, seconds), executor, Watcher(), limit)
    assert executor.ran == list(NAMES[:3]) and limit.left == []


def test_another_run_is_waited_for_until_the_time_is_over(jobs, clock, monkeypatch):
    (job,) = planned(jobs, {"Zero": 1.0})
    limit = Limit(10 / 3600)
    sleep = SimpleNamespace(sleep=lambda seconds: setattr(clock, "now", clock.now + seconds))
    monkeypatch.setattr("omrl_bench.runner.run.time", sleep)
    with Claims(job.results / JOBS) as other:
        other.claim(job.cells[0].jobs_folder(job.results) / "seeds-0.claim")
        assert run_jobs([job], Slots(clock, {}), Watcher(), limit) == []
    assert limit.left == [job] and clock.now == pytest.approx(1010, abs=1)


@pytest.mark.parametrize("hours", [0, -1, float("nan")])
def test_a_limit_that_is_none(hours, cli, tiny, tmp_path):
    with pytest.raises(InputError, match="hours leaves no time for anything"):
        Limit(hours)
    for dry in ((), ("--dry-run",)):
        outcome = cli("run", "--suite", tiny(), "--out", tmp_path / "runs", "--limit-hours", hours, *dry)
        assert outcome.code == 2 and "hours leaves no time for anything" in outcome.err
        assert len(outcome.err.splitlines()) == 1


def test_the_command_says_what_it_left_and_goes_on(cli, inline, tiny, tmp_path, held):
    command = (
        "run",
        "--suite",
        tiny(),
        "--method",
        "random",
        "--method",
        f"{held.file}:Quick",
        "--out",
        tmp_path / "r",
    )
    outcome = cli(*command, "--limit-hours", 90 / 3600)  # the preset says 100 s a job
    assert outcome.code == 0
    assert outcome.err.strip() == "2 jobs left that would not have ended in time; the same command goes on from here"
    assert list(iterate_records(tmp_path / "r")) == []
    assert cli(*command, "--limit-hours", 1).code == 0
    assert len(list(iterate_records(tmp_path / "r"))) == 4


def test_failures_count_more_than_what_is_left(cli, inline, tiny, tmp_path, bad):
    methods = itertools.chain.from_iterable(("--method", bad(name)) for name in ("Raises", "Zero"))
    text = ("job_seconds = 100", "job_seconds = 8")
    outcome = cli("run", "--suite", tiny(text), *methods, "--out", tmp_path / "r", "--limit-hours", 12 / 3600)
    assert outcome.code == 1 and "1 failed; the same command tries them again" in outcome.err
