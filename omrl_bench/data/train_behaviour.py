"""Training of a family's behaviour policy: one task-conditioned SAC agent on the batched simulator.

Only the maintainers of the datasets need this module (extra ``collect``); its result, a handful of small
actors, is part of the repository (``data/policies``).
"""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from safetensors.torch import save_file
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from omrl_bench.data.behaviour import BEHAVIOURS
from omrl_bench.envs.batched import BatchedEnv
from omrl_bench.envs.families import Family
from omrl_bench.errors import InputError


@dataclass(frozen=True)
class BehaviourConfig:
    """SAC settings of one family's behaviour policy."""

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


#: Settings by family, where the default ones are not the best known.
CONFIGS = {
    "hopper-params": BehaviourConfig(lanes=64, discount=0.99, checkpoint_every=4_000),
    "walker-params": BehaviourConfig(lanes=64, discount=0.99, checkpoint_every=4_000),
    "ant-dir": BehaviourConfig(lanes=80, discount=0.98, checkpoint_every=4_000),
    "ant-mass": BehaviourConfig(lanes=80, discount=0.98, checkpoint_every=4_000),
}


class TaskConditionedVecEnv(VecEnv):
    """Stable-Baselines3's view of a :class:`BatchedEnv`; the descriptor is part of the observation.

    Every lane draws a task of the family's whole table at each reset.
    """

    def __init__(self, family: Family, lanes: int, seed: int) -> None:
        self._env = BatchedEnv(family, lanes)
        self._table = family.tasks()
        self._rng = np.random.default_rng(seed)
        self._tasks = np.zeros(lanes, dtype=np.int64)
        size = family.observation_size + len(family.descriptor)
        limit = family.action_limit
        super().__init__(
            lanes,
            spaces.Box(-np.inf, np.inf, (size,), np.float32),
            spaces.Box(-limit, limit, (family.action_size,), np.float32),
        )

    def _observe(self, observations: np.ndarray) -> np.ndarray:
        return np.concatenate([observations, self._table.descriptors[self._tasks]], axis=1).astype(np.float32)

    def _restart(self, lanes: np.ndarray) -> np.ndarray:
        self._tasks[lanes] = self._rng.integers(len(self._table), size=lanes.size)
        seeds = self._rng.integers(2**31, size=lanes.size)
        return self._observe(self._env.reset(self._tasks[lanes], seeds, lanes))

    def reset(self) -> np.ndarray:
        """Start an episode in every lane."""
        return self._restart(np.arange(self.num_envs))

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step all lanes and restart those that ended."""
        observations, rewards, terminated, truncated = self._env.step(self._actions)
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


def actor_tensors(model: SAC) -> dict[str, torch.Tensor]:
    """Return a SAC actor's weights in half precision, under the names :mod:`omrl_bench.data.behaviour` reads."""
    actor = model.policy.actor
    layers = [layer for layer in (*actor.latent_pi, actor.mu, actor.log_std) if isinstance(layer, torch.nn.Linear)]
    names = [f"hidden{i}" for i in range(len(layers) - 2)] + ["mean", "log_std"]
    tensors = {}
    for name, layer in zip(names, layers, strict=True):
        tensors[f"{name}.weight"] = layer.weight.detach().half().contiguous()
        tensors[f"{name}.bias"] = layer.bias.detach().half().contiguous()
    return tensors


def evaluate(model: SAC, family: Family, seed: int, deterministic: bool) -> float:
    """Mean return of one episode on each task of the family's table."""
    table = family.tasks()
    tasks = table.ids()
    env = BatchedEnv(family, len(tasks))
    observations = env.reset(tasks, seed + tasks)
    returns = np.zeros(len(tasks))
    alive = np.ones(len(tasks), dtype=bool)
    for _ in range(family.horizon):
        view = np.concatenate([observations, table.descriptors], axis=1).astype(np.float32)
        actions, _ = model.predict(view, deterministic=deterministic)
        observations, rewards, terminated, _ = env.step(actions)
        returns += rewards * alive
        alive &= ~terminated
    return float(returns.mean())


class _Checkpoints(BaseCallback):
    """Keeps an actor and a point of the curve every so many updates; saves the agent to resume from."""

    def __init__(self, family: Family, config: BehaviourConfig, folder: Path) -> None:
        super().__init__()
        self.family, self.config, self.folder = family, config, folder
        self.curve = folder / "curve.csv"

    def _keep(self) -> None:
        agent = self.model
        assert isinstance(agent, SAC)
        updates = agent._n_updates
        returns = [evaluate(agent, self.family, 10**6, deterministic) for deterministic in (True, False)]
        save_file(actor_tensors(agent), self.folder / f"actor-{updates:07d}.safetensors")
        with self.curve.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([updates, agent.num_timesteps, *(f"{r:.2f}" for r in returns)])
        if updates % (10 * self.config.checkpoint_every) < self.config.updates_per_step:
            agent.save(self.folder / "agent.zip")
            agent.save_replay_buffer(self.folder / "replay")

    def _on_training_start(self) -> None:
        if not self.curve.exists():
            self.curve.write_text("updates,steps,return_deterministic,return_stochastic\n", encoding="utf-8")
            self._keep()

    def _on_step(self) -> bool:
        agent = self.model
        assert isinstance(agent, SAC)
        if agent._n_updates and agent._n_updates % self.config.checkpoint_every < self.config.updates_per_step:
            self._keep()
        return True


def train(family: Family, config: BehaviourConfig, folder: Path) -> None:
    """Train the behaviour policy in ``folder``; the same call resumes an interrupted training.

    Leaves ``curve.csv`` (updates, environment steps, mean return over all tasks with the mean action and
    with sampled actions) and one ``actor-<updates>.safetensors`` per point of the curve.
    """
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    saved = folder / "agent.zip"
    env = TaskConditionedVecEnv(family, config.lanes, config.seed + saved.exists())
    if saved.exists():
        agent = SAC.load(saved, env=env)
        agent.load_replay_buffer(folder / "replay")
        _forget_from(folder / "curve.csv", agent._n_updates)
    else:
        agent = SAC(
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
    steps = config.random_steps + config.updates // config.updates_per_step * config.lanes
    agent.learn(
        steps - agent.num_timesteps, _Checkpoints(family, config, folder), reset_num_timesteps=not saved.exists()
    )


def _forget_from(curve: Path, updates: int) -> None:
    """Drop the points of a curve that training will repeat when it resumes from a state."""
    head, *rows = curve.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [row for row in rows if int(row.split(",")[0]) < updates]
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
