"""Checks of a family, for ``omrl-bench smoke --family`` and for the tests of the package that brings it."""

from __future__ import annotations

import re
import subprocess
import sys
import traceback
from collections.abc import Callable

import gymnasium
import numpy as np
from scipy.stats import spearmanr
from threadpoolctl import threadpool_limits

from omrl_bench.api import BEHAVIOURS
from omrl_bench.data.behaviour import EXPERT, ReplayActor, make_actor
from omrl_bench.data.build import collect, roll_out
from omrl_bench.data.episodes import Episodes
from omrl_bench.data.manifest import compare, read_manifest
from omrl_bench.data.meta_dataset import MetaDataset
from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import Family
from omrl_bench.envs.single import TaskEnv, register
from omrl_bench.errors import InputError
from omrl_bench.processes import processors
from omrl_bench.vocabulary import DATASETS

VARIES = ("reward", "dynamics", "reward and dynamics")
#: Tasks of two splits are near-duplicates if no parameter differs by this share of the parameter's range, or more.
NEAR = 1e-3
#: Rank correlation of skill and mean return that behaviours have at least.
RANK_CORRELATION = 0.7
#: The expert gains this share of the median task's gain over the random policy in every task, at least.
LEAST_GAIN = 0.05
TASKS, EACH = 6, 2  # looked at in simulations, and the expert's episodes of each
TOLERANCE = 1e-5  # of rewards that are computed again
SECONDS = 60  # until another process must have found the family


class FamilyError(Exception):
    """What is wrong with a family, in words."""


def check_family(family: Family, passed: Callable[[str], None] = lambda text: None) -> None:
    """Check a family in seconds: its entry, tasks, law, behaviour policies and manifest.

    Args:
        family: The family.
        passed: Called with the name of each check that passes.

    Raises:
        FamilyError: what is wrong first, in words; an exception of the family's own code is its cause.
    """
    register()
    checks = (_entry, _tasks, _law, _endings, _actions, _differences, _skill, _fingerprint, _manifest)
    for check in checks:
        try:
            with threadpool_limits(1):  # products of a few rows: threads would wait for each other
                done = check(family)
        except (FamilyError, InputError) as error:
            raise FamilyError(str(error)) from error
        except (Exception, SystemExit) as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise FamilyError(f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno})") from error
        passed(done)


def _expect(condition: object, otherwise: str) -> None:
    if not condition:
        raise FamilyError(otherwise)


def _entry(family: Family) -> str:
    """Names, sizes, and the environment that Gymnasium makes of them."""
    _expect(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", family.name), "its name is not in lower case, parts joined by '-'")
    _expect(re.fullmatch(r"\w+/\w+-v\d+", family.env_id), f"its id {family.env_id!r} is not like 'omrl/PointGoal-v1'")
    _expect(family.varies in VARIES, f"varies is {family.varies!r}; it is one of: {', '.join(VARIES)}")
    sizes = (family.horizon, family.observation_size, family.action_size, len(family.descriptor))
    _expect(min(sizes) >= 1 and family.action_limit > 0, "horizon, sizes, descriptor and action limit are positive")
    spec = gymnasium.spec(family.env_id)
    mine = (spec.kwargs.get("family"), spec.max_episode_steps) == (family.name, family.horizon)
    _expect(mine, f"{family.env_id} is registered with Gymnasium by something else; choose another id")
    env = gymnasium.make(family.env_id, disable_env_checker=True)  # it warns; this says
    observation, _ = env.reset(seed=0)
    expected = (family.observation_size,)
    _expect(observation.shape == expected, f"an observation has shape {observation.shape}; the entry says {expected}")
    _expect(observation.dtype == np.float64, f"an observation is {observation.dtype}; the law works in float64")
    _expect(np.isfinite(observation).all(), "the first observation holds NaN or infinity")
    return "its entry fits its environment: id, horizon, sizes"


def _tasks(family: Family) -> str:
    """The task table."""
    table = family.tasks()
    for split in ("train", "validation", "test"):
        _expect(len(table.ids(split)), f"its task table has no {split} tasks")
    _expect(len(table.ids("train")) >= 2, "its task table has one training task; to tell tasks apart takes two")
    _expect(np.isfinite(table.descriptors).all(), "its task table holds NaN or infinity")
    if not table.train_is_test:
        within = table.ids("train", "validation", "test")
        span = np.ptp(table.descriptors[within], axis=0)
        places = table.descriptors / np.where(span > 0, span, 1)
        train, others = table.ids("train"), table.ids("validation", "test", "extrapolation")
        distances = np.abs(places[train][:, None] - places[others]).max(axis=2)
        first, second = np.unravel_index(distances.argmin(), distances.shape)
        _expect(
            distances.min() >= NEAR,
            f"task {others[second]} ({table.splits[others[second]]}) is nearly the training task {train[first]}; "
            "what is judged must not have been trained on",
        )
    if family.goals is not None:
        goals = family.goals(table.descriptors)
        _expect(family.observation_size >= 2, "it has goals in the plane, but observes no two coordinates")
        _expect(
            goals.ndim == 3 and goals.shape[::2] == (len(table), 2),
            f"goals have shape {goals.shape}; expected (tasks, goals, 2) with {len(table)} tasks",
        )
    return f"{len(table)} tasks: training, validation and test, no near-duplicates between them"


def _law(family: Family) -> str:
    """The batched simulation against single environments, and against itself, with random actions."""
    tasks = _some_tasks(family)
    seeds = np.arange(len(tasks)) + 1
    actions = _random_actions(family, len(tasks))
    before = _global_generator()
    batched = _rolled(BatchedEnv(family, len(tasks)), tasks, seeds, actions)
    again = _rolled(BatchedEnv(family, len(tasks)), tasks, seeds, actions)
    _expect(
        _global_generator() == before,
        "it uses the global generator of np.random; draw from the one that initial_state is given",
    )
    _expect(_same(batched, again), "the same seeds and actions do not give the same episodes twice")
    for lane, task in enumerate(tasks):
        env = TaskEnv(family.name, int(task))
        observation, _ = env.reset(seed=int(seeds[lane]))
        _expect(
            np.array_equal(observation, batched[0][0, lane]),
            f"task {task} begins differently alone and in a batch: initial_state must depend on its generator only",
        )
        for step in range(family.horizon):
            observation, reward, ended, _, _ = env.step(actions[step, lane])
            one = (observation, np.asarray(reward), np.asarray(ended))
            many = (batched[0][step + 1, lane], batched[1][step, lane], batched[2][step, lane])
            _expect(
                _same(one, many),
                f"step {step} of task {task} differs between one environment and a batch: each lane's numbers must "
                "depend on that lane only",
            )
            if ended:
                break
    return "one environment and a batch give the same numbers, bit for bit; the same seed the same episode"


def _endings(family: Family) -> str:
    """Terminal states are states; the horizon is no part of the law."""
    tasks = _some_tasks(family)
    env = BatchedEnv(family, len(tasks))
    law = family.make_law()
    starts = np.stack([law.initial_state(np.random.default_rng(seed)) for seed in range(8)])
    flags = law.terminated(starts)
    _expect(
        isinstance(flags, np.ndarray) and flags.dtype == bool and flags.shape == (len(starts),),
        "terminated() must return a bool for each lane",
    )
    _expect(not flags.any(), "an episode begins in a terminal state")
    _, _, ended = _rolled(env, tasks, np.arange(len(tasks)), 0 * _random_actions(family, len(tasks)))
    first = np.where(ended.any(axis=0), ended.argmax(axis=0), -1)
    _expect(
        (first != family.horizon - 1).any(),
        f"every episode terminates at its last step, {family.horizon}: the horizon is a truncation, and is applied "
        "outside the law",
    )
    return "terminations are states of the law, truncations the horizon"


def _actions(family: Family) -> str:
    """What the behaviours do in one step."""
    behaviours = np.arange(BEHAVIOURS)
    lanes = np.resize(_some_tasks(family), BEHAVIOURS)
    actor, rng = make_actor(family), np.random.default_rng(0)
    observations = BatchedEnv(family, BEHAVIOURS).reset(lanes, behaviours)
    actor.reset(behaviours, rng)
    actions = actor.act(observations, family.tasks().descriptors[lanes], rng)
    expected = (BEHAVIOURS, family.action_size)
    _expect(np.shape(actions) == expected, f"behaviours act with shape {np.shape(actions)}; expected {expected}")
    _expect(np.isfinite(actions).all(), "behaviours act with NaN or infinity")
    within = np.abs(actions).max() <= family.action_limit * (1 + 1e-6)
    _expect(within, f"behaviours act beyond {family.action_limit}: clip")
    return "ten behaviours act within the limits"


def _differences(family: Family) -> str:
    """What differs between tasks is what the entry says."""
    expert = _expert(family, _some_tasks(family, "train"))
    lanes = np.arange(len(expert.tasks))
    others = np.roll(expert.tasks, EACH)
    rng = np.random.default_rng(0)
    actor = ReplayActor(expert, family.horizon)
    moved = roll_out(family, actor, others, lanes, expert.seeds, rng, threads=1)
    _expect(not moved.dropped, "an expert's actions make another task's simulation unstable")
    elsewhere = moved.episodes
    same = _paths_agree(expert, elsewhere)
    if "dynamics" in family.varies:
        _expect(not same, "varies says dynamics, but the same actions lead to the same places in all tasks")
        return "the same actions lead elsewhere in another task"
    _expect(same, "varies says reward, but the same actions lead elsewhere in another task")
    data = MetaDataset(family, expert, frozenset({"reward_function"}))
    numbers = np.arange(len(data.episode_offsets) - 1)
    own = np.searchsorted(data.task_episodes, numbers, side="right") - 1
    relabelled = data.relabelled_rewards(numbers, own)
    bounds = zip(data.episode_offsets[:-1], data.episode_offsets[1:], strict=True)
    pairs = list(zip(relabelled, (data.rewards[a:b] for a, b in bounds), strict=True))
    _expect(
        all(np.allclose(new[: len(old)], old, rtol=TOLERANCE, atol=TOLERANCE) for new, old in pairs),
        "rewards of logged episodes, computed again, are not those that were logged",
    )
    _expect(
        not np.allclose(expert.returns(), elsewhere.returns()),
        "varies says reward, but an expert's episodes earn the same in another task",
    )
    return "rewards differ between tasks and can be relabelled"


def _skill(family: Family) -> str:
    """Ten behaviours from bad to expert."""
    tasks, each = (_some_tasks(family)[::2], 4) if family.assets else (_some_tasks(family), 20)  # seconds
    behaviours = np.tile(np.repeat(np.arange(BEHAVIOURS), each), len(tasks))
    lanes, rng = np.repeat(tasks, BEHAVIOURS * each), np.random.default_rng(0)
    seeds = np.arange(len(lanes))
    episodes = roll_out(family, make_actor(family), lanes, behaviours, seeds, rng, processors()).episodes
    returns = episodes.returns()
    means = np.array([returns[episodes.behaviours == k].mean() for k in range(BEHAVIOURS)])
    rising = spearmanr(np.arange(BEHAVIOURS), means).statistic
    shown = ", ".join(f"{mean:.4g}" for mean in means)
    _expect(rising >= RANK_CORRELATION, f"returns do not rise with the behaviour's skill, from 0 to 9: {shown}")
    best = means[EXPERT] >= means.max() - 0.2 * np.ptp(means)
    _expect(best, f"behaviour 9 is the expert, but others are better: {shown}")
    return "returns rise with the behaviour's skill"


def _fingerprint(family: Family) -> str:
    """Another process finds the family and computes the same fingerprint."""
    code = "import sys; from omrl_bench.envs.families import get_family; print(get_family(sys.argv[1]).fingerprint())"
    command = [sys.executable, "-P", "-c", code, family.name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    _expect(
        done.returncode == 0,
        f"another process does not find it; is its package installed? {(done.stderr.splitlines() or [''])[-1]}",
    )
    mine = family.fingerprint()
    _expect(
        done.stdout.strip() == mine,
        f"its fingerprint is {mine} here and {done.stdout.strip()} in another process: the entry must be constant",
    )
    return f"fingerprint {mine}, in another process too"


def _manifest(family: Family) -> str:
    """The manifest is there, of this definition, and what the behaviours give."""
    manifest, count = read_manifest(family), len(family.tasks())
    _expect(manifest.family == family.name, f"its manifest is that of {manifest.family}")
    random, expert = np.array(manifest.random), np.array(manifest.expert)
    _expect(len(random) == len(expert) == count, f"its manifest has {len(random)} tasks, its task table {count}")
    absent = [quality for quality in DATASETS if quality not in manifest.datasets]
    _expect(not absent, f"its manifest lacks dataset {', '.join(absent)}")
    gain = expert - random
    weakest = int(gain.argmin())
    _expect(
        gain[weakest] > LEAST_GAIN * np.median(gain) > 0,
        f"task {weakest}'s reference returns are {random[weakest]:.4g} (random) and {expert[weakest]:.4g} (expert): "
        "a score between them says nothing",
    )
    if family.assets:  # minutes
        return "manifest of this definition, random and expert apart in every task"
    for quality in DATASETS:
        if not manifest.datasets[quality].source:
            collected = collect(family, quality, threads=1, levels=manifest.levels())
            status, reason = compare(collected.episodes, family, quality)
            _expect(status != "wrong", f"dataset {quality} is not the manifest's: {reason}; freeze it again")
    return "manifest of this definition and of what its behaviours do; random and expert apart in every task"


def _some_tasks(family: Family, *splits: str) -> np.ndarray:
    ids = family.tasks().ids(*splits)
    return np.unique(ids[np.linspace(0, len(ids) - 1, min(TASKS, len(ids))).astype(int)])


def _random_actions(family: Family, lanes: int) -> np.ndarray:
    """(horizon, lanes, action size)."""
    limit = family.action_limit
    return np.random.default_rng(0).uniform(-limit, limit, (family.horizon, lanes, family.action_size))


def _rolled(
    env: BatchedEnv, tasks: np.ndarray, seeds: np.ndarray, actions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observations (steps + 1, lanes, size), rewards and terminations (steps, lanes) of whole episodes."""
    observations, rewards, terminated = [env.reset(tasks, seeds)], [], []
    shape = (env.lanes,)
    for step_actions in actions:
        observation, reward, ended, _ = env.step(step_actions)
        for name, array in (("reward", reward), ("terminated", ended)):
            _expect(np.shape(array) == shape, f"{name}() returns shape {np.shape(array)} for {env.lanes} lanes")
        observations.append(observation)
        rewards.append(reward)
        terminated.append(ended)
    return np.stack(observations), np.stack(rewards), np.stack(terminated)


def _global_generator() -> tuple[bytes, int]:
    state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002  (the check that nobody uses it)
    return state["key"].tobytes(), state["pos"]


def _same(first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...]) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True))


def _expert(family: Family, tasks: np.ndarray) -> Episodes:
    lanes, rng = np.repeat(tasks, EACH), np.random.default_rng(0)
    behaviours = np.full(len(lanes), EXPERT)
    return roll_out(family, make_actor(family), lanes, behaviours, np.arange(len(lanes)), rng, threads=1).episodes


def _paths_agree(first: Episodes, second: Episodes) -> bool:
    """Whether two sets of episodes with the same actions go the same way, as long as both go on."""
    for number in range(len(first.tasks)):
        here, there = first.offsets[number : number + 2], second.offsets[number : number + 2]
        steps = min(np.diff(here)[0], np.diff(there)[0])
        mine = first.next_observations[here[0] : here[0] + steps]
        if not np.array_equal(mine, second.next_observations[there[0] : there[0] + steps]):
            return False
    return True
