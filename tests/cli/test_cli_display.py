"""Progress: bars in a terminal, plain lines elsewhere."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from omrl_bench.cli import display

PLAN = SimpleNamespace(jobs=[1, 2])


@pytest.fixture(autouse=True)
def no_table(monkeypatch):
    """Of a plan, these tests need the number of jobs only."""
    monkeypatch.setattr(display, "print_plan", lambda plan, notes: None)


def job(label, token=None):
    return SimpleNamespace(label=label, token=token or label)


@pytest.fixture
def screen(monkeypatch):
    """What is printed, as text; screen.terminal chooses whether it is a terminal."""
    file = io.StringIO()
    state = SimpleNamespace(terminal=True, text=file.getvalue)

    def console():
        return Console(file=file, force_terminal=state.terminal, width=150, color_system=None, legacy_windows=False)

    monkeypatch.setattr(display, "Console", console)
    return state


def test_bars_in_a_terminal(screen):
    with display.watching() as watcher:
        watcher.planned(PLAN)
        first, second = job("point-goal / focal (seeds 0, 1)"), job("point-goal / pearl (seeds 0, 1)")
        watcher.started(first)
        watcher.progressed(first, "representation", 0.25)
        watcher.started(second)
        watcher.progressed(second, "policy", 0.5)
        watcher.finished(first, 12.0, None)
        watcher.finished(second, 12.0, "ValueError: no")
    last = screen.text().split("\x1b[2K")[-3:]
    text = " ".join(last)
    assert "all" in text and "2/2 jobs" in text
    assert "point-goal / focal (seeds 0, 1)" in text and "done" in text
    assert "point-goal / pearl (seeds 0, 1)" in text and "failed: ValueError: no" in text


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("error", ["ValueError: cannot read [/tmp/data] here", "KeyError: '[bold]'"])
def test_an_error_with_brackets_is_shown_as_it_is(screen, terminal, error):
    """In a terminal it is taken for markup: [/x] ends the run with a MarkupError, [bold] is not shown."""
    screen.terminal = terminal
    with display.watching() as watcher:
        watcher.planned(PLAN)
        watcher.started(job("a"))
        watcher.finished(job("a"), 1.0, error)
    assert error in screen.text()


def test_plain_lines_elsewhere(screen):
    screen.terminal = False
    with display.watching() as watcher:
        watcher.planned(PLAN)
        for label in ("a", "b"):
            watcher.started(job(label))
            watcher.progressed(job(label), "policy", 0.5)  # not yet: every half minute
        watcher.finished(job("a"), 12.3, None)
        watcher.finished(job("b"), 3.0, "ValueError: no")
    lines = screen.text().splitlines()
    assert lines[:2] == ["start  a", "start  b"]
    assert lines[2].startswith("done   a in 12 s; 1/2 jobs")
    assert lines[3:] == ["failed b: ValueError: no; 2/2 jobs"]


@pytest.mark.parametrize("terminal", [False, True])
def test_jobs_of_one_label_are_counted_apart(screen, terminal):
    """Labels say nothing of datasets and backbones."""
    screen.terminal = terminal
    with display.watching() as watcher:
        watcher.planned(PLAN)
        for token in ("mixed", "expert"):
            watcher.started(job("a", token))
            watcher.finished(job("a", token), 1.0, None)
    assert "2/2 jobs" in screen.text()


@pytest.mark.parametrize("terminal", [False, True])
def test_what_another_run_does_is_told(screen, terminal):
    screen.terminal = terminal
    with display.watching() as watcher:
        watcher.planned(PLAN)
        watcher.waiting("waiting for 2 jobs that another run has: process 7 on [host]")
        watcher.elsewhere(job("a"), None)
        watcher.elsewhere(job("b"), "ValueError: no")
    text = screen.text()
    assert "waiting for 2 jobs that another run has: process 7 on [host]" in text
    assert "done   a, by another run; 1/2 jobs" in text
    assert "failed b, in another run: ValueError: no; 2/2 jobs" in text


def test_plain_progress_comes_every_half_minute(screen, monkeypatch):
    screen.terminal = False
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(display, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with display.watching() as watcher:
        watcher.planned(PLAN)
        watcher.started(job("a"))
        for second in range(1, 91):
            clock.now = 100.0 + second
            watcher.progressed(job("a"), "policy", second / 180)
    lines = screen.text().splitlines()[1:]
    assert len(lines) == 2
    # a sixth of one of two jobs after 31 s: eleven times as long to go
    assert lines[0].strip() == "a: policy 17%; 0/2 jobs, 5 min left"
    assert lines[1].strip() == "a: policy 34%; 0/2 jobs, 5 min left"


def test_remaining_time_is_not_guessed_from_nothing(screen):
    remaining = display._Remaining(PLAN)
    assert remaining.note() == "0/2 jobs"
    remaining.fractions = {"a": 1.0, "b": 1.0}
    assert remaining.note() == "2/2 jobs"


@pytest.mark.parametrize(("seconds", "text"), [(3, "3 s"), (89, "89 s"), (120, "2 min"), (3000, "50 min")])
def test_durations(seconds, text):
    assert display._minutes(seconds) == text
