"""Suites and presets that take their keys from others."""

import pytest

from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import load_suite, suite_names

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


def test_updates_of_families_that_the_suite_does_not_have_are_not_inherited(tmp_path):
    updates = "family_updates = { point-goal = 30, point-sparse = 40 }\nupdates = 10"
    base = TEXT.replace('["point-goal"]', '["point-goal", "point-sparse"]').replace("updates = 10", updates)
    (tmp_path / "base.toml").write_text(base)
    (tmp_path / "mine.toml").write_text(
        'name = "some"\nversion = 1\ntitle = "Some"\nextends = "base.toml"\nfamilies = ["point-sparse"]\n'
    )
    assert load_suite(str(tmp_path / "mine.toml")).presets["quick"].family_updates == {"point-sparse": 40}


@pytest.mark.parametrize("name", ["shift", "zero-shot", "limited", "limited-one-shot", "limited-encoder"])
def test_suites_that_evaluate_the_same_training_share_its_budget(name):
    """Nothing that training depends on differs, for every family and preset that both have."""
    base = load_suite(name)
    others = [suite for suite in map(load_suite, suite_names()) if suite.extends == name and not suite.context_rho]
    assert others
    for suite in others:
        assert (suite.datasets, suite.backbones, set(suite.presets) - {"screening"}) == (
            base.datasets,
            base.backbones,
            set(base.presets),
        )
        for preset in base.presets:
            for family in suite.families_of(preset):
                own, theirs = suite.presets[preset].of(family), base.presets[preset].of(family)
                same = ("seeds", "updates", "encoder_updates", "train_tasks", "draws")
                assert [getattr(own, key) for key in same] == [getattr(theirs, key) for key in same]
                assert family in base.families_of(preset)


def test_extrapolation_suites_name_the_families_that_have_such_tasks():
    for name in ("shift", "zero-shot", "limited"):
        suite, base = load_suite(f"{name}-ood"), load_suite(name)
        assert suite.protocol.split == "extrapolation"
        having = [family for family in base.families if len(get_family(family).tasks().ids("extrapolation"))]
        assert suite.families == tuple(having)
