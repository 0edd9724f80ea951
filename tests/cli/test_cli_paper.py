"""omrl-bench paper: pages without records, the plan, errors in one line."""

from types import SimpleNamespace

import pytest

PAPERS = ("hs-omrl", "focalpp", "gentle", "r2pgo", "ccm")


@pytest.mark.parametrize("name", PAPERS)
def test_a_page_without_records(cli, name, tmp_path):
    outcome = cli("paper", name, "--out", tmp_path / "pages")
    assert (outcome.code, outcome.err) == (0, "")
    files = [line for line in outcome.out.splitlines() if line.startswith(str(tmp_path))]
    assert files == sorted(map(str, (tmp_path / "pages").iterdir()), key=files.index)
    assert len(files) == (1 if name == "ccm" else 3)
    assert (tmp_path / "pages" / f"{name}.md").read_text().startswith("# ")
    assert not (tmp_path / "work" / "runs").exists()


def test_errors_are_one_line(cli, tmp_path):
    for arguments, message in (
        (("gentel",), "unknown paper 'gentel'; did you mean 'gentle'?"),
        (("gentle", "--preset", "quik"), "did you mean 'quick'?"),
        (("gentle", "--preset", "quik", "--dry-run"), "did you mean 'quick'?"),
    ):
        outcome = cli("paper", *arguments)
        assert (outcome.code, outcome.out) == (2, "") and message in outcome.err and outcome.err.count("\n") == 1
    (tmp_path / "file").write_text("")
    assert "cannot write" in cli("paper", "ccm", "--out", tmp_path / "file").err


def test_the_help_names_every_paper(cli):
    words = cli("paper", "--help").words
    assert all(name in words for name in PAPERS)


def test_coverage_is_printed_and_nothing_is_written(cli, tmp_path):
    outcome = cli("paper", "gentle", "--coverage", "--out", tmp_path / "pages")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("gentle: 144 of 144 published numbers have a counterpart (preset standard)\n")
    assert not (tmp_path / "pages").exists()
    assert "did you mean 'gentle'" in cli("paper", "gentel", "--coverage").err


def test_the_plan_has_what_the_tables_need_and_nothing_else(cli):
    outcome = cli("paper", "focalpp", "--preset", "quick", "--dry-run")
    assert outcome.code == 0 and "suite shift-matrix, preset quick" in outcome.out
    of_matrix = outcome.out[outcome.out.index("suite shift-matrix") :]
    assert "focalpp-batch" in of_matrix and "hs-hard" not in of_matrix and "ant-dir" not in of_matrix
    assert "18 cells, 18 to run" in of_matrix  # 2 methods, 3 datasets (not the mixed one), 3 seeds


@pytest.mark.parametrize("preset", ["standard", "reference", "quick"])
def test_the_plan_has_the_environments_as_published(cli, preset):
    outcome = cli("paper", "hs-omrl", "--preset", preset, "--dry-run")
    assert outcome.code == 0
    ours, of_variants, variants = outcome.out.partition("suite shift, preset variants")
    assert "cheetah-vel" in ours and "point-goal-h200" not in ours
    assert bool(of_variants) == (preset != "quick")
    if of_variants:
        assert "point-goal-h200" in variants and "ant-dir-speed" in variants and "point-wind-h25" not in variants
        assert "80 cells, 80 to run" in variants  # 2 families, the paper's 8 methods, 5 seeds


def test_runs_are_of_each_preset(cli, monkeypatch, tmp_path):
    seen = []

    def execute(selection, out, rerun, executor, watcher, *more):
        seen.append((selection.suite.name, selection.preset_name, selection.families))
        return SimpleNamespace(errors=())

    monkeypatch.setattr("omrl_bench.runner.run.execute", execute)
    assert cli("paper", "gentle", "--run", "--results", tmp_path / "r").code == 0
    presets = {suite: [of for name, of, _ in seen if name == suite] for suite, _, _ in seen}
    assert presets["limited"] == ["standard", "variants", "standard-8", "standard-6", "standard-4"]
    assert presets["limited-one-shot"] == ["standard", "variants"] and presets["limited-encoder"] == ["standard"]
    families = {of for _, preset, of in seen if preset == "variants"}
    assert families == {("cheetah-vel-wide",)}
    assert {of for _, preset, of in seen if preset.startswith("standard-")} == {("ant-dir",)}


def test_failed_runs_end_with_1_after_the_page(cli, monkeypatch, tmp_path):
    seen = []

    def execute(selection, out, rerun, executor, watcher, *more):
        methods = [method.name for method in selection.methods]
        seen.append((selection.suite.name, selection.families, methods, rerun, executor.slots))
        return SimpleNamespace(errors=("cheetah-vel / csro: no memory",))

    monkeypatch.setattr("omrl_bench.runner.run.execute", execute)
    outcome = cli("paper", "r2pgo", "--preset", "quick", "--run", "--jobs", 3, "--results", tmp_path / "r")
    assert outcome.code == 1 and (tmp_path / "r" / "report" / "papers" / "r2pgo.md").is_file()
    assert "2 failed; the same command tries them again:\n  cheetah-vel / csro: no memory\n" in outcome.err
    of_tables, of_figures = seen
    assert of_tables[:2] == (
        "zero-shot",
        ("cheetah-vel", "walker-params", "hopper-params", "point-square"),
    ) and of_tables[3:] == ("failed", 3)
    assert set(of_tables[2]) == {"r2pgo", "borel", "focal", "corro-noise", "csro"}
    assert of_figures[0] == "shift" and set(of_figures[2]) == {"r2pgo", "r2pgo-norctr", "r2pgo-noapg"}
