"""The command line in this process, on empty folders; a small suite file; adapters good and bad."""

import pytest


@pytest.fixture
def cli(invoke, monkeypatch, tmp_path):
    """Run the command line in this process, in an empty folder, with an empty data folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return invoke


@pytest.fixture
def tiny(write_suite, tiny_text):
    """Write the small suite, with replacements: its path."""
    text = tiny_text.replace(', "focal"', "").replace("job_seconds = 100", "job_seconds = 5")
    return lambda *replacements: write_suite(text, replacements)
