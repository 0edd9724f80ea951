"""Suite files: schema, errors that name the file and the key, presets, fingerprints."""

import re
import tomllib
from importlib import resources

import pytest

from omrl_bench.conditions import names as names_of
from omrl_bench.envs.families import get_family
from omrl_bench.errors import InputError
from omrl_bench.protocols.suite import check_seeds, dataset_parts, load_suite, parse_suite, suite_names

TEXT = """
name = "mine"
version = 3
title = "Mine"
families = ["point-goal"]
datasets = ["mixed"]
methods = ["focal", "pearl"]
backbones = ["iql"]
default_preset = "quick"

[protocol]
kind = "given-context"

[presets.quick]
seeds = [0, 1]
qualities = ["high", "low"]
updates = 10
encoder_updates = 0
evaluations = 0
time_limit = 60
job_seconds = 1.5

[presets.standard]
seeds = [4, 2]
qualities = ["random"]
updates = 20
encoder_updates = 5
evaluations = 3
time_limit = 60
job_seconds = 2
"""


def parse(*replacements):
    text = TEXT
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return parse_suite(text, "mine.toml")


def message(*replacements):
    with pytest.raises(InputError) as caught:
        parse(*replacements)
    text = str(caught.value)
    assert text.startswith("mine.toml: ") and "\n" not in text
    return text.removeprefix("mine.toml: ")


def test_a_suite_is_read():
    suite = parse()
    assert (suite.name, suite.version, suite.families, suite.methods) == (
        "mine",
        3,
        ("point-goal",),
        ("focal", "pearl"),
    )
    assert (suite.protocol.draws, suite.protocol.unit, suite.protocol.split) == (10, "episode", "test")
    name, preset = suite.preset(None)
    assert (name, preset.seeds, preset.updates) == ("quick", (0, 1), 10)
    assert suite.preset("standard")[1].seeds == (4, 2)


def test_unknown_preset():
    with pytest.raises(InputError, match="unknown preset of suite 'mine' 'standrad'; did you mean 'standard'"):
        parse().preset("standrad")


def test_a_suite_cannot_be_changed():
    suite = parse()
    with pytest.raises(ValueError, match="frozen"):
        suite.name = "other"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("version = 3", "version =", "not valid TOML: Invalid value (at line 3, column 10)"),
        ("version = 3", "version = 3\nversion = 4", "not valid TOML: "),
        ('name = "mine"', "", "key 'name': Field required"),
        ('kind = "given-context"', "", "key 'protocol.kind': name a kind of protocol"),
        ("[protocol]", "protocol = 3\n[other]", "key 'protocol': "),
        ("job_seconds = 1.5", "", "key 'presets.quick.job_seconds': Field required"),
        ("title", "titel", "key"),
        ("title", 'subtitle = ""\ntitle', "unknown key 'subtitle'"),
        ("[protocol]", "[protocol]\ndraw = 3", "unknown key 'protocol.draw'"),
        ("updates = 10", "updates = 10\nupdate = 10", "unknown key 'presets.quick.update'"),
        ("[presets.standard]", "[presets.standard]\nwidth = 3", "unknown key 'presets.standard.width'"),
        ("version = 3", "version = 'three'", "key 'version': "),
        ("version = 3", "version = -1", "key 'version': "),
        ("updates = 10", "updates = 1.5", "key 'presets.quick.updates': "),
        ("updates = 10", "updates = 0", "key 'presets.quick.updates': "),
        ("encoder_updates = 0", "encoder_updates = -1", "key 'presets.quick.encoder_updates': "),
        ("evaluations = 0", "evaluations = -1", "key 'presets.quick.evaluations': "),
        ("time_limit = 60", "time_limit = 0", "key 'presets.quick.time_limit': "),
        ("job_seconds = 1.5", "job_seconds = 0", "key 'presets.quick.job_seconds': "),
        ('["high", "low"]', '["high", "lwo"]', "key 'presets.quick.qualities.1': "),
        ('["mixed"]', '["mixd"]', "key 'datasets.0': "),
        ('["mixed"]', "[]", "key 'datasets': "),
        ('["point-goal"]', "[]", "key 'families': "),
        ('["point-goal"]', '"point-goal"', "key 'families': "),
        ('["focal", "pearl"]', "[]", "key 'methods': "),
        ('["focal", "pearl"]', "[3]", "key 'methods.0': "),
        ('["iql"]', "[]", "key 'backbones': "),
        ("given-context", "give-context", "key 'protocol.kind': unknown protocol 'give-context'; did you mean 'given-"),
        ("[protocol]", "[protocol]\ndraws = 0", "key 'protocol.draws': "),
        ("[protocol]", "[protocol]\ndraws = 1000", "key 'protocol.draws': "),
        ("[protocol]", "[protocol]\nsplit = 'valid'", "key 'protocol.split': "),
        ("[0, 1]", "[0, 1, 0]", "key 'presets.quick.seeds': seed 0 is given twice"),
        ("updates = 10", "methods = ['a', 'b', 'a']\nupdates = 10", "key 'presets.quick.methods': 'a' is given twice"),
        ("[0, 1]", "[0, -1]", "key 'presets.quick.seeds': seed -1 is negative"),
        ("[0, 1]", "[]", "key 'presets.quick.seeds': no seeds"),
        ("[0, 1]", "['a']", "key 'presets.quick.seeds.0': "),
    ],
)
def test_errors_name_the_file_and_the_key(old, new, words):
    assert message((old, new)).startswith(words)


@pytest.mark.parametrize("value", ['"10"', "true", "10.0"])
def test_numbers_are_numbers(value):
    assert message(("updates = 10", f"updates = {value}")).startswith("key 'presets.quick.updates': ")


def test_qualities_are_at_least_one():
    assert message(('["high", "low"]', "[]")) == "preset 'quick' gives no context qualities"


@pytest.mark.parametrize(
    ("protocol", "complaint"),
    [
        ('kind = "zero-shot"', "key 'protocol.episodes': Field required"),
        ('kind = "explore"', "key 'protocol.episodes': Field required"),
        (
            'kind = "explore"\nepisodes = [0, 2]',
            "key 'protocol.episodes.0': Input should be greater than or equal to 1",
        ),
        ('kind = "explore"\nepisodes = [4, 2]', "key 'protocol.episodes': give numbers of episodes, ascending"),
        ('kind = "explore"\nepisodes = []', "key 'protocol.episodes': give numbers of episodes, ascending"),
        (
            'kind = "one-shot"\nepisodes = 3',
            "unknown key 'protocol.episodes' of this protocol; zero-shot, explore take it",
        ),
        ('kind = "given-context"\nepisodes = 3', "unknown key 'protocol.episodes' of this protocol"),
        ('kind = "one-shot"\nunit = "segment"', "unknown key 'protocol.unit' of this protocol; given-context takes it"),
        ('kind = "one-shot"\nepisode = 3', "unknown key 'protocol.episode'; did you mean 'episodes'"),
        ('kind = "one-shot"', "preset 'quick' gives context qualities, but one-shot gives no contexts"),
    ],
)
def test_protocols_that_do_not_fit(protocol, complaint):
    assert complaint in message(('kind = "given-context"', protocol))


@pytest.mark.parametrize(
    ("protocol", "names"),
    [
        ('kind = "one-shot"', ("episode-1", "episode-2")),
        ('kind = "zero-shot"\nepisodes = 3', ("episode-1", "episode-2", "episode-3")),
        ('kind = "explore"\nepisodes = 2', ("explore-1", "explore-2", "execute-2")),
        ('kind = "explore"\nepisodes = [1, 2]', ("explore-1", "explore-2", "execute-1", "execute-2")),
    ],
)
def test_conditions_of_protocols_without_given_contexts(protocol, names):
    text = TEXT.replace('kind = "given-context"', protocol)
    suite = parse_suite(re.sub("qualities = .*", "", text), "mine.toml")
    assert names_of(suite.protocol.conditions(suite.presets["quick"].qualities)) == names


def test_the_number_of_episodes_changes_the_fingerprint():
    prints = set()
    for episodes in (2, 3):
        text = TEXT.replace('kind = "given-context"', f'kind = "zero-shot"\nepisodes = {episodes}')
        prints.add(parse_suite(re.sub("qualities = .*", "", text), "mine.toml").fingerprint("quick", "point-goal"))
    assert len(prints) == 2


def test_a_preset_may_have_draws_of_its_own():
    """The draws that a cell was evaluated with are in its fingerprint, wherever they were written."""
    suite = parse(("updates = 10", "draws = 3\nupdates = 10"))
    assert [suite.protocol_of(name).draws for name in ("quick", "standard")] == [3, 10]
    assert suite.protocol.draws == 10
    of_preset = suite.fingerprint("quick", "point-goal")
    assert of_preset != parse().fingerprint("quick", "point-goal")
    assert of_preset == parse(("[protocol]", "[protocol]\ndraws = 3")).fingerprint("quick", "point-goal")
    assert suite.fingerprint("standard", "point-goal") == parse().fingerprint("standard", "point-goal")
    for wrong in (0, 21, 1.5):
        said = message(("updates = 10", f"draws = {wrong}\nupdates = 10"))
        assert said.startswith("key 'presets.quick.draws'")


def test_contexts_may_show_sparse_rewards():
    rho = ("[protocol]", "[context_rho]\npoint-goal = -0.5\n[protocol]")
    assert parse(rho).context_rho == {"point-goal": -0.5}
    assert parse(rho).fingerprint("quick", "point-goal") != parse().fingerprint("quick", "point-goal")
    assert parse(rho).fingerprint("quick", "ant-dir") == parse().fingerprint("quick", "ant-dir")
    assert "divides by it" in message(("[protocol]", "[context_rho]\npoint-goal = 0\n[protocol]"))
    assert "divides by it" in message(("[protocol]", "[context_rho]\npoint-goal = nan\n[protocol]"))
    assert "no family of the suite" in message(("[protocol]", "[context_rho]\nant-dir = 3\n[protocol]"))


@pytest.mark.parametrize(
    ("key", "old"),
    [
        ("families", '["point-goal"]'),
        ("datasets", '["mixed"]'),
        ("backbones", '["iql"]'),
        ("presets.quick.qualities", '["high", "low"]'),
    ],
)
def test_names_are_given_once(key, old):
    first = old.strip("[]").split(",")[0]
    assert message((old, f"[{first}, {first}]")).startswith(f"key '{key}'")


def test_no_more_draws_than_there_are():
    from omrl_bench.data.contexts import DRAWS

    parse(("[protocol]", f"[protocol]\ndraws = {DRAWS}"))
    assert message(("[protocol]", f"[protocol]\ndraws = {DRAWS + 1}")).startswith("key 'protocol.draws'")


def test_datasets_are_those_that_can_be_built():
    from omrl_bench.vocabulary import CONTEXT_ONLY, QUALITIES

    for quality in QUALITIES:
        assert parse(('["mixed"]', f'["{quality}"]')).datasets == (quality,)
    for quality in ("low", *CONTEXT_ONLY, "", "expert+low", "low+expert", "expert+mixed+random", "expert+"):
        said = message(('["mixed"]', f'["{quality}"]'))  # some are for contexts only
        assert said.startswith("key 'datasets.0': ")
        assert "is no dataset to train on; there are mixed, expert, medium, random" in said


def test_policy_and_representation_may_have_data_of_their_own():
    assert parse(('["mixed"]', '["expert+mixed"]')).datasets == ("expert+mixed",)
    assert dataset_parts("expert+mixed") == ("expert", "mixed")
    assert dataset_parts("expert") == ("expert", "expert")


def test_a_preset_may_have_families_and_training_tasks_of_its_own():
    fewer = parse(("updates = 10", "families = ['point-sparse']\nupdates = 10"))
    assert fewer.families_of("quick") == ("point-sparse",)
    assert fewer.families_of("standard") == fewer.families
    assert fewer.fingerprint("quick", "point-goal") == parse().fingerprint("quick", "point-goal")  # of the grid
    tasks = parse(("updates = 10", "train_tasks = 4\nupdates = 10"))
    assert tasks.fingerprint("quick", "point-goal") != parse().fingerprint("quick", "point-goal")
    assert tasks.fingerprint("standard", "point-goal") == parse().fingerprint("standard", "point-goal")


def test_a_family_may_have_updates_of_its_own():
    longer = parse(("updates = 10", "family_updates = { point-goal = 30 }\nupdates = 10"))
    preset = longer.presets["quick"]
    mine, other = preset.of("point-goal"), preset.of("point-sparse")
    assert (mine.updates, mine.job_seconds) == (30, 3 * preset.job_seconds)
    assert other == preset.model_copy(update={"family_updates": {}})
    assert preset.updates_text() == "10 (point-goal: 30)"
    assert other.updates_text() == "10"
    # as if the preset said so for all families; and the other families' records stay as they are
    every = parse(("updates = 10", "updates = 30"))
    assert longer.fingerprint("quick", "point-goal") == every.fingerprint("quick", "point-goal")
    assert longer.fingerprint("quick", "point-sparse") == parse().fingerprint("quick", "point-sparse")
    said = message(("updates = 10", "family_updates = { ant-dir = 30 }\nupdates = 10"))
    assert said == "preset 'quick' gives updates for 'ant-dir', which is no family of the suite"


def test_context_qualities_and_units_are_those_that_are_drawn():
    from omrl_bench.data.contexts import SOURCES, UNITS

    for quality in SOURCES:
        assert parse(('["high", "low"]', f'["{quality}"]')).presets["quick"].qualities == (quality,)
    assert message(('["high", "low"]', '["best"]')).startswith("key 'presets.quick.qualities.0'")
    assert parse().protocol.unit == "episode"
    for unit in UNITS:
        suite = parse(("[protocol]", f'[protocol]\nunit = "{unit}"'))
        assert suite.protocol.unit == unit
        same = suite.fingerprint("quick", "point-goal") == parse().fingerprint("quick", "point-goal")
        assert same == (unit == "episode")
    assert message(("[protocol]", '[protocol]\nunit = "step"')).startswith("key 'protocol.unit'")


def test_default_preset_exists():
    words = message(('default_preset = "quick"', 'default_preset = "quik"'))
    assert "default_preset" in words and "'quik'" in words and "quick" in words


@pytest.mark.parametrize("name", ["", "../elsewhere", "/tmp/elsewhere", "report"])
def test_a_name_is_a_folder_of_its_own(name):
    assert message(('name = "mine"', f'name = "{name}"')).startswith("key 'name'")


@pytest.mark.parametrize("seeds", [(0,), (5, 3, 1), (10**12,)])
def test_seeds_that_are_right(seeds):
    assert check_seeds(seeds) == seeds


@pytest.mark.parametrize(
    ("seeds", "words"), [((), "no seeds"), ((1, -2), "seed -2 is negative"), ((4, 0, 4), "seed 4 is given twice")]
)
def test_seeds_that_are_wrong(seeds, words):
    with pytest.raises(ValueError, match=words):
        check_seeds(seeds)


CHANGES = [
    ("version = 3", "version = 4"),
    ('name = "mine"', 'name = "yours"'),
    ("updates = 10", "updates = 11"),
    ("encoder_updates = 0", "encoder_updates = 1"),
    ("evaluations = 0", "evaluations = 1"),
    ('["high", "low"]', '["low", "high"]'),
    ('["high", "low"]', '["high"]'),
    ("[protocol]", "[protocol]\ndraws = 11"),
    ("[protocol]", "[protocol]\nsplit = 'extrapolation'"),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change[1][:20])
def test_fingerprint_follows_what_changes_numbers(change):
    assert parse(change).fingerprint("quick", "point-goal") != parse().fingerprint("quick", "point-goal")


@pytest.mark.parametrize(
    "change",
    [
        ("[0, 1]", "[0, 1, 2]"),
        ("time_limit = 60", "time_limit = 70"),
        ("job_seconds = 1.5", "job_seconds = 7"),
        ("Mine", "Ours"),
        ('["focal", "pearl"]', '["focal"]'),
        ('["point-goal"]', '["point-goal", "cheetah-vel"]'),
        ("updates = 20", "updates = 21"),  # of the other preset
        ("[protocol]", "[protocol]\ndraws = 10"),  # the default, said aloud
        ('default_preset = "quick"', 'default_preset = "standard"'),
    ],
    ids=lambda change: change[1][:20],
)
def test_fingerprint_leaves_out_the_rest(change):
    assert parse(change).fingerprint("quick", "point-goal") == parse().fingerprint("quick", "point-goal")


def test_fingerprints_of_presets_differ():
    assert parse().fingerprint("quick", "point-goal") != parse().fingerprint("standard", "point-goal")


def test_suites_that_come_with_the_package():
    assert "shift" in suite_names()
    for name in suite_names():
        suite = load_suite(name)
        assert suite.name == name
        assert suite.default_preset == "quick"
        assert "standard" in suite.presets or name == "smoke"
        for preset in suite.presets.values():
            assert preset.job_seconds < preset.time_limit


def test_what_shift_runs():
    suite = load_suite("shift")
    assert suite.families_of("quick") == ("point-goal", "cheetah-vel")
    assert {"random", "behaviour", "task-blind", "oracle", "focal", "pearl", "hs-scl", "hs-hard"} == set(suite.methods)
    assert len(suite.presets["quick"].seeds) == 3 and suite.presets["quick"].qualities == ("high", "low")
    every = {"walker-params", "hopper-params", "point-wind", "cheetah-mass", "ant-mass", "ant-goal", "point-goal"}
    assert every < set(suite.families_of("standard"))


@pytest.mark.parametrize("name", [name for name in suite_names() if name != "smoke"])
def test_reference_is_standard_with_ten_seeds_whose_first_five_are_its(name):
    suite = load_suite(name)
    quick, standard, reference = (suite.presets[preset] for preset in ("quick", "standard", "reference"))
    assert reference == standard.model_copy(update={"seeds": tuple(range(10))})
    assert reference.seeds[:5] == standard.seeds
    draws = {preset: suite.protocol_of(preset).draws for preset in suite.presets if preset != "screening"}
    assert draws == dict.fromkeys(draws, 2) | {"quick": 1}
    assert len(quick.seeds) == 3


@pytest.mark.parametrize("name", suite_names())
def test_every_family_has_tasks_to_evaluate(name):
    suite = load_suite(name)
    for preset in suite.presets:
        for family in suite.families_of(preset):
            assert len(get_family(family).tasks().ids(suite.protocol.split)), (preset, family)


def test_variants_are_those_of_papers():
    for name in suite_names():
        suite = load_suite(name)
        variants = suite.families_of("variants") if "variants" in suite.presets else ()
        assert all(get_family(family).variant_of for family in variants)
        for preset in set(suite.presets) - {"variants"}:
            assert not any(get_family(family).variant_of for family in suite.families_of(preset))


def test_every_suite_file_is_plain_toml():
    for file in resources.files("omrl_bench.protocols").iterdir():
        if file.name.endswith(".toml") and file.name != "method_sets.toml":
            table = tomllib.loads(file.read_text(encoding="utf-8"))
            assert table["name"] + ".toml" == file.name
            assert load_suite(table["name"]).name == table["name"]


def test_load_by_path_and_by_name(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TEXT)
    assert load_suite(str(path)) == parse()
    with pytest.raises(InputError, match=r"suite file .*absent\.toml does not exist"):
        load_suite(str(tmp_path / "absent.toml"))
    with pytest.raises(InputError, match="unknown suite 'shfit'; did you mean 'shift'"):
        load_suite("shfit")


def test_errors_of_a_file_name_its_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TEXT.replace("version", "versoin"))
    with pytest.raises(InputError) as caught:
        load_suite(str(path))
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_in_another_encoding(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(TEXT.replace("Mine", "Für mich").encode("latin-1"))
    with pytest.raises(InputError, match=r"mine\.toml: "):
        load_suite(str(path))


def test_a_preset_may_have_methods_of_its_own():
    suite = parse(("[presets.standard]", "[presets.standard]\nmethods = ['oracle', 'focal']"))
    assert suite.methods_of(None) == suite.methods_of("quick") == suite.methods
    assert suite.methods_of("standard") == ("oracle", "focal")
    # the grid changes no cell's numbers
    assert suite.fingerprint("standard", "point-goal") == parse().fingerprint("standard", "point-goal")
