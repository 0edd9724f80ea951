"""The leaderboard's data and page, without a browser; what a reader can do with it is in test_site_browser.py."""

import base64
import hashlib
import html
import json
import re
from functools import partial
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import load_suite
from omrl_bench.report.reading.frames import load
from omrl_bench.report.site import leaderboard as leaderboard_module
from omrl_bench.report.site import page as site_module
from omrl_bench.report.site.leaderboard import Leaderboard, leaderboard
from omrl_bench.report.site.page import build_site
from omrl_bench.report.tables.boards import board_of
from omrl_bench.runner.cubes import Cube, read_cube
from omrl_bench.runner.known_tasks import KnownTasks
from omrl_bench.runner.records import write_record
from omrl_bench.stats.panels import ALL, panels
from omrl_bench.stats.ranks import rank_intervals


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Be quick: 200 resamples show whether numbers are in their places."""
    monkeypatch.setattr(leaderboard_module, "board_of", partial(leaderboard_module.board_of, resamples=200))


EVIL = "</script><b>&'\""


class Elements(HTMLParser):
    """Start tags with their attributes, and the text inside each kind of element."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._inside = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("script", "style", "noscript"):
            self._inside.append(tag)

    def handle_endtag(self, tag):
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data):
        if self._inside:
            self.texts.setdefault(self._inside[-1], []).append(data)


def run_of(content, family, method):
    """The only run of a method in a family."""
    (run,) = (run for run in content.runs if (run.family, run.method) == (family, method))
    return run


def test_every_number_is_that_of_the_tables(store):
    store.fill()
    content = leaderboard(store.path)
    frame = load(store.path)[0]
    keys = ["family", "condition", "method"]
    placed = ["rank", "rank_low", "rank_high", "could_be_best"]
    ranks = rank_intervals(frame)[[*keys, *placed]]
    expected = board_of(panels(frame), 200).summary.merge(ranks, on=keys)
    assert len(content.entries) == len(expected) == 2 * 3 * 3  # conditions, families and their mean, methods
    rows = expected.set_index(keys)
    for entry in content.entries:
        run = content.runs[entry.run]
        row = rows.loc[run.family, entry.condition, run.method]
        assert (run.suite, run.preset, run.dataset, run.backbone) == ("shift", "quick", "mixed", "iql")
        for name, column in (
            ("score", "score_mean"),
            ("iqm", "score_iqm"),
            ("ratio", "score_ratio"),
            ("return_mean", "return_mean"),
        ):
            for end in ("", "_low", "_high"):
                value = getattr(entry, name + end)
                if value is None:
                    assert (run.family, name) == (ALL, "return_mean")
                else:
                    assert value == pytest.approx(row[column + end], abs=0.0051)
        assert (entry.seeds, entry.tasks, entry.draws) == (row["n_seeds"], row["n_tasks"], row["n_draws"])
        assert (entry.rank, entry.rank_low, entry.rank_high, entry.could_be_best) == tuple(row[placed])
        assert entry.rank_low <= entry.rank <= entry.rank_high
    best = [content.runs[e.run].method for e in content.entries if e.rank == 1 and e.condition == "low"]
    assert best == ["oracle"] * 3


def test_costs_are_medians_over_seeds_and_means_over_families(store):
    for seed, (seconds, parameters) in enumerate(((30, 10), (90, 10), (60, 40))):
        costs = {"fit_seconds": seconds, "parameters": parameters, "peak_memory_mib": 100 * seconds}
        store.put("point-goal", "focal", seed, costs=costs)
        store.put("ant-dir", "focal", seed, costs={"fit_seconds": 20, "parameters": 4})
        store.put("ant-dir", "random", seed)
        store.put("point-goal", "random", seed)
    content = leaderboard(store.path)
    run = run_of(content, "point-goal", "focal")
    assert (run.training_seconds, run.parameters, run.memory_mib) == (60, 10, 6000)
    run = run_of(content, ALL, "focal")
    assert (run.training_seconds, run.parameters, run.memory_mib) == (40, 7, 6000)
    run = run_of(content, ALL, "random")
    assert (run.training_seconds, run.parameters, run.control) == (None, None, True)


def test_seeds_that_trained_together_share_the_time(store):
    for seed in range(2):
        record = store.put("point-goal", "focal", seed, costs={"fit_seconds": 100})
        cube = read_cube(record.cell.cube_path(store.path))
        write_record(store.path, record.model_copy(update={"trained_together": (0, 1, 2, 3)}), cube)
    assert run_of(leaderboard(store.path), "point-goal", "focal").training_seconds == 25


def test_rows_with_missing_and_failed_cells_stay(store):
    store.fill()
    store.put("point-goal", "focal", 2, error="ValueError: loss is NaN")
    store.put("point-goal", "pearl", 0, error="MemoryError: too much")
    content = leaderboard(store.path)
    focal = run_of(content, "point-goal", "focal")
    assert focal.status == "partial"
    assert focal.reasons == ("seed 2 failed: ValueError: loss is NaN", "2 of 3 seeds (without 2)")
    mean = run_of(content, ALL, "focal")
    assert mean.status == "partial"
    assert mean.reasons == tuple(f"point-goal: {reason}" for reason in focal.reasons)
    pearl = run_of(content, ALL, "pearl")
    assert pearl.status == "missing"
    assert pearl.reasons[0] == "no mean over the families: nothing from cheetah-vel, point-goal"
    assert "point-goal: seed 0 failed: MemoryError: too much" in pearl.reasons
    assert run_of(content, "cheetah-vel", "pearl").reasons == ("no results",)
    assert not [entry for entry in content.entries if content.runs[entry.run].method == "pearl"]
    assert run_of(content, "point-goal", "oracle").status == "complete"


def test_a_family_that_nobody_has_results_of_is_not_in_the_mean(store):
    store.fill()
    store.put("ant-dir", "focal", 0, error="MemoryError: too much")
    content = leaderboard(store.path)
    mean = run_of(content, ALL, "focal")
    assert mean.status == "complete" and mean.reasons == ()
    assert "ant-dir: not in the mean, nobody has results" in mean.doubts and mean.badge == "self-reported"
    assert [entry for entry in content.entries if content.runs[entry.run] == mean]


CLEAN = {"commit": "0" * 40, "dirty": False}


@pytest.fixture
def undoubted(store, monkeypatch):
    """Fields of the package's own records of which there is no doubt, if all seeds are there."""
    ours = KnownTasks({"t": np.arange(100)}, np.zeros(100), np.ones(100))  # "t" is the hash that they have
    monkeypatch.setattr(leaderboard_module, "known_tasks", lambda family: ours)
    monkeypatch.setattr(leaderboard_module, "shipped_records", lambda: store.path)
    suite = load_suite("shift")
    return suite.presets["quick"].seeds, {
        "hashes": {"suite": suite.fingerprint("quick", "point-goal")},
        "costs": {"git": CLEAN, "versions": {"omrl-bench": "0.1.0"}},
    }


def test_a_reference_row(store, undoubted):
    seeds, fields = undoubted
    for seed in seeds:
        status = ("canonical", "equivalent")[seed % 2]
        store.put("point-goal", "focal", seed, dataset_status=status, **fields)
    run = run_of(leaderboard(store.path), "point-goal", "focal")
    assert (run.badge, run.doubts, run.commits) == ("reference", (), ("0" * 40,))


def test_only_the_packages_own_methods_and_records_are_reference(store, undoubted, monkeypatch):
    """A row that is nobody's built-in method, or in another folder: without a doubt, and self-reported all the same."""
    seeds, fields = undoubted
    for seed in seeds:
        store.put("point-goal", "mine", seed, **fields)
        store.put("point-goal", "focal", seed, **fields)
    mine = run_of(leaderboard(store.path), "point-goal", "mine")
    assert (mine.badge, mine.doubts, mine.commits) == ("self-reported", (), ())  # the harness's commit is not its own
    for elsewhere in (None, store.path / "other"):
        monkeypatch.setattr(leaderboard_module, "shipped_records", lambda elsewhere=elsewhere: elsewhere)
        focal = run_of(leaderboard(store.path), "point-goal", "focal")
        assert (focal.badge, focal.doubts, focal.commits) == ("self-reported", (), ("0" * 40,))


def test_a_mean_is_reference_if_it_is_over_all_families_of_the_suite(store, undoubted):
    seeds, fields = undoubted
    suite = load_suite("shift")
    families = suite.families_of("quick")
    assert len(families) > 1
    for family in families[::-1]:
        fields["hashes"] = {"suite": suite.fingerprint("quick", family)}
        for seed in seeds:
            store.put(family, "focal", seed, **fields)
        means = [run for run in leaderboard(store.path).runs if run.family == ALL]
        badge = "reference" if family == families[0] else "self-reported"
        assert [run.badge for run in means] == [badge] * (family != families[-1])
    store.put("point-wind", "focal", 0, **fields)
    (mean,) = (run for run in leaderboard(store.path).runs if run.family == ALL)
    assert mean.badge == "self-reported"


@pytest.mark.parametrize(
    ("seed", "change", "doubt"),
    [
        (None, {}, "without seeds 2 of the suite"),
        (2, {"dataset_status": "unknown"}, "trained on data of status unknown"),
        (2, {"costs": {"git": CLEAN | {"dirty": True}}}, "the code had changes that were not committed"),
        (2, {"costs": {"git": CLEAN | {"dirty": None}}}, "the code had changes that were not committed"),
        (2, {"costs": {}}, "the commit of the code is not known"),
        (2, {"error": "KeyError: 'a'"}, "without seeds 2 of the suite"),
        (2, {"hashes": {"method": "older"}}, "the seeds were run with different versions of the method"),
    ],
)
def test_rows_in_doubt(store, undoubted, seed, change, doubt):
    _, fields = undoubted
    for each in (0, 1):
        store.put("point-goal", "focal", each, **fields)
    if seed is not None:
        hashes = fields["hashes"] | change.get("hashes", {})
        store.put("point-goal", "focal", seed, **fields | change | {"hashes": hashes})
    run = run_of(leaderboard(store.path), "point-goal", "focal")
    assert (run.badge, run.doubts) == ("self-reported", (doubt,))


def test_tasks_that_the_package_does_not_have_are_a_doubt(store, undoubted, monkeypatch):
    seeds, fields = undoubted
    for seed in seeds:
        store.put("point-goal", "focal", seed, **fields)
    monkeypatch.setattr(leaderboard_module, "known_tasks", lambda family: None)
    run = run_of(leaderboard(store.path), "point-goal", "focal")
    assert run.badge == "self-reported"
    assert run.doubts == ("evaluated on tasks or reference returns that this package does not have",)


def test_suites_that_the_package_does_not_have_are_in_doubt(store, undoubted):
    seeds, fields = undoubted
    for seed in seeds:
        store.put("point-goal", "focal", seed, suite="mine", **fields)
        store.put("point-goal", "focal", seed, **fields | {"hashes": {"suite": "older"}})
        store.put("point-goal", "focal", seed, preset="huge", **fields)
    content = leaderboard(store.path)
    doubts = {(run.suite, run.preset): run.doubts for run in content.runs}
    nowhere = ("no suite and preset of this package: nothing says which seeds belong to it",)
    assert doubts == {
        ("mine", "quick"): nowhere,
        ("shift", "huge"): nowhere,
        ("shift", "quick"): ("run by another version of the suite than this package has",),
    }
    assert {board.suite: board.title for board in content.boards} == {
        "mine": "mine",
        "shift": load_suite("shift").title,
    }


def test_boards(store):
    store.fill()
    store.put("point-goal", "focal", 0, suite="alone", backbone="sac", dataset="expert")
    store.put("point-goal", "focal", 0, suite="alone", backbone="iql")
    store.put("point-goal", "pearl", 0, suite="alone", backbone="iql", error="ValueError: no")
    content = leaderboard(store.path)
    alone, shift = content.boards
    assert (alone.suite, alone.families, alone.conditions) == ("alone", ("point-goal",), ("high", "low"))
    assert [(table.dataset, table.backbone) for table in alone.tables] == [("expert", "sac"), ("mixed", "iql")]
    assert any("pearl: seed 0 failed: ValueError: no" in note for note in alone.tables[1].notes)
    assert (shift.families, shift.kind, shift.main_condition) == (
        (ALL, "cheetah-vel", "point-goal"),
        "context quality",
        "high",
    )
    assert [board.suite for board in leaderboard(store.path, suite="alone").boards] == ["alone"]
    assert [board.preset for board in leaderboard(store.path, preset="quick").boards] == ["quick", "quick"]


def test_the_main_condition_of_episodes_is_the_last(store):
    record = store.put("point-goal", "focal", 0)
    cube = Cube(
        conditions=("episode-1", "episode-2", "episode-3"),
        tasks=np.arange(2),
        returns=np.full((3, 2, 1), -100, dtype=np.float32),
        random=np.full(2, -300.0),
        expert=np.full(2, -50.0),
    )
    write_record(store.path, record, cube)
    board = leaderboard(store.path).boards[0]
    assert (board.kind, board.main_condition) == ("episode", "episode-3")


def test_results_without_a_complete_record(store):
    with pytest.raises(InputError, match="no complete records"):
        leaderboard(store.path)
    store.put("point-goal", "focal", 0, error="ValueError: no")
    with pytest.raises(InputError, match="no complete records of suite 'shift'"):
        leaderboard(store.path, suite="shift")


def test_the_files(store, tmp_path):
    store.fill()
    out = tmp_path / "deep" / "site"
    assert build_site(store.path, out) == [out / "index.html", out / "leaderboard.json"]
    content = Leaderboard.model_validate_json((out / "leaderboard.json").read_text())
    assert content == leaderboard(store.path)
    fields = json.loads((out / "leaderboard.json").read_text())
    assert fields["schema_version"] == 2
    # what the documentation says other programs do
    entries, runs = (pd.DataFrame(fields[name]) for name in ("entries", "runs"))
    joined = entries.join(runs, on="run")
    assert not joined.duplicated(["suite", "preset", "dataset", "backbone", "family", "method", "condition"]).any()
    assert len(joined) == len(content.entries)


def test_the_same_records_make_the_same_bytes(store, tmp_path, monkeypatch):
    store.fill(seeds=2)
    first = [path.read_bytes() for path in build_site(store.path, tmp_path / "a")]
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    copy = type(store)(tmp_path / "copy")
    for path in sorted(store.path.rglob("seed-*"), reverse=True):
        (copy.path / path.relative_to(store.path)).parent.mkdir(parents=True, exist_ok=True)
        (copy.path / path.relative_to(store.path)).write_bytes(path.read_bytes())
    assert [path.read_bytes() for path in build_site(copy.path, tmp_path / "b")] == first


def test_the_page_needs_nothing_else_and_allows_nothing_else(store, tmp_path):
    store.fill()
    text = build_site(store.path, tmp_path)[0].read_text()
    found = Elements(text)
    assert len(text) < 2 * 2**20
    for tag, attributes in found.tags:
        assert tag not in ("iframe", "object", "embed", "base", "img")
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "style")}
        assert attributes.get("href", "#").startswith(("#", "data:,"))
    assert set(re.findall(r"https?://[^\s\"'<>)]+", text)) == {"http://www.w3.org/2000/svg"}  # the name of a namespace
    policy = next(a["content"] for tag, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        source = found.texts[tag][-1]
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_names_and_errors_from_records_are_escaped(store, tmp_path):
    name = EVIL.replace("/", "")
    store.put("point-goal", name, 0, privileges=(EVIL,))
    store.put("point-goal", "focal", 0, error=f"ValueError: {EVIL}")
    store.put("point-goal", "focal", 1, costs={"trained_elsewhere": EVIL, "machine": {EVIL: EVIL}})
    text = build_site(store.path, tmp_path)[0].read_text()
    assert EVIL not in text
    assert text.count("</script>") == 2
    assert not [tag for tag, _ in Elements(text).tags if tag == "b"]
    assert html.escape(f"ValueError: {EVIL}", quote=False).split("&amp;")[0] in text  # in the notes, as text
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
    methods = {row[data["runs"]["columns"].index("method")] for row in data["runs"]["data"]}
    assert methods == {name, "focal"}


def test_readers_without_scripts_get_the_main_scores(store, tmp_path):
    store.fill()
    store.put("point-goal", "alone", 0, (1, 2))
    text = build_site(store.path, tmp_path)[0].read_text()
    part = re.search(r"<noscript>(.*)</noscript>", text, re.S)[1]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", part, re.S)]
    assert rows[0] == ["Method", "Data", "Backbone", ALL, "cheetah-vel", "point-goal"]
    assert [row[0] for row in rows[1:]] == ["oracle", "focal", "task-blind", "alone"]
    content = leaderboard(store.path)
    for entry in content.entries:
        run = content.runs[entry.run]
        shown = f"{entry.score:.1f} [{entry.score_low:.1f}, {entry.score_high:.1f}]"
        assert (shown in next(row for row in rows if row[0] == run.method)) == (entry.condition == "high")
    assert rows[-1][3:5] == ["\N{EN DASH}"] * 2


def test_the_command(invoke, store, tmp_path):
    store.fill(seeds=1)
    done = invoke("report", "--results", store.path, "--site", "--out", tmp_path / "site")
    assert done.code == 0, done.err
    assert done.out.split() == [str(tmp_path / "site" / name) for name in ("index.html", "leaderboard.json")]
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == ["index.html", "leaderboard.json"]
    done = invoke("report", "--results", tmp_path / "nothing", "--site")
    assert done.code == 2
    assert "no complete records" in done.err


def test_its_files_are_part_of_the_package():
    from importlib import resources

    folder = resources.files(site_module.__package__).joinpath("templates")
    assert {file.name for file in folder.iterdir()} == {"index.html.jinja2", "style.css", "script.js"}


def test_a_table_whose_records_do_not_fit_together_costs_itself_only(store, tmp_path):
    store.fill(families=("ant-dir",), seeds=2)
    store.put("all", "focal", 1)
    store.put("ant-dir", "focal", 0, preset="standard")
    made = leaderboard(store.path)
    by_preset = {board.preset: board for board in made.boards}
    (table,) = by_preset["quick"].tables
    assert table.notes[-1].startswith("not shown: a family must not be called 'all'")
    shown = {made.runs[entry.run].preset for entry in made.entries}
    assert shown == {"standard"}
    assert {run.status for run in made.runs if run.preset == "quick"} == {"missing"}
    build_site(store.path, tmp_path / "site")


def test_the_page_says_what_discriminates_and_what_collapsed(boards):
    content = leaderboard(boards.path)
    (board,) = content.boards
    found = {(row.family, row.condition): row for row in board.discrimination}
    assert len(found) == 6 and {row.methods for row in found.values()} == {5}
    assert found["cheetah-vel", "high"].discriminates is False
    assert found["point-goal", "low"].discriminates is True and found["point-goal", "low"].reliability > 0.9
    collapsed = {
        (content.runs[entry.run].family, content.runs[entry.run].method, entry.condition): entry.collapsed
        for entry in content.entries
        if entry.collapsed
    }
    assert collapsed == {("point-goal", "m4", "high"): ("1",), (ALL, "m4", "high"): ("point-goal:1",)}
    over = {content.runs[e.run].method: e.z for e in content.entries if content.runs[e.run].family == ALL}
    assert over["oracle"] > over["m0"] > over["m4"]


def test_few_methods_are_no_board_that_could_discriminate(store):
    content = leaderboard(store.fill().path)
    assert {row.discriminates for row in content.boards[0].discrimination} == {None}
    assert {entry.z for entry in content.entries} == {None}
    assert Leaderboard.model_validate_json(content.model_dump_json()) == content


def test_readers_without_scripts_see_what_does_not_discriminate(boards, tmp_path):
    text = build_site(boards.path, tmp_path)[0].read_text()
    assert '<th scope="col">cheetah-vel ≈</th>' in text
    assert '<th scope="col">point-goal</th>' in text
