"""The example submission, to be changed."""

import json
import shutil
from pathlib import Path

import pytest

from omrl_bench.runner.cubes import read_cube
from omrl_bench.runner.records import _content_hash

EXAMPLE = Path(__file__).parents[2] / "submissions" / "Prototypes"
SEED_0 = Path("records/shift/quick/point-goal/mixed/Prototypes/iql/seed-0.json")


@pytest.fixture
def submission(tmp_path):
    """A copy of the example, as somebody's folder."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "mine" / "Prototypes"))


def declare(folder, *replacements):
    """Change the text of a declaration."""
    path = folder / "submission.toml"
    text = path.read_text()
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)


def forge(path, **fields):
    """Change fields of a record and make its content hash fit."""
    content = json.loads(path.read_text()) | fields
    content["content"] = _content_hash(content)
    path.write_text(json.dumps(content))


def forge_cube(path, **arrays):
    """Change arrays of a cube, and make the hashes and means of its record fit."""
    file = path.with_suffix(".npz")
    cube = read_cube(file).model_copy(update=arrays)
    file.write_bytes(cube.file_content())
    means = {name: metric.model_dump() for name, metric in cube.metrics().items()}
    forge(path, cube=cube.stored().content_hash(), metrics=means)
