"""The page of a paper, on records."""

import itertools

import pytest

from omrl_bench.errors import InputError
from omrl_bench.report.papers.claims import orderings_frame, summary
from omrl_bench.report.papers.mapping import (
    Target,
    all_targets,
    load_paper,
    locate,
    published,
)
from omrl_bench.report.papers.pages import compare_with, numbers_frame, page, write
from omrl_bench.report.papers.samples import samples
from omrl_bench.report.reading.frames import load, read
from omrl_bench.report.tables.captions import MISSING, sizes_text
from omrl_bench.runner.records import write_record
from omrl_bench.stats.summary import summarise

from .conftest import make_cube, make_record

PAPERS = ("ccm", "focalpp", "gentle", "hs-omrl", "r2pgo")


def test_without_records_there_is_a_page_of_published_numbers(tmp_path):
    for name in PAPERS:
        comparison = compare_with(name, tmp_path / "nowhere", "standard")
        text = page(comparison)
        assert comparison.found == {} and comparison.notes == []
        for row in published(name):
            assert row.text in text
        if name == "ccm":
            assert "No complete records of suite explore, preset standard, for rv, dp, ccm-rv, ccm-dp." in text
            assert [path.name for path in write(comparison, tmp_path / "out")] == ["ccm.md"]
        else:
            assert {row.verdict(question) for row in comparison.orderings for question in ("these", "new")} == {
                "no records"
            }
            assert "0 of the claims can be checked in our records." in text
            frame = numbers_frame(comparison)
            assert len(frame) == len(published(name)) and (frame["missing"] != "").all() and frame["ours"].isna().all()


def test_our_numbers_are_those_of_the_score_table(filled):
    comparison = compare_with("hs-omrl", filled.path, "standard")
    expected = summarise(load(filled.path)[0]).set_index(["condition", "method"])
    frame = numbers_frame(comparison).query("our_family == 'point-goal' and our_method == 'focal'")
    assert list(frame["our_condition"]) == ["low", "high"]
    for _, row in frame.iterrows():
        of_table = expected.loc[(row["our_condition"], "focal")]
        assert (row["ours"], row["ours_low"], row["ours_high"]) == tuple(
            of_table[["score_mean", "score_mean_low", "score_mean_high"]]
        )
        assert row["our_return"] == pytest.approx(of_table["return_mean"])
        assert (row["n_seeds"], row["n_tasks"], row["n_draws"]) == (3, 4, 2)
        assert "Horizon 60" in row["differs"] and row["missing"] == ""


def test_the_page_shows_both_and_says_what_is_missing(filled):
    comparison = compare_with("hs-omrl", filled.path, "standard")
    lines = page(comparison).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| HS-OMRL-SCL ")]
    estimate = comparison.found[Target("shift", "standard", "mixed", "iql", "point-goal", "low", "hs-scl", "")].estimate
    assert cells[0][:2] == ["HS-OMRL-SCL", "-60.6 ± 9.8"] and cells[0][2].startswith(f"{estimate:.1f} [")
    assert cells[0][3:] == [MISSING, "309.5 ± 63.4", MISSING, MISSING, "160.4 ± 58.2", MISSING, MISSING]
    text = "\n".join(lines)
    assert "walker-params (focal, focalpp-series, corro-cvae" in text  # complete records that are missing
    assert f"condition low: n = {sizes_text((3, 4, 2))}" in text
    assert "hs-hp), point-goal (focalpp-series, corro-cvae, hs-hg, hs-hp)" in text


def test_orderings_and_their_summary(filled):
    comparison = compare_with("hs-omrl", filled.path, "standard")
    frame = orderings_frame(comparison.orderings)
    seen = frame[frame["new_verdict"] != "no records"].set_index(["table", "higher", "lower"])
    assert len(seen) == 12 and set(seen["env"]) == {"PointRobotGoal"}
    for question in ("these_verdict", "new_verdict"):
        assert seen.loc[("Table 1", "HS-OMRL-HP+HG", "FOCAL"), question] == "reversed"
        assert seen.loc[("Table 1", "HS-OMRL-HP+HG", "Offline PEARL"), question] == "survives"
        assert seen.loc[("Table 1", "HS-OMRL-HP+HG", "HS-OMRL-SCL"), question] == "equivalent"
    row = seen.loc[("Table 1", "HS-OMRL-HP+HG", "FOCAL")]
    assert (row["published_difference"], row["claim"]) == (35.5, "claimed")
    assert row["published_p"] < 0.05 and row["these_detectable"] > 0
    claims = frame[frame["claim"] == "claimed"]
    sentences = summary(comparison.paper, comparison.orderings)
    assert sentences[0].startswith(f"{len(claims)} (37 independent) published orderings are claims: ")
    assert "5 seeds is p < 0.056, assuming that the spread is a standard deviation" in sentences[0]
    checked = claims[claims["new_verdict"] != "no records"]
    assert sentences[1].startswith(f"{len(checked)} (") and "of the claims can be checked" in sentences[1]
    counts = checked["new_verdict"].value_counts()
    assert sentences[3].startswith(f"On new tasks: {counts['survives']} ") and "surviving, " in sentences[3]
    assert "place the paper's own algorithm above another" in sentences[4]
    shown = page(comparison).replace("\\<", "<").splitlines()
    assert set(shown) >= {f"- {sentence}" for sentence in sentences}
    row = next(line for line in shown if "HS-OMRL-HP+HG \\> FOCAL " in line)
    assert row.count("reversed [") == 2 and row.count(", finds ") == 2


def test_incomplete_sets_of_seeds_are_used_and_noted(filled):
    filled.put("point-goal", "hs-scl", 2, preset="standard", error="ValueError: <b>|x|")
    filled.put("point-goal", "unicorn", 2, preset="standard", error="not of this paper")
    comparison = compare_with("hs-omrl", filled.path, "standard")
    place = Target("shift", "standard", "mixed", "iql", "point-goal", "low", "hs-scl", "")
    assert comparison.found[place].panel.seeds == (0, 1)
    text = page(comparison)
    assert r"point-goal / hs-scl: seed 2 failed: ValueError: \<b\>\|x\|" in text and "<b>" not in text
    assert "not of this paper" not in text
    assert f"{sizes_text((3, 4, 2))} or {sizes_text((2, 4, 2))}" in text


def test_other_presets_datasets_and_backbones_are_left_out(filled):
    for fields in ({"preset": "quick"}, {"dataset": "expert"}, {"backbone": "brac"}, {"suite": "mine"}):
        filled.put("point-goal", "hs-hg", 0, (99, 99), **{"preset": "standard"} | fields)
    assert "hs-hg" not in {place.method for place in compare_with("hs-omrl", filled.path, "standard").found}
    quick = compare_with("hs-omrl", filled.path, "quick")
    assert {place.method for place in quick.found} == {"hs-hg"}
    with pytest.raises(InputError, match="unknown preset of suite 'shift' 'standrad'; did you mean 'standard'"):
        compare_with("hs-omrl", filled.path, "standrad")


def test_a_record_unlike_the_others_is_left_out(filled):
    filled.put("point-goal", "hs-scl", 2, (94, 59), tasks=3, preset="standard")
    comparison = compare_with("hs-omrl", filled.path, "standard")
    place = Target("shift", "standard", "mixed", "iql", "point-goal", "low", "hs-scl", "")
    assert comparison.found[place].panel.seeds == (0, 1)
    assert "point-goal / hs-scl: seed 2 left out: its cube has other tasks" in page(comparison)


def test_figures_show_the_nearest_suite(store):
    for method, level in (("r2pgo", 80), ("r2pgo-noapg", 40)):
        for seed in range(2):
            store.put("point-goal", method, seed, (level, 5), preset="standard")
    comparison = compare_with("r2pgo", store.path, "standard")
    estimates = {place.method: sample.estimate for place, sample in comparison.found.items()}
    assert set(estimates) == {"r2pgo", "r2pgo-noapg"}  # figure 3 is beside contexts of high return
    lines = page(comparison).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("- Figure 3: "))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start + 2 : start + 7]]
    assert rows[0][:2] == ["method", "point-goal"]
    assert [row[0] for row in rows[2:]] == ["r2pgo", "r2pgo-norctr", "r2pgo-noapg"]
    for row in rows[2:]:
        shown = f"{estimates[row[0]]:.1f} [" if row[0] in estimates else MISSING
        assert row[1].startswith(shown) and set(row[2:]) == {MISSING}
    assert "No complete records of suite zero-shot, preset standard, for r2pgo, borel," in "\n".join(lines)  # figure 2


def test_a_figure_may_compare_presets(store):
    fields = {"suite": "limited", "dataset": "expert", "backbone": "td3bc"}
    levels = {"standard": 70, "standard-8": 50, "standard-4": 20}
    for preset, level in levels.items():
        for seed in range(2):
            curve = {"curve": ({"step": 1000, "score": 5.0}, {"step": 2000, "score": 9.0})}
            record = make_record("ant-dir", "gentle", seed, preset=preset, costs=curve, **fields)
            cube = make_cube((level,), seed).model_copy(update={"conditions": ("expert",)})
            write_record(store.path, record, cube)
    comparison = compare_with("gentle", store.path, "standard")
    lines = page(comparison).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("- Figure 4: "))
    head, _, row = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[start + 2 : start + 5])
    presets = ("standard", "standard-8", "standard-6", "standard-4")
    assert head == ["method", *(f"ant-dir, preset {preset}" for preset in presets)]
    estimates = {place.preset: sample.estimate for place, sample in comparison.found.items()}
    assert row[0] == "gentle" and set(estimates) == set(levels)
    for preset, cell in zip(presets, row[1:], strict=True):
        assert cell.startswith(f"{estimates[preset]:.1f} [") if preset in levels else cell == MISSING
    lacking = f"No complete records of suite limited-train, presets {', '.join(presets)}, for gentle."
    assert lacking in lines
    assert set(comparison.curves) == {"Figure 3"}  # the same rows' learning curves are not figure 4
    quick = page(compare_with("gentle", store.path, "quick"))
    assert "ant-dir, preset" not in quick and "limited-train, presets" not in quick


def test_curves_of_the_paper_are_drawn_from_our_learning_curves(store, tmp_path):
    for method, last in (("r2pgo", 80.0), ("r2pgo-noapg", 40.0), ("focal", 9.0)):
        curve = ({"step": 1000, "score": 5.0}, {"step": 2000, "score": last})
        for seed in range(2):
            store.put("point-goal", method, seed, preset="standard", costs={"curve": curve})
    comparison = compare_with("r2pgo", store.path, "standard")
    assert set(comparison.curves) == {"Figure 3"}  # none of suite zero-shot, for figure 2
    assert set(comparison.curves["Figure 3"].frame["method"]) == {"r2pgo", "r2pgo-noapg"}
    names = {path.name for path in write(comparison, tmp_path)}
    pictures = {f"r2pgo-figure-3.{ending}" for ending in ("svg", "pdf", "png")}
    assert {name for name in names if "figure" in name} == pictures
    assert "](r2pgo-figure-3.svg)" in (tmp_path / "r2pgo.md").read_text()
    assert "r2pgo-noapg" in (tmp_path / "r2pgo-figure-3.svg").read_text()


def test_measures_of_the_representation(store):
    values = {"focal": (0.2, 0.3, 0.4), "focalpp-series": (0.6, 0.7, 0.8)}
    for method, of_method in values.items():
        for seed, value in enumerate(of_method):
            measured = {"high": {"separation": value}, "low": {"separation": 9.0}}
            store.put("point-sparse", method, seed, preset="standard", costs={"representation": measured})
    store.put("point-sparse", "focal", 3, preset="standard")  # an older record without measures
    comparison = compare_with("focalpp", store.path, "standard")
    found = {place.method: sample for place, sample in comparison.found.items() if place.measure == "separation"}
    assert {method: tuple(sample.panel.scores[:, 0]) for method, sample in found.items()} == values
    assert not [place for place in comparison.found if place.measure == "rms"]
    (row,) = [r for r in comparison.orderings if r.higher.condition == "ESR" and r.n_seeds]
    assert row.new is None and row.verdict("new") == "not tested"
    assert (row.higher.algorithm, row.n_seeds, row.n_tasks) == ("FOCAL++", 3, 0)
    assert row.difference == pytest.approx(0.4)
    text = page(comparison)
    assert "0.700 [" in text and "|  0.400 |" in text
    assert "3 seeds; the interval covers seeds only" in text


def test_the_same_records_make_the_same_bytes(filled, tmp_path):
    contents = []
    for out in (tmp_path / "a", tmp_path / "b"):
        paths = write(compare_with("hs-omrl", filled.path, "standard"), out)
        contents.append({path.name: path.read_bytes() for path in paths})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {"hs-omrl.md", "hs-omrl.csv", "hs-omrl-orderings.csv"}
    assert b"\r" not in b"".join(contents[0].values())


def test_samples_reads_nothing_but_what_is_asked_for(filled):
    paper = load_paper("hs-omrl")
    targets = all_targets(paper, locate(paper, published("hs-omrl"), "standard"), "standard")
    wanted = ("standard", "focal", "low")
    chosen = [place for place in targets if (place.preset, place.method, place.condition) == wanted]
    found, _ = samples({("shift", "standard"): read(filled.path, "shift", "standard")}, chosen, "standard")
    assert list(found) == [Target("shift", "standard", "mixed", "iql", "point-goal", "low", "focal", "")]


def test_every_markdown_table_is_whole(filled):
    """Every line of a table has as many cells as its header, whatever its names hold."""
    for name in PAPERS:
        lines = page(compare_with(name, filled.path, "standard")).splitlines()
        for _, block in itertools.groupby(lines, lambda line: line.startswith("|")):
            widths = {line.replace(r"\|", "").count("|") for line in block if line.startswith("|")}
            assert len(widths) <= 1
