"""Sets of records seen together, and what records say of representations."""

import re

import numpy as np
import pytest

from omrl_bench.report import build
from omrl_bench.report.figures import pictures
from omrl_bench.report.reading.frames import collect
from omrl_bench.report.tables.measures import measure_frame
from omrl_bench.runner.records import write_record
from omrl_bench.runner.traces import Traces, read_traces, write_traces

from .conftest import make_cube, make_record

LIMITED = {"suite": "limited", "dataset": "expert", "backbone": "td3bc"}


@pytest.fixture
def drawn(monkeypatch):
    """What figures are asked to show, without drawing any."""
    calls = []
    monkeypatch.setattr(pictures, "task_number_figure", lambda *args: calls.append(args) or {"svg": b"figure"})
    monkeypatch.setattr(build, "figures_of", lambda *args: {})
    return calls


def test_presets_with_fewer_training_tasks_make_one_figure(store, drawn, tmp_path):
    for preset, level in (("standard", 80), ("standard-6", 60), ("standard-4", 40)):
        store.put("point-square", "gentle", 0, (level, level - 30), preset=preset, **LIMITED)
        store.put("point-square", "gentle", 1, (level, level - 30), preset=preset, **LIMITED)
    store.put("point-square", "focal", 0, preset="standard", **LIMITED)
    store.put("point-square", "focal", 1, preset="standard", **LIMITED)
    written = build.build(store.path, tmp_path / "out")
    ((scores, layout, note),) = drawn
    assert [p.relative_to(tmp_path / "out").as_posix() for p in written if p.stem == "training-tasks"] == [
        "limited-standard/training-tasks.svg"
    ]
    assert set(scores["method"]) == {"gentle"}  # focal has no second number of tasks
    assert scores["train_tasks"].tolist() == [4, 6, 10]
    assert np.diff(scores["score"]) == pytest.approx([20, 20], abs=1e-3)
    assert "high" in note
    assert layout.families == ("point-square",)


def test_other_budgets_are_no_other_numbers_of_tasks(store, drawn, tmp_path):
    for seed in (0, 1):
        store.put("point-square", "gentle", seed, preset="quick", **LIMITED)
        store.put("point-square", "gentle", seed, preset="standard-8", **LIMITED)
    build.build(store.path, tmp_path / "out")
    assert drawn == []


def test_suites_and_presets_that_are_not_shipped_have_no_such_figure(store, drawn, tmp_path):
    for preset in ("standard", "mine"):
        store.put("point-square", "gentle", 0, preset=preset, **LIMITED)
        store.put("point-square", "gentle", 0, preset=preset, **(LIMITED | {"suite": "mine"}))
    build.build(store.path, tmp_path / "out")
    assert drawn == []


def test_generalisation_gap_of_what_both_suites_have(store, drawn, tmp_path):
    for seed in range(3):
        store.put("point-square", "gentle", seed, (50, 20), preset="standard", **LIMITED)
        store.put("cheetah-vel", "gentle", seed, (50, 20), preset="standard", **LIMITED)
        for method in ("gentle", "focal"):  # focal has no results on test tasks, cheetah-vel none on training tasks
            record = make_record(
                "point-square", method, seed, preset="standard", **(LIMITED | {"suite": "limited-train"})
            )
            cube = make_cube((75, 30), seed)
            write_record(store.path, record, cube.model_copy(update={"tasks": np.arange(4)}))
    build.build(store.path, tmp_path / "out")
    text = (tmp_path / "out" / "limited-standard" / "gap.md").read_text()
    rows = re.findall(r"^\| ([\w-]+) +\| (\w+) +\| (\w+) +\| +([\d.]+) \| +([\d.]+) \| +([\d.]+) \[", text, re.M)
    assert [row[:3] for row in rows] == [("point-square", "high", "gentle"), ("point-square", "low", "gentle")]
    assert "- No scores on training tasks: cheetah-vel. So there is no mean over families." in text
    assert [float(row[5]) for row in rows] == pytest.approx([25.0, 10.0], abs=0.06)
    for row in rows:
        assert float(row[3]) - float(row[4]) == pytest.approx(float(row[5]), abs=0.11)
    assert not (tmp_path / "out" / "limited-train-standard" / "gap.md").exists()


def test_the_mean_gap_is_over_the_families_of_the_score_table(store, drawn, tmp_path):
    for family in ("point-square", "cheetah-vel", "ant-dir"):
        store.put(family, "gentle", 0, (50, 20), preset="standard", **LIMITED)
        record = make_record(family, "gentle", 0, preset="standard", **(LIMITED | {"suite": "limited-train"}))
        if family != "ant-dir":
            write_record(store.path, record, make_cube((75, 30), 0).model_copy(update={"tasks": np.arange(4)}))
    build.build(store.path, tmp_path / "out")
    text = (tmp_path / "out" / "limited-standard" / "gap.md").read_text()
    assert "| all " not in text and "| point-square " in text
    write_record(store.path, record, make_cube((75, 30), 0).model_copy(update={"tasks": np.arange(4)}))
    build.build(store.path, tmp_path / "out")
    text = (tmp_path / "out" / "limited-standard" / "gap.md").read_text()
    assert "| all " in text and "No scores" not in text


def test_measures_are_averaged_over_seeds(store):
    for seed, rms in enumerate((0.5, 1.0, 1.5)):
        measured = {"high": {"rms": rms, "probe": 0.9}, "low": {"rms": 0.1}}
        store.put("point-goal", "focal", seed, costs={"representation": measured})
    store.put("point-goal", "random", 0)
    (results,) = collect(store.path)
    frame = measure_frame(results).set_index(["condition", "measure"])
    assert set(frame["method"]) == {"focal"}
    assert frame.loc[("high", "rms"), ["mean", "minimum", "maximum", "n_seeds"]].tolist() == [1.0, 0.5, 1.5, 3]
    assert frame.loc[("low", "rms"), "mean"] == pytest.approx(0.1)


def test_what_is_not_healthy_is_said_in_tables_and_by_report(store, tmp_path):
    health = {
        "focal": {"dimensions": 1.0, "saturated": 0.3},
        "csro": {"dimensions": 0.1, "saturated": 0.94},
        "dp": {"dimensions": 0.9},
    }
    for method, values in health.items():
        for seed in range(2):
            store.put("point-goal", method, seed, costs={"representation": {"high": values if seed else {}}})
    said, found = [], "point-goal / csro: representation not healthy: seed 1 (10% of the dimensions in use, 94% of the"
    build.build(store.path, tmp_path / "out", warn=said.append)
    (folder,) = (tmp_path / "out").iterdir()
    assert [line for line in said if "healthy" in line] == [f"{found} entries saturated)"]
    table = (folder / "representation.md").read_text()
    assert "| family     | method   |   score |   collapsed seeds |   dimensions in use |   saturated share |" in table
    score = (folder / "score.md").read_text()
    assert found in score and "focal: representation" not in score and "dp: representation" not in score


def test_report_writes_the_measures_and_pictures_of_one_family(store, tmp_path, monkeypatch):
    drawn = []
    for name in ("embedding_figure", "trajectory_figure", "attention_figure"):
        picture = f"omrl_bench.report.figures.traces.{name}"
        monkeypatch.setattr(picture, lambda *args, name=name: drawn.append((name, args)) or {"svg": name.encode()})
    rng = np.random.default_rng(0)
    embeddings, paths = rng.normal(size=(2, 4, 3, 5)), rng.normal(size=(2, 4, 6, 2))
    attention = rng.random((2, 4, 6, 2))
    attention[1, 3, 4:] = np.nan
    for family in ("cheetah-vel", "point-goal", "point-wind"):
        for method in ("focal", "task-blind"):
            measured = {"high": {"rms": 1.25}, "low": {"rms": 0.75}} if method == "focal" else {}
            record = store.put(family, method, 0, costs={"representation": measured})
            traces = Traces(
                conditions=("high", "low"),
                tasks=np.arange(40, 44),
                embeddings=embeddings if method == "focal" else None,
                paths=paths if family != "cheetah-vel" else None,
                attention=attention if method == "focal" else None,
            )
            write_traces(store.path, record.cell, traces)
    files = {path.name for path in build.build(store.path, tmp_path / "out")}
    assert {
        "representation.md",
        "representation.csv",
        "embeddings-focal.svg",
        "paths-focal.svg",
        "attention-focal.svg",
    } <= files
    assert "paths-task-blind.svg" in files
    assert "embeddings-task-blind.svg" not in files
    text = (tmp_path / "out" / "shift-quick" / "representation.md").read_text()
    assert "context quality high" in text
    assert "1.250" in text
    assert "0.750" not in text
    (placed,) = [args for name, args in drawn if name == "embedding_figure"]
    assert placed[0] == "focal"
    assert placed[1].startswith("cheetah-vel, seed 0")
    np.testing.assert_allclose(placed[2], embeddings.reshape(24, 5), atol=2e-3)  # kept in half precision
    assert placed[3].tolist() == [40, 40, 40, 41, 41, 41, 42, 42, 42, 43, 43, 43] * 2
    assert placed[4] == ["high"] * 12 + ["low"] * 12
    walked = {args[1]: args for name, args in drawn if name == "trajectory_figure"}
    assert set(walked) == {"focal", "task-blind"}
    assert walked["focal"][0].name == "point-goal"
    np.testing.assert_allclose(walked["focal"][3]["low"], paths[1], atol=2e-3)
    (weighed,) = [args for name, args in drawn if name == "attention_figure"]
    assert weighed[0] == "focal"
    np.testing.assert_allclose(weighed[2]["low"], attention[1], atol=2e-3)


def test_traces_that_are_missing_or_damaged_are_a_picture_less(store):
    record = store.put("point-goal", "focal", 0)
    assert read_traces(store.path, record.cell) is None
    traces = Traces(conditions=("high",), tasks=np.arange(3), paths=np.zeros((1, 3, 2, 2)))
    write_traces(store.path, record.cell, traces)
    assert read_traces(store.path, record.cell).paths.shape == (1, 3, 2, 2)
    path = store.path / record.cell.folder() / "seed-0.traces.npz"
    path.write_bytes(path.read_bytes()[:100])
    assert read_traces(store.path, record.cell) is None
    write_traces(store.path, record.cell, None)
    assert not path.exists()
