"""Papers' tables with a third column: our number in the environment as published, preset `variants`."""

import itertools

import pandas as pd
import pytest

from omrl_bench.report.papers.claims import orderings_frame
from omrl_bench.report.papers.mapping import VARIANTS, Target
from omrl_bench.report.papers.pages import compare_with, numbers_frame, page
from omrl_bench.report.reading.frames import load
from omrl_bench.report.tables.captions import MISSING, sizes_text
from omrl_bench.stats.summary import summarise


@pytest.fixture
def varied(filled):
    """The same with FOCAL and HS-OMRL-SCL on the paper's horizon too, where the order is the other one."""
    for method, of_method in {"focal": (50, 30), "hs-scl": (90, 70)}.items():
        for seed in range(2):
            filled.put("point-goal-h200", method, seed, of_method, preset="variants")
    return filled


def table_below(text, heading):
    """The cells of the first table below a heading, its head first."""
    lines = text[text.index(f"## {heading}\n") :].splitlines()
    from_table = itertools.dropwhile(lambda line: not line.startswith("|"), lines)
    table = itertools.takewhile(lambda line: line.startswith("|"), from_table)
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]


def test_the_environment_as_published_stands_in_a_third_column(varied):
    comparison = compare_with("hs-omrl", varied.path, "standard")
    head, _, *rows = table_below(page(comparison), "Table 1")
    third = "ours, environment as published"
    environments = ("PointRobotGoal", "AntDir", "WalkerParams")
    assert head[1:] == [f"{name}: {whose}" for name in environments for whose in ("published", "ours", third)]
    cells = {row[0]: row[1:] for row in rows}
    places = (("standard", "point-goal"), ("variants", "point-goal-h200"))
    targets = [Target("shift", preset, "mixed", "iql", family, "low", "focal", "") for preset, family in places]
    ours, second = (comparison.found[target].estimate for target in targets)
    assert abs(ours - second) > 40
    focal = cells["FOCAL"]
    assert focal[0] == "-80.4 ± 20.4"
    assert focal[1].startswith(f"{ours:.1f} [") and focal[2].startswith(f"{second:.1f} [")
    assert cells["Offline PEARL"][1] != MISSING == cells["Offline PEARL"][2]  # no records of it there
    assert {tuple(row[4:6]) for row in cells.values()} == {(MISSING, MISSING)}  # of ant-dir
    assert {row[8] for row in cells.values()} == {MISSING}  # WalkerParams has no second counterpart


def test_the_page_says_what_stands_in_the_third_column(varied):
    varied.put("point-goal-h200", "focal", 2, preset="variants", error="no memory")
    varied.put("point-goal", "focal", 2, preset="standard", error="no time")
    text = page(compare_with("hs-omrl", varied.path, "standard"))
    assert "preset variants, of the same budget). Orderings are judged in our environment only." in text
    where = "suite shift, mixed data, backbone iql, condition low"
    start = "- environment as published, preset variants: "
    assert f"{start}{where}: n = {sizes_text((2, 4, 2))}\n" in text
    (line,) = [line for line in text.splitlines() if line.startswith(f"{start}no complete records of {where}: ")]
    assert "ant-dir-speed (focal, " in line and "point-goal-h200 (focalpp-series, " in line
    assert "walker-params" not in line
    assert "- shift, preset variants: point-goal-h200 / focal: seed 2 failed: no memory\n" in text
    assert "- shift: point-goal / focal: seed 2 failed: no time\n" in text  # the page's own preset is not named


def test_without_records_of_it_the_third_column_is_empty(filled):
    text = page(compare_with("hs-omrl", filled.path, "standard"))
    head, _, *rows = table_below(text, "Table 1")
    columns = [index for index, name in enumerate(head) if name.endswith(": ours, environment as published")]
    assert len(columns) == 3 and {row[index] for row in rows for index in columns} == {MISSING}
    assert "- environment as published, preset variants: no complete records of suite shift, mixed data" in text
    assert "environment as published, preset variants: suite shift" not in text


@pytest.mark.parametrize(
    ("name", "preset", "wide"),
    [
        ("hs-omrl", "standard", {"Table 1", "Table 3"}),
        ("hs-omrl", "reference", {"Table 1", "Table 3"}),
        ("hs-omrl", "quick", set()),
        ("focalpp", "standard", {"Table 1", "Table 2", "Table 5", "Table 6"}),
        ("gentle", "standard", {"Table 1", "Table 2"}),
        ("gentle", "quick", set()),
        ("r2pgo", "standard", set()),
    ],
)
def test_tables_without_a_second_counterpart_have_two_columns(varied, name, preset, wide):
    """None of another budget either: records of `variants` are not shown beside `quick`."""
    comparison = compare_with(name, varied.path, preset)
    text = page(comparison)
    two, three = ["published", "ours"], ["published", "ours", "ours, environment as published"]
    for table in comparison.paper.tables:
        head = table_below(text, table.label)[0][len(table.rows) :]
        columns = dict.fromkeys(name.rpartition(": ")[0] for name in head)
        whose = three if table.label in wide else two
        assert head == [f"{column}: {each}" for column in columns for each in whose]
    assert ("environment as published" in text) == bool(wide)
    assert {place.preset for place in comparison.found} <= {preset, *([VARIANTS] if wide else [])}


def test_the_second_number_is_in_the_frame(varied):
    comparison = compare_with("hs-omrl", varied.path, "standard")
    frame = numbers_frame(comparison)
    expected = summarise(load(varied.path, "shift", "variants")[0]).set_index(["condition", "method"])
    rows = frame[frame["variant"].notna()]
    assert {(row["our_method"], row["our_condition"]) for _, row in rows.iterrows()} == set(
        itertools.product(("focal", "hs-scl"), ("low", "high"))
    )
    for _, row in rows.iterrows():
        of_table = expected.loc[(row["our_condition"], row["our_method"])]
        assert (row["variant"], row["variant_low"], row["variant_high"]) == tuple(
            of_table[["score_mean", "score_mean_low", "score_mean_high"]]
        )
        assert row["variant_return"] == pytest.approx(of_table["return_mean"])
        assert (row["variant_n_seeds"], row["variant_n_tasks"], row["variant_n_draws"]) == (2, 4, 2)
        assert (row["our_family"], row["preset"], row["n_seeds"]) == ("point-goal", "standard", 3)
    families = frame.groupby("env")["variant_family"].unique().map(tuple)
    assert families["PointRobotGoal"] == ("point-goal-h200",) and families["AntDir"] == ("ant-dir-speed",)
    assert frame[frame["env"] == "WalkerParams"]["variant_family"].isna().all()


def test_orderings_are_of_the_first_counterpart(filled):
    before = orderings_frame(compare_with("hs-omrl", filled.path, "standard").orderings)
    for seed in range(3):
        filled.put("point-goal-h200", "focal", seed, (1, 1), preset="variants")
        filled.put("point-goal-h200", "hs-hard", seed, (99, 99), preset="variants")
    after = orderings_frame(compare_with("hs-omrl", filled.path, "standard").orderings)
    pd.testing.assert_frame_equal(before, after)
    chosen = "env == 'PointRobotGoal' and table == 'Table 1' and higher == 'HS-OMRL-HP+HG' and lower == 'FOCAL'"
    verdicts = after.query(chosen)["these_verdict"].tolist()
    assert verdicts == ["reversed"]  # which it is not in the environment as published
