"""Suites and presets that take their keys from others."""

import pytest

from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import load_suite

from .test_suite import TEXT


def test_a_suite_may_extend_another(tmp_path):
    (tmp_path / "base.toml").write_text(TEXT)
    (tmp_path / "mine.toml").write_text(
        'name = "on-train"\nversion = 1\ntitle = "As mine"\nextends = "base.toml"\n'
        '[protocol]\nkind = "one-shot"\n[presets.quick]\nupdates = 30\n[presets.long]\nmethods = ["focal"]\n'
        "seeds = [7]\nupdates = 40\nencoder_updates = 0\nevaluations = 0\ntime_limit = 60\njob_seconds = 1\n"
    )
    suite, base = load_suite(str(tmp_path / "mine.toml")), load_suite(str(tmp_path / "base.toml"))
    assert (suite.name, suite.version, suite.title, suite.extends) == ("on-train", 1, "As mine", "base.toml")
    assert (suite.families, suite.methods, suite.datasets) == (base.families, base.methods, base.datasets)
    assert suite.protocol.kind == "one-shot"
    expected = {"updates": 30, "qualities": ()}
    assert suite.presets["quick"] == base.presets["quick"].model_copy(update=expected)
    assert suite.presets["standard"] == base.presets["standard"].model_copy(update={"qualities": ()})
    assert suite.presets["long"].seeds == (7,)


@pytest.mark.parametrize(
    ("extends", "words"),
    [
        ('"shfit"', "key 'extends': unknown suite 'shfit'; did you mean 'shift'"),
        ('"absent.toml"', "key 'extends': suite file "),
        ('"mine.toml"', "extends"),
        ("3", "key 'extends': Input should be a valid string"),
    ],
)
def test_what_cannot_be_extended(extends, words, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TEXT.replace("version = 3", f"version = 3\nextends = {extends}"))
    with pytest.raises(InputError) as caught:
        load_suite(str(path))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_preset_may_extend_another_of_its_suite(tmp_path):
    (tmp_path / "base.toml").write_text(TEXT + '\n[presets.more]\nextends = "quick"\nseeds = [7]\n')
    (tmp_path / "mine.toml").write_text(
        'name = "again"\nversion = 1\ntitle = "Again"\nextends = "base.toml"\n'
        '[presets.most]\nextends = "more"\nupdates = 77\n[presets.quick]\nupdates = 30\n'
    )
    base, suite = load_suite(str(tmp_path / "base.toml")), load_suite(str(tmp_path / "mine.toml"))
    assert base.presets["more"] == base.presets["quick"].model_copy(update={"seeds": (7,)})
    assert suite.presets["more"] == base.presets["more"]  # as its own file says it
    assert suite.presets["most"] == base.presets["more"].model_copy(update={"updates": 77})


@pytest.mark.parametrize(
    ("presets", "words"),
    [
        ('[presets.a]\nextends = "quikc"', "key 'presets.a.extends': unknown preset 'quikc'; did you mean 'quick'"),
        ("[presets.a]\nextends = 3", "key 'presets.a.extends': unknown preset '3'"),
        ('[presets.a]\nextends = "a"', "key 'presets.a.extends': a extends a"),
        ('[presets.a]\nextends = "b"\n[presets.b]\nextends = "a"', "key 'presets.b.extends': a extends b extends a"),
    ],
)
def test_presets_that_cannot_be_extended(presets, words, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(f"{TEXT}\n{presets}\n")
    with pytest.raises(InputError) as caught:
        load_suite(str(path))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_suites_that_share_a_training_say_so():
    for name in ("limited-one-shot", "limited-train"):
        suite, base = load_suite(name), load_suite("limited")
        assert suite.extends == "limited"
        for preset, theirs in base.presets.items():
            assert suite.presets[preset].model_copy(update={"qualities": theirs.qualities}) == theirs
