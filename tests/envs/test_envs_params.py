"""Families whose tasks differ in dynamics: what a task's numbers do to the model, and what they cannot do.

The multipliers are those of PEARL's rand_param_envs (Rakelly et al., ICML 2019).

The robots move in the plane of x and z, so a body turns about y only: of its three moments of inertia the second is
felt and the other two are not. That is why tasks may break the triangle inequality, which most of them do.
"""

from functools import cache
from pathlib import Path

import gymnasium.envs.mujoco
import mujoco
import numpy as np
import pytest

from omrl_bench.envs.families import FAMILIES, get_family
from omrl_bench.envs.mujoco_physics import StepPhysics

PARAMS = ("hopper-params", "walker-params")
every_params = pytest.mark.parametrize("name", PARAMS)
BODIES = {
    "hopper-params": ["torso", "thigh", "leg", "foot"],
    "walker-params": ["torso", "thigh", "leg", "foot", "thigh_left", "leg_left", "foot_left"],
}


@cache
def law_of(name):
    return get_family(name).make_law()


def multipliers(name, **logs):
    """A descriptor of zeros (the nominal robot), but for the columns given or starting so."""
    columns = get_family(name).descriptor
    descriptor = np.zeros(len(columns))
    for start, log in logs.items():
        chosen = [column.startswith(start) for column in columns]
        assert any(chosen), start
        descriptor[chosen] = log
    return descriptor


def trajectory(name, descriptor, steps=60, model=None):
    """States of a robot that falls and struggles: it touches the floor, and its joints' limits."""
    law, family = law_of(name), get_family(name)
    if model is None:
        physics = law.single_physics()
        physics.assign(np.array([0]), descriptor[None])
    else:
        physics = StepPhysics(law.task_model, model, law.FRAME_SKIP)
    state, rng, states = law.initial_state(np.random.default_rng(0))[None], np.random.default_rng(1), []
    for _ in range(steps):
        state = physics.advance(state, rng.uniform(-1, 1, (1, family.action_size)))
        states.append(state[0])
    return np.array(states)


@cache
def nominal(name):
    return trajectory(name, multipliers(name))


def furthest(name, **logs):
    return np.abs(trajectory(name, multipliers(name, **logs)) - nominal(name)).max()


# --- the nominal robots


def test_nominal_numbers():
    for name in PARAMS:
        model = law_of(name).model
        masses = {"torso": 3.665, "thigh": 4.058, "leg": 2.781, "foot": 5.316 if name.startswith("hopper") else 3.167}
        for body in BODIES[name]:
            assert model.body(body).mass[0] == pytest.approx(masses[body.removesuffix("_left")], abs=6e-4)
        damping = 1 if name.startswith("hopper") else 0.1
        for joint in range(model.njnt):
            root = model.joint(joint).name.startswith("root")
            assert model.joint(joint).damping[0] == (0 if root else damping)
        assert model.body("world").mass[0] == 0
        assert [model.body(i).name for i in range(model.nbody)] == ["world", *BODIES[name]]
    hopper, walker = (law_of(name).model for name in PARAMS)
    assert hopper.geom("floor").friction.tolist() == [1, 0.005, 0.0001]
    assert hopper.geom("foot_geom").friction.tolist() == [2, 0.005, 0.0001]
    assert walker.geom("floor").friction.tolist() == [0.7, 0.1, 0.1]
    sliding = {walker.geom(i).name: walker.geom(i).friction[0] for i in range(walker.ngeom)}
    assert sliding.pop("floor") == 0.7
    assert sliding.pop("foot_left_geom") == 1.9
    assert set(sliding.values()) == {0.9}
    assert {hopper.geom(f"{body}_geom").friction[0] for body in ("torso", "thigh", "leg")} == {0.9}


@every_params
def test_multipliers_span_the_range_of_rand_param_envs(name):
    """1.5 ** +-3 and 1.3 ** +-3."""
    family = get_family(name)
    table = family.tasks()
    inside = np.exp(table.descriptors[table.ids("train", "validation", "test")])
    for field, low, high in (
        ("mass", 0.296, 3.375),
        ("inertia", 0.296, 3.375),
        ("damping", 0.455, 2.197),
        ("friction", 0.296, 3.375),
    ):
        columns = [column.startswith(field) for column in family.descriptor]
        assert inside[:, columns].min() == pytest.approx(low, rel=0.03)
        assert inside[:, columns].max() == pytest.approx(high, rel=0.03)
        assert low - 5e-4 < inside[:, columns].min()
        assert inside[:, columns].max() < high + 5e-4


@every_params
def test_beyond_the_law_at_least_four_numbers_that_are_felt_are_beyond_its_range(name):
    """And none beyond base ** 4; what a planar robot feels: see the tests of what is felt below."""
    family = get_family(name)
    table = family.tasks()
    bases = [1.3 if column.startswith("damping") else 1.5 for column in family.descriptor]
    exponents = table.descriptors[table.ids("extrapolation")] / np.log(bases)
    assert np.abs(exponents).max() <= 4 + 1e-4
    felt = []
    for column in family.descriptor:
        field, part = column.split("_", 1)
        kinds = {"mass": True, "damping": True, "inertia": part.endswith("_y"), "friction": part.endswith("_slide")}
        felt.append(kinds[field] and not part.startswith(("world", "root")))
    assert (np.abs(exponents[:, felt]) > 3).sum(axis=1).min() >= 4
    assert len(exponents) == 40


def test_numbers_per_field():
    for name, sizes in {"hopper-params": (5, 15, 6, 15), "walker-params": (8, 24, 9, 24)}.items():
        columns, model = get_family(name).descriptor, law_of(name).model
        fields = ("mass", "inertia", "damping", "friction")
        assert tuple(sum(c.startswith(f) for c in columns) for f in fields) == sizes
        assert (model.nbody, model.nbody * 3, model.nv, model.ngeom * 3) == sizes


# --- what matters


@every_params
def test_the_nominal_descriptor_is_the_nominal_robot(name):
    law = law_of(name)
    model = law.task_model(multipliers(name))
    for array in ("body_mass", "body_inertia", "dof_damping", "geom_friction", "body_invweight0", "dof_invweight0"):
        np.testing.assert_allclose(getattr(model, array), getattr(law.model, array), rtol=1e-12)


@every_params
@pytest.mark.parametrize("field", ["mass_torso", "inertia_", "damping_", "friction_"])
def test_each_field_changes_the_motion(name, field):
    assert furthest(name, **{field: 0.7}) > 0.05


@pytest.mark.parametrize(
    ("name", "column"),
    [
        (name, column)
        for name in PARAMS
        for column in get_family(name).descriptor
        if "world" not in column
        and (
            column.startswith("mass")
            or (column.startswith("inertia") and column.endswith("_y"))
            or (column.startswith("damping") and "root" not in column)
        )
    ],
)
def test_every_mass_moment_about_y_and_joint_damping_is_felt(name, column):
    family = get_family(name)
    descriptor = np.zeros(len(family.descriptor))
    descriptor[family.descriptor.index(column)] = 0.7
    assert np.abs(trajectory(name, descriptor, steps=8) - nominal(name)[:8]).max() > 1e-5


@every_params
def test_contact_takes_the_larger_friction(name):
    """So a little less of the smaller one is not felt, and more than the larger one is."""
    floor = law_of(name).model.geom("floor").friction[0]
    least = min(law_of(name).model.geom(f"{body}_geom").friction[0] for body in BODIES[name])
    if floor < least:
        assert furthest(name, friction_floor_slide=-0.7) == 0
    assert furthest(name, friction_floor_slide=1.2) > 0.01


# --- what does not


def inert(name):
    """Columns that change nothing a robot does, by reason."""
    columns = get_family(name).descriptor
    return {
        "the world has no mass": [c for c in columns if c.startswith(("mass_world", "inertia_world"))],
        "root joints have no damping": [c for c in columns if c.startswith("damping_root")],
        "turning about x and z": [c for c in columns if c.startswith("inertia") and c.endswith(("_x", "_z"))],
        "contacts have three dimensions": [c for c in columns if c.endswith(("_spin", "_roll"))],
    }


@pytest.mark.parametrize("reason", inert("hopper-params"))
@every_params
def test_inert_multipliers(name, reason):
    columns = inert(name)[reason]
    rng = np.random.default_rng(2)
    descriptor = multipliers(name, **dict.fromkeys(columns, 1))
    descriptor[descriptor != 0] = rng.uniform(-1.2, 1.2, len(columns))
    assert np.abs(trajectory(name, descriptor) - nominal(name)).max() < 1e-6


@every_params
def test_most_tasks_break_the_triangle_inequality_which_is_harmless(name):
    law, table = law_of(name), get_family(name).tasks()
    broken = []
    for descriptor in table.descriptors[table.ids("train", "validation", "test")]:
        inertia = np.sort(law.task_model(descriptor).body_inertia[1:], axis=1)
        assert (inertia > 0).all()
        broken.append((inertia[:, 2] > inertia[:, 0] + inertia[:, 1]).any())
    assert np.mean(broken) > 0.8


@every_params
def test_a_valid_inertia_with_the_same_moments_about_y_moves_the_same(name):
    """The proof that broken triples do no harm: x and z replaced so that the inequality holds."""
    law, family = law_of(name), get_family(name)
    descriptor = family.tasks().descriptors[4].copy()
    valid = descriptor.copy()
    for body in BODIES[name]:
        nominal_inertia = law.model.body(body).inertia
        columns = [family.descriptor.index(f"inertia_{body}_{axis}") for axis in "xyz"]
        about_y = nominal_inertia[1] * np.exp(descriptor[columns[1]])
        valid[columns[0]], valid[columns[2]] = np.log(0.6 * about_y / nominal_inertia[[0, 2]])
    inertia = law.task_model(valid).body_inertia[1:]
    assert (2 * inertia.max(axis=1) <= inertia.sum(axis=1)).all()
    assert np.abs(trajectory(name, valid) - trajectory(name, descriptor)).max() < 1e-6


# --- derived constants


def compiled(name, descriptor):
    """What the compiler makes of a robot with the task's inertials, damping and friction written in its file."""
    law, family = law_of(name), get_family(name)
    file = Path(gymnasium.envs.mujoco.__file__).parent / "assets" / family.assets[0]
    spec = mujoco.MjSpec.from_string(file.read_text())
    spec.compiler.inertiafromgeom = 0  # never: explicit inertials
    spec.option.timestep = law.model.opt.timestep
    factor = dict(zip(family.descriptor, np.exp(descriptor), strict=True))
    for body in spec.bodies[1:]:
        original, label = law.model.body(body.name), body.name
        body.explicitinertial = True
        body.mass = original.mass[0] * factor[f"mass_{label}"]
        body.inertia = [original.inertia[i] * factor[f"inertia_{label}_{axis}"] for i, axis in enumerate("xyz")]
        body.ipos, body.iquat = original.ipos, original.iquat
    for joint in spec.joints:
        joint.damping = joint.damping * factor[f"damping_{joint.name.removesuffix('_joint')}"]
    for geom in spec.geoms:
        label = geom.name.removesuffix("_geom")
        geom.friction = [
            f * factor[f"friction_{label}_{kind}"]
            for f, kind in zip(geom.friction, ("slide", "spin", "roll"), strict=True)
        ]
    return spec.compile()


DERIVED = ("body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0", "actuator_acc0", "actuator_length0")
WRITTEN = ("body_mass", "body_inertia", "dof_damping", "geom_friction")


@every_params
def test_a_tasks_model_is_the_one_a_compiler_would_make(name):
    """With equal factors for the three moments: the compiler refuses those that break the triangle inequality."""
    family, law = get_family(name), law_of(name)
    descriptor = family.tasks().descriptors[1].copy()
    for body in ("world", *BODIES[name]):
        columns = [family.descriptor.index(f"inertia_{body}_{axis}") for axis in "xyz"]
        descriptor[columns] = descriptor[columns[1]]
    expected, model = compiled(name, descriptor), law.task_model(descriptor)
    for array in (*DERIVED, *WRITTEN):
        np.testing.assert_allclose(getattr(model, array), getattr(expected, array), rtol=1e-9, atol=1e-12)
    for array in DERIVED[:-1]:  # and these are not the nominal robot's
        assert not np.allclose(getattr(model, array), getattr(law.model, array), rtol=1e-2)
    # only the compiler fills model.stat, whose mean inertia scales the solver's tolerance: it moves the same
    assert np.abs(trajectory(name, None, model=expected) - trajectory(name, descriptor)).max() < 1e-6


DYNAMICS = [family.name for family in FAMILIES.values() if family.varies == "dynamics" and family.assets]


@pytest.mark.parametrize("name", DYNAMICS)
def test_subtree_masses_are_sums(name):
    law, table = law_of(name), get_family(name).tasks()
    for descriptor in table.descriptors[[0, -1]]:
        model = law.task_model(descriptor)
        below = model.body_mass.copy()
        for body in range(model.nbody - 1, 0, -1):
            below[model.body_parentid[body]] += below[body]
        np.testing.assert_allclose(model.body_subtreemass, below, rtol=1e-12)


@pytest.mark.parametrize(("name", "total"), [("cheetah-mass", 14.0), ("ant-mass", None)])
def test_a_mass_scale_is_another_density(name, total):
    """All masses and moments times the scale: the inverse weights of bodies divided by it, contacts as ever."""
    law, table = law_of(name), get_family(name).tasks()
    total = total or float(law.model.body_mass.sum())
    for task in (0, 29, 69):
        scale = table.descriptors[task, 0]
        model = law.task_model(table.descriptors[task])
        assert model.body_mass.sum() == pytest.approx(total * scale, rel=1e-12)
        np.testing.assert_allclose(model.body_mass, law.model.body_mass * scale, rtol=1e-12)
        np.testing.assert_allclose(model.body_inertia, law.model.body_inertia * scale, rtol=1e-12)
        np.testing.assert_array_equal(model.geom_friction, law.model.geom_friction)
        np.testing.assert_array_equal(model.dof_damping, law.model.dof_damping)
        np.testing.assert_allclose(model.body_invweight0[1], law.model.body_invweight0[1] / scale, rtol=0.2)


@pytest.mark.parametrize("name", DYNAMICS)
def test_tasks_have_models_of_their_own_and_the_nominal_one_stays(name):
    law, table = law_of(name), get_family(name).tasks()
    before = law.model.body_mass.copy()
    models = [law.task_model(descriptor) for descriptor in table.descriptors]
    assert len({id(model) for model in models}) == len(models)
    assert law.task_model(table.descriptors[3]) is models[3]
    np.testing.assert_array_equal(law.model.body_mass, before)
    assert len(np.unique([model.body_mass.sum() for model in models])) == len(models)


def test_reward_families_share_the_nominal_model():
    for name in ("cheetah-vel", "ant-dir", "walker-vel-sparse"):
        law = law_of(name)
        assert law.task_model(get_family(name).tasks().descriptors[5]) is law.model
