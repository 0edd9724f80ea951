"""The leaderboard in a real browser, opened from disk: what a reader clicks, types and sees."""

import re
import time
from functools import partial

import pytest

from omrl_bench.report.site import leaderboard as leaderboard_module
from omrl_bench.report.site.models import Board, BoardEntry, Leaderboard, Notes, Run
from omrl_bench.report.site.page import build_site, page

from .browser import EXECUTABLE, NAMES, ROWS, Site

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason=f"needs a browser: one of {', '.join(NAMES)}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One browser for all tests of the file."""
    made = Site(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture
def site(browser):
    """The browser, on a wide screen; in the end the page must have had no problem."""
    browser.problems.clear()
    browser.size(1280, 800)
    browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    yield browser
    assert browser.problems == []


EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def address(store_class, tmp_path_factory):
    """Address of a leaderboard of two suites, one of which has two presets and two backbones; and of bad rows."""
    store = store_class(tmp_path_factory.mktemp("site") / "results").fill()
    store.put("cheetah-vel", "focal", 2, error="ValueError: </script><script>alert(1)</script>")
    store.put("point-goal", EVIL, 0, (10, 5), privileges=("reward_function",))
    names = {"suite": "zero-shot", "preset": "standard"}
    store.put("point-goal", "focal", 0, (70, 30), costs={"parameters": 1234567, "fit_seconds": 300}, **names)
    store.put("point-goal", "pearl", 0, (60, 35), backbone="sac", costs={"parameters": 900, "fit_seconds": 30}, **names)
    store.put("point-goal", "focal", 0, (50, 20), suite="zero-shot", preset="quick")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaderboard_module, "board_of", partial(leaderboard_module.board_of, resamples=200))  # quickly
        return build_site(store.path, store.path.parent / "site")[0].as_uri()


def test_it_opens_from_disk_and_asks_for_nothing_else(site, address):
    site.open(address)
    assert site.requests == [address]
    assert site.run("document.querySelectorAll('[role=tab]').length") == 2
    assert site.methods == ["oracle", "focal", "task-blind", EVIL]
    assert site.address == {"suite": "shift"}
    assert site.run("document.getElementById('status').textContent") == "4 rows, sorted by score, descending"


def test_names_and_errors_are_text(site, address):
    site.open(address + "#family=cheetah-vel")
    assert "seed 2 failed: ValueError: </script><script>alert(1)</script>" in site.run("document.body.innerText")
    assert site.run("document.querySelectorAll('img').length") == 0
    assert site.run("document.querySelectorAll('script').length") == 2


def test_headers_sort_both_ways_and_say_so(site, address):
    site.open(address + "#family=point-goal")
    sorts = "[...document.querySelectorAll('#table [aria-sort]')].map((cell) => [cell.dataset.name, cell.ariaSort])"
    assert site.run(sorts) == [["score", "descending"]]
    best = site.methods
    site.sort("score")
    assert site.run(sorts) == [["score", "ascending"]]
    assert site.methods == best[::-1]
    assert site.address["sort"] == "score"
    site.sort("method")
    assert site.methods == [EVIL, "focal", "oracle", "task-blind"]
    assert site.run(sorts) == [["method", "ascending"]]
    site.sort("method")
    assert site.methods == ["task-blind", "oracle", "focal", EVIL]
    site.sort("rank")
    assert site.methods == best == ["oracle", "focal", "task-blind", EVIL]
    assert [text.split()[0] for text in site.column("rank")] == ["1", "2", "3", "4"]


def test_rows_without_a_number_are_last_and_greyed_with_the_reason(site, address):
    site.open(address)  # the mean over families, which one method does not have
    for _ in range(2):
        site.sort("score")
        assert site.methods[-1] == EVIL
    row = f"{ROWS}.at(-1)"
    assert site.run(f"{row}.className") == "missing"
    assert "nothing from cheetah-vel" in site.run(f"{row}.innerText")
    assert site.run(f"getComputedStyle({row}.cells[0]).color") != site.run(
        f"getComputedStyle({ROWS}[0].cells[0]).color"
    )


def test_filters(site, address):
    site.open(address + "#family=point-goal")
    site.choose("search", "FOC")
    assert site.methods == ["focal"]
    site.choose("search", "")
    site.choose("privileges", "none")
    assert site.methods == ["focal", "task-blind"]
    site.choose("privileges", "some")
    assert site.methods == ["oracle", EVIL]
    site.choose("privileges", "with descriptors")
    assert site.methods == ["oracle"]
    assert site.address == {"suite": "shift", "family": "point-goal", "privileges": "with descriptors"}
    site.run("document.querySelector('[type=reset]').click()")
    assert len(site.methods) == 4
    assert site.address == {"suite": "shift"}
    site.choose("family", "")
    assert "family" in site.headers
    assert sorted(set(site.column("family"))) == ["cheetah-vel", "point-goal"]
    assert len(site.methods) == 8


def test_conditions_and_returns(site, address):
    site.open(address + "#family=point-goal")
    high = site.column("score")
    site.choose("condition", "low")
    assert site.column("score") != high
    assert "context quality low" in site.run("document.getElementById('caption').textContent")
    assert "return" not in site.headers
    site.choose("returns", True)
    assert "return" in site.headers
    assert all(re.fullmatch(r"-?\d+(\.\d+)? \[-?\d+(\.\d+)?, -?\d+(\.\d+)?\]", text) for text in site.column("return"))
    site.sort("return")
    assert site.address == {
        **{"suite": "shift", "family": "point-goal", "condition": "low"},
        **{"returns": "1", "sort": "-return"},
    }
    site.choose("returns", False)  # what it is sorted by goes: by score again
    assert "sort" not in site.address


def test_tabs_presets_and_backbones(site, address):
    site.open(address)
    assert site.run("document.querySelector('[name=preset]').closest('label').hidden")
    site.tab("zero-shot")
    assert site.run("document.querySelector('[role=tab][aria-selected=true]').textContent") == "zero-shot"
    assert site.address == {"suite": "zero-shot"}
    assert site.run("document.querySelector('[name=preset]').value") == "standard"
    assert site.column("backbone") == ["iql", "sac"]
    assert site.column("parameters") == ["1,234,567", "900"]
    assert site.column("time") == ["5.0 min", "30.0 s"]
    site.choose("backbone", "sac")
    assert site.methods == ["pearl"]
    site.choose("preset", "quick")
    assert site.methods == ["focal"]
    assert site.address == {"suite": "zero-shot", "preset": "quick"}
    assert site.run("document.activeElement.name") == "preset"


def test_an_address_shows_what_it_says(site, address):
    site.open(address + "#suite=zero-shot&preset=standard&condition=low&sort=-method&search=ea&returns=1")
    assert site.methods == ["pearl"]
    assert site.run("document.querySelector('[name=search]').value") == "ea"
    assert "return" in site.headers
    site.run("location.hash = '#suite=shift&family=point-goal&sort=method'")
    site.run("new Promise((resolve) => setTimeout(resolve, 50))")
    assert site.methods == [EVIL, "focal", "oracle", "task-blind"]
    site.open(address + "#suite=nothing&family=%3Cimg%3E&sort=-nothing&condition=x")  # is mended
    assert site.methods[0] == "oracle"
    assert site.address == {"suite": "shift"}


def test_details_open_under_their_row_and_follow_it(site, address):
    site.open(address)
    open_focal = f"{ROWS}.find((row) => row.innerText.includes('focal')).querySelector('.more')"
    site.run(f"{open_focal}.click()")
    assert site.run(f"{open_focal}.getAttribute('aria-expanded')") == "true"
    following = f"{open_focal}.closest('tr').nextElementSibling"
    text = site.run(f"{following}.innerText")
    for part in ("interquartile mean", "context quality low", "seed 2 failed", "the commit of the code is not known"):
        assert part in text
    site.sort("method")
    assert site.run(f"{following}.className") == "detail"
    site.run(f"{open_focal}.click()")
    assert site.run("document.querySelectorAll('.detail').length") == 0


def test_keyboard(site, address):
    site.open(address)
    site.key("Tab")
    assert site.run("document.activeElement.className") == "skip"
    assert site.run("document.activeElement.getBoundingClientRect().left") >= 0  # it shows when it has the focus
    site.key("Enter")
    assert site.run("document.activeElement.id") == "table"
    site.key("Tab")
    assert site.run("document.activeElement.closest('th').dataset.name") == "rank"
    assert site.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    site.key("Enter")
    assert site.address["sort"] == "rank"
    assert site.run("document.activeElement.closest('th').dataset.name") == "rank"  # the focus stays
    site.run("document.querySelector('[role=tab][aria-selected=true]').focus()")
    for key, chosen in (("ArrowRight", "zero-shot"), ("ArrowRight", "shift"), ("End", "zero-shot"), ("Home", "shift")):
        site.key(key)
        assert site.run("document.activeElement.textContent") == chosen
        assert site.run("document.activeElement.ariaSelected") == "true"
    assert site.run("document.querySelectorAll('[role=tab][tabindex=\"0\"]').length") == 1


def test_what_a_screen_reader_gets(site, address):
    site.open(address)
    nodes = site.send("Accessibility.getFullAXTree")["nodes"]
    found = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]}
    for expected in (
        *(("tab", "shift"), ("tab", "zero-shot"), ("tabpanel", "shift"), ("heading", "omrl-bench leaderboard")),
        *(("columnheader", "Score"), ("rowheader", "oracle control"), ("searchbox", "Method"), ("main", "")),
        *(("combobox", "Privileges"), ("combobox", "Context quality"), ("button", "Dark colours")),
    ):
        assert expected in found, sorted(found)
    assert any(role == "table" and name.startswith("Suite shift") for role, name in found)
    unnamed = [
        r for r, name in found if r in ("button", "combobox", "checkbox", "searchbox", "tab", "link") and not name
    ]
    assert unnamed == []


def test_a_phone_never_scrolls_sideways(site, address):
    site.size(375, 667)
    site.open(address)
    site.run("document.querySelectorAll('.more').forEach((button) => button.click())")
    site.choose("returns", True)
    assert site.run("document.documentElement.scrollWidth") == 375
    assert site.run("document.getElementById('table').scrollWidth") > 375  # the table does, in its own box
    assert site.run("document.querySelector('.details').getBoundingClientRect().width") < 375


CONTRAST = """(() => {
  const linear = (value) => ((value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const weights = [0.2126, 0.7152, 0.0722];
  const light = (text) => weights.reduce((sum, weight, place) => sum + weight * linear(numbers(text)[place]), 0);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if ((numbers(colour)[3] ?? 1) > 0) return colour;
    }
    return getComputedStyle(document.body).backgroundColor;
  };
  const own = (each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const texts = [...document.body.querySelectorAll(':not(script)')]
    .filter((each) => each.checkVisibility() && own(each));
  return texts.map((each) => {
    const [a, b] = [light(getComputedStyle(each).color), light(ground(each))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), each.outerHTML.slice(0, 80)];
  }).sort((x, y) => x[0] - y[0])[0];
})()"""  # the text with the lowest contrast, by WCAG's formula


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_and_are_readable(site, address, scheme):
    site.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    site.open(address)
    site.run("document.querySelectorAll('.more').forEach((button) => button.click())")
    ground = site.run("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 22, 27)"}[scheme]
    ratio, where = site.run(CONTRAST)
    assert ratio >= 4.5, where


def test_colours_can_be_chosen(site, address):
    site.open(address)
    colours = []
    for pressed in ("false", "true", "false"):
        assert site.run("document.getElementById('theme').ariaPressed") == pressed
        colours.append(site.run("getComputedStyle(document.body).backgroundColor"))
        site.run("document.getElementById('theme').click()")
    assert colours[0] == colours[2] != colours[1]
    site.run("localStorage.removeItem('theme')")


def test_without_scripts_the_main_scores_are_there(site, address):
    site.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        site.send("Page.navigate", url="about:blank")
        site.send("Page.navigate", url=address)
        time.sleep(0.5)
        nodes = site.send("Accessibility.getFullAXTree")["nodes"]
    finally:
        site.send("Emulation.setScriptExecutionDisabled", value=False)
    found = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]}
    assert ("rowheader", "oracle") in found
    assert ("rowheader", EVIL) in found
    assert not [name for role, name in found if role == "tab"]


def test_two_thousand_rows_sort_at_once(site, tmp_path):
    path = tmp_path / "index.html"
    path.write_text(page(large_leaderboard(2000)))
    assert path.stat().st_size < 2 * 2**20
    site.open(path.as_uri())
    assert len(site.methods) == 100
    assert site.run("document.getElementById('status').textContent").startswith("2000 rows")
    site.send("Performance.enable", timeDomain="threadTicks")  # processor time: other processes do not count
    times = {}
    for name in ("method", "score", "rank", "time"):
        before = site.processor_seconds
        site.sort(name)
        site.run("document.body.offsetHeight")  # layout included
        times[name] = site.processor_seconds - before
    print("sorting 2,000 rows:", *(f"by {name} {1000 * seconds:.0f} ms" for name, seconds in times.items()))
    assert max(times.values()) < 1
    best = site.run("document.querySelector('#table tbody .time').textContent")
    site.run("document.getElementById('more').click()")
    assert len(site.methods) == 2000
    assert site.run("document.querySelector('#table tbody .time').textContent") == best
    assert site.run("document.getElementById('more').hidden")


def test_a_suite_of_which_everything_failed(site, tmp_path):
    content = large_leaderboard(1)
    run = content.runs[0].model_copy(update={"status": "missing", "reasons": ("seed 0 failed: no",), "created": None})
    board = content.boards[0].model_copy(update={"conditions": (), "main_condition": ""})
    path = tmp_path / "index.html"
    path.write_text(page(content.model_copy(update={"boards": (board,), "runs": (run,), "entries": ()})))
    site.open(path.as_uri())
    assert site.methods == ["method-0"]
    assert site.column("score") == site.column("rank") == site.column("date") == ["\N{EN DASH}"]
    assert "seed 0 failed: no" in site.column("method")[0]


def large_leaderboard(size):
    """A leaderboard of so many methods, with scores in no order."""
    names = {"suite": "large", "preset": "standard", "dataset": "mixed", "backbone": "iql", "family": "ant-dir"}
    scores = [(number * 7919) % size / size * 100 for number in range(size)]
    runs = tuple(
        Run(
            **names,
            method=f"method-{number}",
            **{"control": False, "privileges": (), "status": "complete", "reasons": (), "doubts": ()},
            **{"badge": "reference", **dict.fromkeys(("verified", "ruleset", "tuning_episodes", "paper"))},
            **{"parameters": 1000 + number, "training_seconds": 100 + scores[-number], "memory_mib": 300},
            created="2026-01-01T00:00:00+00:00",
            versions={"omrl-bench": "0.1.0", "torch": "2.13.0"},
            commits=("0123456789012345678901234567890123456789",),
        )
        for number in range(size)
    )
    values = {f"{name}{end}": 0 for name in ("iqm", "ratio", "z", "return_mean") for end in ("", "_low", "_high")}
    ends = {"could_be_best": True, "rank_low": 1, "rank_high": size, "seeds": 5, "tasks": 20, "draws": 10}
    ends |= {"collapsed": ()}
    entries = tuple(
        BoardEntry(
            run=number,
            condition="high",
            rank=size - int(score * size / 100),
            **{"score": score, "score_low": score - 5, "score_high": score + 5},
            **values,
            **ends,
        )
        for number, score in enumerate(scores)
    )
    board = Board(
        **{"suite": "large", "preset": "standard", "title": "Large", "kind": "context quality"},
        **{"conditions": ("high",), "main_condition": "high", "families": ("ant-dir",)},
        tables=(Notes(dataset="mixed", backbone="iql", notes=()),),
        discrimination=(),
    )
    return Leaderboard(boards=(board,), runs=runs, entries=entries)


def test_what_does_not_discriminate_or_collapsed_is_said_where_it_is_shown(site, boards, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaderboard_module, "board_of", partial(leaderboard_module.board_of, resamples=200))
        address = build_site(boards.path, tmp_path)[0].as_uri()
    site.open(address)
    verdict = "document.getElementById('verdict')"
    assert site.run(f"{verdict}.hidden")  # of the mean over families
    assert "z" in site.headers and all("[" in text for text in site.column("z"))
    site.sort("z")
    assert site.methods[0] == "oracle"
    (marked,) = [text for text in site.column("score") if "collapsed" in text]
    assert marked.endswith("§ seed collapsed: point-goal:1")
    site.choose("family", "cheetah-vel")
    assert not site.run(f"{verdict}.hidden") and "z" not in site.headers
    assert "Does not discriminate" in site.run(f"{verdict}.textContent")
    site.choose("family", "point-goal")
    assert site.run(f"{verdict}.hidden")
    summary = site.run("document.querySelector('#discrimination summary').textContent")
    assert summary.endswith("2 of 6 combinations of family and context quality do not")
    site.run("document.querySelector('#discrimination summary').click()")
    assert site.run("[...document.querySelectorAll('#discrimination tbody tr')].length") == 6
    assert site.run("document.querySelector('#discrimination').offsetHeight") > 100
