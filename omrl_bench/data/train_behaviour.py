"""Training of a family's behaviour policy: one task-conditioned agent on the batched simulator.

Only the maintainers of the datasets need this module (extra ``collect``); its result, a handful of small
actors, is part of the repository (``data/policies``).
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from safetensors.torch import save_file
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from omrl_bench.api import BEHAVIOURS
from omrl_bench.data.behaviour import CheckpointActor
from omrl_bench.data.build import roll_out
from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import Family
from omrl_bench.errors import InputError

SAVE_EVERY = 5  # points of the curve between states to resume from


@dataclass(frozen=True)
class SacConfig:
    """Settings of a behaviour policy that is trained with SAC."""

    lanes: int = 40  # environments stepped together
    updates: int = 92_000  # gradient updates in all
    updates_per_step: int = 16  # gradient updates per step of all lanes
    width: int = 256  # two hidden layers of this width in actor and critics
    batch: int = 256
    learning_rate: float = 1e-3
    discount: float = 0.97
    random_steps: int = 8_000  # transitions of uniform actions before the first update
    checkpoint_every: int = 4_000  # updates between evaluations, each of which keeps its actor
    seed: int = 0


@dataclass(frozen=True)
class PpoConfig:
    """Settings of a behaviour policy that is trained with PPO; observations and rewards are normalised."""

    lanes: int = 128  # environments stepped together
    updates: int = 5_000  # passes over a batch in all
    rollout: int = 64  # steps of all lanes per batch
    epochs: int = 8  # passes over each batch
    width: int = 128  # two hidden layers of this width in actor and critic
    batch: int = 1_024
    learning_rate: float = 3e-4  # at the start; it goes down to 0
    discount: float = 0.98
    log_std: float = -0.7  # of the actions, at the start
    checkpoint_every: int = 200  # passes between evaluations, each of which keeps its actor
    from_law: bool = False  # a new task of the family's law for each episode, instead of one of its table
    widened: int = 0  # updates over which what is drawn from the law grows from the descriptor 0 to its full size
    seed: int = 0


#: The learner that was found best, and its settings, by family; SAC with the default settings elsewhere.
CONFIGS: dict[str, SacConfig | PpoConfig] = {
    "ant-dir": PpoConfig(updates=7_000),
    "ant-goal": PpoConfig(updates=3_400),
    "ant-mass": PpoConfig(updates=3_600),
    "cheetah-mass": SacConfig(updates=60_000),
    "cheetah-dir": SacConfig(updates=60_000),
    "walker-vel-sparse": SacConfig(updates=52_000),
    "hopper-params": PpoConfig(updates=4_500, width=256, discount=0.99, from_law=True, widened=2_000),
    "walker-params": PpoConfig(updates=5_500, width=256, discount=0.99, from_law=True, widened=2_500),
}


class TaskConditionedVecEnv(VecEnv):
    """Stable-Baselines3's view of a :class:`BatchedEnv`; the descriptor is part of the observation.

    Every lane draws a task at each reset: of the family's whole table, or of its law and, one in four, of what lies
    beyond.

    Args:
        family: The family.
        lanes: Number of lanes.
        seed: Of the tasks and of the environment seeds.
        from_law: Whether tasks are of the law.
        widened: Steps of all lanes over which the law's descriptors grow from 0, the nominal robot, to their full size:
            one that begins with every robot at once learns to stand and no more.

    Attributes:
        steps: Steps of all lanes until now.
    """

    BEYOND = 0.25

    def __init__(self, family: Family, lanes: int, seed: int, from_law: bool = False, widened: int = 0) -> None:
        self._env = BatchedEnv(family, lanes)
        self._table = family.tasks()
        self._law = family.task_law if from_law else None
        # what makes no difference would only be noise to learn from
        self._told = np.array(self._law.felt) if self._law and self._law.felt else np.ones(len(family.descriptor))
        self._widened, self.steps = widened, 0
        self._rng = np.random.default_rng(seed)
        self._descriptors = np.zeros((lanes, len(family.descriptor)))
        size = family.observation_size + len(family.descriptor)
        limit = family.action_limit
        super().__init__(
            lanes,
            spaces.Box(-np.inf, np.inf, (size,), np.float32),
            spaces.Box(-limit, limit, (family.action_size,), np.float32),
        )

    def _observe(self, observations: np.ndarray) -> np.ndarray:
        return np.concatenate([observations, self._descriptors * self._told], axis=1).astype(np.float32)

    def _restart(self, lanes: np.ndarray) -> np.ndarray:
        self._descriptors[lanes] = self._draw(lanes.size)
        seeds = self._rng.integers(2**31, size=lanes.size)
        return self._observe(self._env.reset_to(self._descriptors[lanes], seeds, lanes))

    def _draw(self, count: int) -> np.ndarray:
        """Descriptors of new tasks, (count, descriptor size)."""
        if self._law is None:
            return self._table.descriptors[self._rng.integers(len(self._table), size=count)]
        size = min(1.0, self.steps / self._widened) if self._widened else 1.0
        drawn = self._law.inside(self._rng, count)
        if self._law.beyond is None:
            return size * drawn
        far = self._rng.random(count) < self.BEYOND
        return size * np.where(far[:, None], self._law.beyond(self._rng, count), drawn)

    def reset(self) -> np.ndarray:
        """Start an episode in every lane."""
        return self._restart(np.arange(self.num_envs))

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step all lanes and restart those that ended."""
        observations, rewards, terminated, truncated = self._env.step(self._actions)
        self.steps += 1
        view = self._observe(observations)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            lanes = np.flatnonzero(done)
            for lane in lanes:
                infos[lane] = {
                    "terminal_observation": view[lane],
                    "TimeLimit.truncated": bool(truncated[lane] and not terminated[lane]),
                }
            view = self._restart(lanes)
        return view, rewards.astype(np.float32), done, infos

    def close(self) -> None:
        """Nothing to free."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Stable-Baselines3 asks for ``render_mode`` only."""
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Lanes have no attributes of their own."""

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Lanes have no methods of their own."""
        return [None] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Lanes are never wrapped."""
        return [False] * self.num_envs


def actor_tensors(agent: SAC | PPO) -> dict[str, torch.Tensor]:
    """Return an actor's weights in half precision, as :class:`omrl_bench.data.behaviour.CheckpointActor` reads them."""
    if isinstance(agent, SAC):
        actor = agent.policy.actor
        layers: list[Any] = [layer for layer in actor.latent_pi if isinstance(layer, torch.nn.Linear)]
        layers += [actor.mu, actor.log_std]
    else:
        policy = agent.policy
        layers = [layer for layer in policy.mlp_extractor.policy_net if isinstance(layer, torch.nn.Linear)]
        layers += [policy.action_net]
    tensors = {}
    for name, layer in zip(("hidden0", "hidden1", "mean", "log_std"), layers, strict=False):  # PPO has no fourth
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = layer.weight.detach(), layer.bias.detach()
    if isinstance(agent, PPO):
        tensors["log_std"] = agent.policy.log_std.detach()
        normalise = agent.get_vec_normalize_env()
        assert normalise is not None
        # the normalisation of the observations becomes part of the first layer
        moments = normalise.obs_rms
        assert isinstance(moments, RunningMeanStd)
        scale = torch.as_tensor(1 / np.sqrt(moments.var + normalise.epsilon), dtype=torch.float32)
        mean = torch.as_tensor(moments.mean, dtype=torch.float32)
        # an input that never varied says nothing: its weights are what they were at the start
        weight = tensors["hidden0.weight"] * scale * torch.as_tensor(moments.var > 0)
        tensors |= {"hidden0.weight": weight, "hidden0.bias": tensors["hidden0.bias"] - weight @ mean}
    return {name: tensor.half().contiguous() for name, tensor in tensors.items()}


def evaluate(tensors: dict[str, torch.Tensor], family: Family, deterministic: bool) -> float:
    """Mean return of an actor, one episode on each task of the family's table."""
    tasks = family.tasks().ids()
    actor = CheckpointActor(family, [{name: tensor.numpy() for name, tensor in tensors.items()}])
    rng = np.random.default_rng(0)
    first = np.zeros_like(tasks)
    rolled = roll_out(family, actor, tasks, first, 10**6 + tasks, rng, threads=1, deterministic=deterministic)
    return float(rolled.episodes.returns().mean())


class _Checkpoints(BaseCallback):
    """Keeps an actor and a point of the curve every so many updates; saves the agent to resume from."""

    def __init__(self, family: Family, every: int, folder: Path) -> None:
        super().__init__()
        self.family, self.every, self.folder = family, every, folder
        self.curve = folder / "curve.csv"

    def _keep(self) -> None:
        agent = self.model
        assert isinstance(agent, (SAC, PPO))
        updates = agent._n_updates
        tensors = actor_tensors(agent)
        returns = [evaluate(tensors, self.family, deterministic) for deterministic in (True, False)]
        save_file(tensors, self.folder / f"actor-{updates:07d}.safetensors")
        with self.curve.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([updates, agent.num_timesteps, *(f"{r:.2f}" for r in returns)])
        self.points += 1
        self.kept = updates
        if self.points % SAVE_EVERY == 0:
            _save(agent, self.folder)

    def _on_training_start(self) -> None:
        agent = self.model
        assert isinstance(agent, (SAC, PPO))
        self.points, self.kept = 0, agent._n_updates
        self.due = agent._n_updates - agent._n_updates % self.every + self.every
        if not self.curve.exists():
            self.curve.write_text("updates,steps,return_deterministic,return_stochastic\n", encoding="utf-8")
            self._keep()

    def _on_step(self) -> bool:
        agent = self.model
        assert isinstance(agent, (SAC, PPO))
        if agent._n_updates >= self.due:
            self._keep()
            self.due += self.every
        return True

    def _on_training_end(self) -> None:
        agent = self.model
        assert isinstance(agent, (SAC, PPO))
        if agent._n_updates > self.kept:
            self._keep()


def train(family: Family, config: SacConfig | PpoConfig, folder: Path) -> None:
    """Train the behaviour policy in ``folder``; the same call resumes an interrupted training.

    Leaves ``curve.csv`` (updates, environment steps, mean return over all tasks with the mean action and
    with sampled actions) and one ``actor-<updates>.safetensors`` per point of the curve.
    """
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    resumed = (folder / "agent.zip").exists()
    env = _environment(family, config, config.seed + resumed)
    agent = _resume(config, env, folder) if resumed else _start(family, config, env)
    if resumed:
        env.steps = agent.num_timesteps // config.lanes
        _forget_after(folder / "curve.csv", agent._n_updates)
    updates = max(config.updates - agent._n_updates, 0)
    if isinstance(config, SacConfig):
        steps = updates // config.updates_per_step * config.lanes + (0 if resumed else config.random_steps)
    else:
        steps = updates // config.epochs * config.rollout * config.lanes
    callback = _Checkpoints(family, config.checkpoint_every, folder)
    agent.learn(steps, callback, reset_num_timesteps=not resumed)


def _environment(family: Family, config: SacConfig | PpoConfig, seed: int) -> TaskConditionedVecEnv:
    if isinstance(config, SacConfig):
        return TaskConditionedVecEnv(family, config.lanes, seed)
    widened = config.widened // config.epochs * config.rollout
    return TaskConditionedVecEnv(family, config.lanes, seed, config.from_law, widened)


def _start(family: Family, config: SacConfig | PpoConfig, env: VecEnv) -> SAC | PPO:
    if isinstance(config, SacConfig):
        return SAC(
            "MlpPolicy",
            env,
            learning_rate=config.learning_rate,
            batch_size=config.batch,
            buffer_size=2_000_000,
            gamma=config.discount,
            gradient_steps=config.updates_per_step,
            learning_starts=config.random_steps,
            policy_kwargs={"net_arch": [config.width] * 2, "optimizer_kwargs": {"fused": True}},
            seed=config.seed,
        )
    agent = PPO(
        "MlpPolicy",
        VecNormalize(env, clip_obs=np.inf, gamma=config.discount),
        learning_rate=_decayed(config),
        batch_size=config.batch,
        n_steps=config.rollout,
        n_epochs=config.epochs,
        gamma=config.discount,
        policy_kwargs={
            "net_arch": [config.width] * 2,
            "activation_fn": torch.nn.ReLU,
            "log_std_init": config.log_std,
        },
        seed=config.seed,
        device="cpu",
    )
    if config.from_law:
        _forget_descriptors(agent, len(family.descriptor))
    return agent


def _forget_descriptors(agent: PPO, size: int) -> None:
    """Set the weights of the descriptor to 0: what dozens of numbers mean is learnt after how to walk."""
    extractor = agent.policy.mlp_extractor
    with torch.no_grad():
        for network in (extractor.policy_net, extractor.value_net):
            first = network[0]
            assert isinstance(first, torch.nn.Linear)
            first.weight[:, -size:] = 0


def _save(agent: SAC | PPO, folder: Path) -> None:
    """Save what a training resumes from; the agent last, its presence says that the rest is there."""
    if isinstance(agent, SAC):
        agent.save_replay_buffer(folder / "replay")
    else:
        normalise = agent.get_vec_normalize_env()
        assert normalise is not None
        normalise.save(str(folder / "normalise.pkl"))
    agent.save(folder / "agent.part.zip")
    (folder / "agent.part.zip").replace(folder / "agent.zip")


def _resume(config: SacConfig | PpoConfig, env: VecEnv, folder: Path) -> SAC | PPO:
    if isinstance(config, SacConfig):
        sac = SAC.load(folder / "agent.zip", env=env)
        sac.load_replay_buffer(folder / "replay")
        return sac
    normalised = VecNormalize.load(str(folder / "normalise.pkl"), env)
    return PPO.load(folder / "agent.zip", env=normalised, learning_rate=_decayed(config))


def _decayed(config: PpoConfig) -> Callable[[float], float]:
    """Stable-Baselines3's schedule of the fraction that remains."""
    return lambda remaining: config.learning_rate * remaining


def _forget_after(curve: Path, updates: int) -> None:
    """Drop the points of a curve that training will repeat when it resumes from a state."""
    head, *rows = curve.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [row for row in rows if int(row.split(",")[0]) <= updates]
    curve.write_text("".join([head, *kept]), encoding="utf-8")


def select(folder: Path, policies: Path, curve: Path) -> None:
    """Keep ten checkpoints of a training as a family's behaviour policies.

    The expert is the checkpoint with the best mean return of the mean action. The ten are the first, the expert and
    eight between them, at the squares of evenly spaced fractions of its updates: early training, where the policy
    changes most, is sampled most.

    Args:
        folder: Folder of :func:`train`.
        policies: Folder for ``0.safetensors`` .. ``9.safetensors``.
        curve: CSV file for the training's curve, with the chosen checkpoints marked.
    """
    with (folder / "curve.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    updates = np.array([int(row["updates"]) for row in rows])
    expert = int(np.argmax([float(row["return_deterministic"]) for row in rows]))
    chosen: list[int] = []
    for k in range(BEHAVIOURS):
        nearest = int(np.abs(updates - updates[expert] * (k / (BEHAVIOURS - 1)) ** 2).argmin())
        chosen.append(max(nearest, chosen[-1] + 1) if chosen else nearest)
    if chosen[-1] != expert:
        raise InputError(f"{folder}: the best checkpoint is number {expert}; ten need at least ten, train longer")
    policies.mkdir(parents=True, exist_ok=True)
    for k, index in enumerate(chosen):
        shutil.copyfile(folder / f"actor-{updates[index]:07d}.safetensors", policies / f"{k}.safetensors")
    curve.parent.mkdir(parents=True, exist_ok=True)
    with curve.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "behaviour"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "behaviour": chosen.index(i) if i in chosen else ""} for i, row in enumerate(rows))
