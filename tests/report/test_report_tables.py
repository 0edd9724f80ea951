"""Wide tables and how they are written down."""

import io

import pytest
from rich.console import Console

from omrl_bench.report.reading.frames import collect
from omrl_bench.report.tables.boards import board_of, discrimination_table
from omrl_bench.report.tables.captions import sample_note, sizes_text
from omrl_bench.report.tables.layout import Layout, layout_of
from omrl_bench.report.tables.markdown import escape, grid, page
from omrl_bench.report.tables.terminal import terminal_table
from omrl_bench.report.tables.text import escape_latex, latex, markdown
from omrl_bench.report.tables.wide import Entry, Table, drop_table, return_table, score_table, with_z_scores
from omrl_bench.stats.differences import drop_under_shift
from omrl_bench.stats.panels import panels
from omrl_bench.stats.summary import summarise

HOSTILE = r"a|b_c%&$#{x}\y~^<i>[red]*`"


def tables(store):
    (results,) = collect(store.path)
    summary = summarise(results.frame, resamples=200)
    layout = layout_of(results, summary)
    drops = drop_under_shift(results.frame)
    return (
        summary,
        score_table(results, summary, layout),
        return_table(results, summary, layout),
        drop_table(results, drops, layout),
    )


def shown(view, width=140):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(view)
    return console.export_text()


def test_score_table_holds_the_summary(store):
    summary, scores, _, _ = tables(store.fill())
    assert scores.layout.families == ("cheetah-vel", "point-goal", "all")
    assert scores.layout.conditions == ("high", "low")
    assert scores.layout.methods == ("task-blind", "oracle", "focal")
    assert len(scores.entries) == len(summary) == 18
    row = summary.query("family == 'all' and condition == 'low' and method == 'focal'").iloc[0]
    assert scores.entries["focal", "all", "low"] == Entry(
        row["score_mean"], row["score_mean_low"], row["score_mean_high"]
    )


def test_one_family_has_no_column_for_all(store):
    _, scores, _, drops = tables(store.fill(families=("ant-dir",)))
    assert scores.layout.families == drops.layout.families == ("ant-dir",)
    assert not any(note.startswith("all:") for note in scores.footnotes)


def test_returns_have_no_column_for_all_and_fitting_decimals(store):
    store.fill(families=("cheetah-vel", "point-goal"), seeds=2)
    _, _, returns, _ = tables(store)
    assert returns.layout.families == ("cheetah-vel", "point-goal")
    assert {entry.decimals for entry in returns.entries.values()} == {1}  # largest return between 100 and 1000
    assert all(-300 < entry.estimate < 0 for entry in returns.entries.values())


def test_drop_table_is_paired_differences(store):
    summary, _, _, drops = tables(store.fill())
    assert drops.layout.conditions == ("on these tasks", "on new tasks")
    entry, of_new = (drops.entries["focal", "point-goal", question] for question in drops.layout.conditions)
    assert entry.estimate == of_new.estimate and (entry.low, entry.high) != (of_new.low, of_new.high)
    of = summary.query("family == 'point-goal' and method == 'focal'").set_index("condition")["score_mean"]
    assert entry.estimate == pytest.approx(of["high"] - of["low"])
    assert "positive means that the shift costs" in " ".join(drops.footnotes)
    assert "| focal" in markdown(drops)
    with pytest.raises(ValueError, match="no method"):
        (results,) = collect(store.path)
        empty = drop_under_shift(results.frame).iloc[:0]
        drop_table(results, empty, drops.layout)


def test_footnotes_say_n_interval_privileges_and_gaps(store):
    store.fill()
    store.put("point-goal", "focal", 1, error="OutOfMemoryError: 12 GiB")
    _, scores, _, _ = tables(store)
    text = "\n".join(scores.footnotes)
    assert "n = 3 seeds × 4 tasks × 2 draws. Other numbers: point-goal / focal 2 × 4 × 2." in text  # noqa: RUF001
    assert "95 % interval of a mean for new seeds and new tasks" in text
    assert "† sees more than the training data and the context: oracle (descriptors)." in text
    assert "all: mean over the 2 families" in text
    assert "point-goal / focal: seed 1 failed: OutOfMemoryError: 12 GiB" in text
    for written in (markdown(scores), latex(scores, "x"), shown(terminal_table(scores), width=300)):
        assert "OutOfMemoryError: 12 GiB" in written


def test_sample_note_groups_families(store):
    store.fill(families=("ant-dir",), seeds=2)
    store.fill(families=("cheetah-vel", "point-goal"), seeds=3)
    summary, scores, _, _ = tables(store)
    note = sample_note(summary, scores.layout)
    assert (
        note
        == "n = 2 seeds x 4 tasks x 2 draws (ant-dir); 3 seeds x 4 tasks x 2 draws (cheetah-vel, point-goal).".replace(
            " x ", " \N{MULTIPLICATION SIGN} "
        )
    )
    assert sizes_text((1, 1, 2)).replace("\N{MULTIPLICATION SIGN}", "x") == "1 seed x 1 task x 2 draws"


def test_entry_texts():
    assert Entry(83.14, 80.2, 86.0).texts() == ("83.1", "[80.2, 86.0]")
    assert Entry(-3.841, -4, -0.001, 2).texts() == ("-3.84", "[-4.00, 0.00]")


def test_markdown_numbers_read_back(store):
    _, scores, _, _ = tables(store.fill())
    lines = [line for line in markdown(scores).splitlines() if line.startswith("|")]
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    assert header[:3] == ["method", "cheetah-vel high", "cheetah-vel low"]
    assert [row[0] for row in rows] == ["task-blind", "oracle †", "focal"]
    entry = scores.entries["focal", "all", "low"]
    estimate, low, high = rows[2][header.index("all low")].replace("[", "").replace("]", "").replace(",", "").split()
    assert (float(estimate), float(low), float(high)) == (
        round(entry.estimate, 1),
        round(entry.low, 1),
        round(entry.high, 1),
    )


def test_missing_cells_are_shown_as_missing(store):
    store.fill()
    store.put("point-goal", "corro", 0)
    _, scores, _, _ = tables(store)
    row = next(line for line in markdown(scores).splitlines() if line.startswith("| corro"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:3] == cells[5:7] == ["\N{EN DASH}"] * 2
    assert cells[3] != "\N{EN DASH}"
    assert r"corro & -- & -- & " in latex(scores, "x")


def hostile_table():
    layout = Layout(("f_1", "all"), ("high", "lo|w"), (HOSTILE, "100%"), frozenset({HOSTILE}))
    entries = {(HOSTILE, "f_1", "high"): Entry(-1.5, -2.0, 3.0)}
    return Table("Title_1", layout, entries, ("50 % of a_b\nfailed",))


def test_markdown_escapes_names():
    text = markdown(hostile_table())
    row = next(line for line in text.splitlines() if "a\\|b" in line)
    assert row.count("|") - row.count("\\|") == 6  # five columns
    assert r"a\|b\_c%\&\$\#{x}\\y\~^\<i\>\[red\]\*\` †" in row
    assert "-1.5 [-2.0, 3.0]" in row
    assert text.splitlines()[-1] == r"- 50 % of a\_b failed"
    assert escape("focal-plus 1.5") == "focal-plus 1.5"


def test_a_page_has_title_table_and_notes():
    table = grid(["a", "b", "n"], [["x", "y", "1.50"], ["xx", "yy", "0012"]], names=2)
    assert page("What_is", table, ["First.", "Second *."]) == (
        "**What\\_is**\n\n"
        "| a   | b   |    n |\n"
        "|-----|-----|------|\n"
        "| x   | y   | 1.50 |\n"  # numbers are not rewritten
        "| xx  | yy  | 0012 |\n\n"
        "- First.\n- Second \\*.\n"
    )


def test_latex_escapes_names_and_groups_columns():
    text = latex(hostile_table(), "a_b c")
    assert r"\multicolumn{2}{c}{f\_1} & \multicolumn{2}{c}{all} \\" in text
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}" in text
    assert r"method & high & lo\textbar{}w & high & lo\textbar{}w \\" in text
    name = r"a\textbar{}b\_c\%\&\$\#\{x\}\textbackslash{}y\textasciitilde{}\textasciicircum{}"
    assert (
        rf"{name}\textless{{}}i\textgreater{{}}[red]*`$^\dagger$ & $-$1.5 {{\scriptsize [$-$2.0, 3.0]}} & -- " in text
    )
    assert r"\caption{Title\_1. 50 \% of a\_b failed.}" in text
    assert r"\label{tab:a-b-c}" in text
    assert text.count("{") == text.count("}")
    for line in text.splitlines():
        if line.endswith(r"\\") and "multicolumn" not in line:
            assert line.replace(r"\&", "").count("&") == 4
    assert escape_latex("focal-plus 1.5") == "focal-plus 1.5"


def test_latex_has_a_column_per_family_and_question(store):
    _, _, _, drops = tables(store.fill())
    text = latex(drops, "drop")
    assert r" & \multicolumn{2}{c}{cheetah-vel} &" in text and text.count("cmidrule") == 3
    assert "method & on these tasks & on new tasks & on these" in text


def test_terminal_shows_names_as_they_are(store):
    text = shown(terminal_table(hostile_table()))
    assert HOSTILE in text
    assert "-1.5 [-2.0, 3.0]" in text
    assert "50 % of a_b" in text
    _, scores, _, _ = tables(store.fill())
    lines = shown(terminal_table(scores), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    focal = [line for line in lines if "focal" in line]
    assert len(focal) == 3  # a row in each family and in "all"
    assert " ".join(scores.entries["focal", "cheetah-vel", "high"].texts()) in focal[0]


def scores_of(store):
    """Of a store: what it says, the layout, and the score table with z-scores."""
    (results,) = collect(store.path)
    board = board_of(panels(results.frame), resamples=200)
    layout = layout_of(results, board.summary, board.discrimination)
    return board, layout, with_z_scores(score_table(results, board.summary, layout), board.summary)


def test_what_does_not_discriminate_and_what_collapsed_is_marked_everywhere(boards):
    board, layout, scores = scores_of(boards)
    assert set(layout.unreliable) == {("cheetah-vel", "high"), ("cheetah-vel", "low")}
    text, tex = markdown(scores), latex(scores, "scores")
    head, _, *lines = [line for line in text.splitlines() if line.startswith("|")]
    assert "cheetah-vel high ≈" in head and "point-goal high |" in head
    assert tex.count(r"high $\approx$ & low $\approx$ & high & low & high & low & high & low") == 1
    (row,) = (line for line in lines if line.startswith("| m4"))
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    marked = ["§" in cell for cell in cells]
    assert marked == [False, False, True, False, True, False, True, False]  # point-goal high, all high, z high
    assert text.count("§") == 4 and r"\S{}" in tex  # three cells and the note
    assert any(note.endswith("point-goal / m4 1 (high).") for note in scores.footnotes)
    assert any("cheetah-vel high 0." in note and "point-goal" not in note for note in scores.footnotes)
    screen = shown(terminal_table(scores), width=200)
    assert "cheetah-vel ≈" in screen and "point-goal ≈" not in screen
    assert "§" in screen
    verdicts = discrimination_table(board.discrimination, layout)
    assert verdicts.count("no ≈") == 2 and verdicts.count(" yes |") >= 2


def test_the_mean_over_families_is_of_scores_and_of_z_scores(boards):
    board, _, scores = scores_of(boards)
    assert scores.layout.families == ("cheetah-vel", "point-goal", "all", "all (z)")
    row = board.summary.query("family == 'all' and condition == 'high' and method == 'm0'").iloc[0]
    entry = scores.entries["m0", "all (z)", "high"]
    assert (entry.estimate, entry.low, entry.high, entry.decimals) == (row["z"], row["z_low"], row["z_high"], 2)
    assert any(note.startswith("all (z): mean over the families") for note in scores.footnotes)


def test_without_a_mean_over_families_there_are_no_z_scores(store):
    _, _, scores = scores_of(store.fill(families=("ant-dir",)))
    assert scores.layout.families == ("ant-dir",)


def test_a_family_is_named_with_the_conditions_under_which_it_does_not_discriminate():
    layout = Layout(("f",), ("high", "low"), ("m",), frozenset(), unreliable={("f", "low"): 0.3})
    table = Table("t", layout, {("m", "f", "high"): Entry(1, 0, 2)}, ())
    lines = [line.strip() for line in shown(terminal_table(table)).splitlines()]
    assert any("≈ low" in line for line in lines)
    assert layout.heading("f", "low") == "f low ≈" and layout.heading("f", "high") == "f high"
