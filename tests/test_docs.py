"""What the documents show is what the code does."""

import re
import shlex
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from omrl_bench.cli.main import app
from omrl_bench.data.manifest import read_manifest
from omrl_bench.envs.families import FAMILIES
from omrl_bench.registry import load_class, methods
from omrl_bench.report.build import build
from omrl_bench.report.papers.mapping import paper_names
from omrl_bench.report.papers.orderings import VERDICTS, independent
from omrl_bench.report.papers.pages import compare_with, page
from omrl_bench.report.reading.frames import load
from omrl_bench.report.tables.captions import MISSING
from omrl_bench.testing import check_adapter

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results-version-0"
REPORT = RESULTS / "report" / "shift-standard"


def blocks(document, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.M | re.S)


def commands():
    for document in ("README.md", "BENCHMARK.md", "docs/clusters.md", "docs/methods.md"):
        for block in blocks(document, ""):
            for line in block.splitlines():
                if line.startswith("omrl-bench "):
                    yield line.partition("#")[0].strip()


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_in_the_documents_is_understood(command):
    """All options and verbs exist: `--help` at the end is reached only after they are parsed."""
    result = CliRunner().invoke(app, [*shlex.split(command)[1:], "--help"])
    assert result.exit_code == 0, result.output
    for option in re.findall(r"--[a-z-]+", command):
        assert option in result.output


def test_example_adapter_passes_the_smoke_test(tmp_path):
    (code,) = blocks("BENCHMARK.md", "python")
    file = tmp_path / "linear_clone.py"
    file.write_text(code)
    check_adapter(load_class(f"{file}:LinearClone"))


def references():
    """What BENCHMARK.md says of each family's and variant's reference returns."""
    text = (ROOT / "BENCHMARK.md").read_text()
    for name in FAMILIES:
        page = re.search(rf"^### {name} \(.*?(?=^##)", text, re.M | re.S) or re.search(
            rf"^\| `{name}` \|.*$", text, re.M
        )
        yield name, page and re.search(r"random (-?[\d.]+), expert (-?[\d.]+)", page[0])


@pytest.mark.parametrize(("name", "stated"), list(references()))
def test_reference_returns_are_those_of_the_manifest(name, stated):
    manifest = read_manifest(FAMILIES[name])
    for text, value in zip(stated.groups(), manifest.reference(), strict=True):
        assert text == f"{value:.{len(text.partition('.')[2])}f}"


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_its_data_card(name):
    card = ROOT / "docs" / "cards" / f"{name}.md"
    if not FAMILIES[name].variant_of:
        text = card.read_text()
        assert read_manifest(FAMILIES[name]).family_fingerprint in text
        assert all((card.parent / picture).is_file() for picture in re.findall(r"\]\((\S+\.png)\)", text))


def test_the_page_of_methods_shows_the_table_of_the_records():
    table = (REPORT / "methods.md").read_text().strip()
    assert table in (ROOT / "docs" / "methods.md").read_text()


@pytest.mark.parametrize("name", ["hs-omrl", "r2pgo", "gentle", "focalpp"])
def test_the_readme_counts_the_orderings_that_survive(name):
    """As `omrl-bench paper` does, from the committed records."""
    claims = [row for row in compare_with(name, RESULTS, "standard").orderings if row.claim == "claimed"]
    checked = [row for row in claims if row.n_seeds]
    counts = [Counter(row.verdict(question) for row in checked) for question in ("these", "new")]
    cells = " | ".join(" / ".join(str(of[verdict]) for verdict in VERDICTS) for of in counts)
    numbers = f"{len(claims)} | {len(checked)} ({independent(checked)}) | {cells}"
    row = f"(results-version-0/report/papers/{name}.md) | {numbers} |"
    assert row in (ROOT / "README.md").read_text()


def test_the_contract_shows_the_gaps_of_the_records():
    table = (RESULTS / "report" / "limited-standard" / "gap.md").read_text().strip()
    assert table in (ROOT / "BENCHMARK.md").read_text()


@pytest.mark.parametrize("name", paper_names())
def test_the_committed_pages_of_papers_are_what_the_records_make(name):
    assert page(compare_with(name, RESULTS, "standard")) == (RESULTS / "report" / "papers" / f"{name}.md").read_text()


def test_every_method_has_its_row_and_its_privileges():
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| [^|]+ \| ([a-z_, ]*)\|$", (ROOT / "BENCHMARK.md").read_text(), re.M)
    stated = {name: {p.strip() for p in privileges.split(",") if p.strip()} for name, privileges in rows}
    assert {name: stated.get(name) for name in methods()} == {
        name: set(load_class(target).requires.privileges) for name, target in methods().items()
    }


def test_the_committed_report_is_what_the_records_make(tmp_path):
    build(RESULTS, tmp_path, "shift", "standard")
    for ending in ("md", "csv", "tex"):
        for file in REPORT.glob(f"*.{ending}"):
            assert (tmp_path / "shift-standard" / file.name).read_text() == file.read_text()


def test_the_trials_of_settings_are_what_their_records_say():
    """Mean over five seeds and its standard error, with high-return contexts."""
    frame, _ = load(ROOT / "results-trials", "shift-validation", "screening")
    frame = frame[frame["condition"] == "high"]
    seeds = frame.groupby(["method", "family", "seed"], observed=True)["score"].mean()
    text = (ROOT / "docs" / "decisions.md").read_text().split("| as recorded |")[1]
    rows = re.findall(r"^\| `(\S+)` \|[^|]*\|(.*)\|[^|]*\|$", text, re.M)
    assert len(rows) >= 16
    for method, cells in rows:
        for family, cell in zip(("point-sparse", "cheetah-vel", "ant-dir"), cells.split("|"), strict=True):
            if (method, family) in seeds.index:
                scores = seeds[method, family]
                assert len(scores) == 5
                assert cell.strip() == f"{scores.mean():.1f} ± {scores.std() / 5**0.5:.1f}"
            else:
                assert cell.strip() == MISSING


def test_the_trials_of_brac_are_what_their_records_say():
    text = (ROOT / "docs" / "decisions.md").read_text()
    trials = {"before": "65, 84, 66, 76, 35", "joint-step-c": "28, 26, 44, 19, 24"}
    for name, stated in (trials | {"joint-step-gradient": "73, 15, 68", "now": "66, 58, 68"}).items():
        frame, _ = load(ROOT / "results-trials-brac" / name)
        scores = frame[frame["condition"] == "high"].groupby("seed", observed=True)["score"].mean()
        assert stated == ", ".join(f"{score:.0f}" for score in scores)
        assert stated in text
