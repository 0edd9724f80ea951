"""The ordinary Gymnasium environment of one task, and the registration of all of them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from omrl_bench.envs.families import families, get_family
from omrl_bench.errors import InputError, unknown_name


class TaskEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One task of a family. The horizon is applied by Gymnasium's ``TimeLimit`` (``max_episode_steps``).

    Args:
        family: Name of the family.
        task: Task id; ``reset(options={"task": i})`` changes it.
        render_mode: ``"rgb_array"`` (MuJoCo families) or none.

    Raises:
        InputError: if the family or the task does not exist.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, family: str, task: int = 0, render_mode: str | None = None) -> None:
        self.family = get_family(family)
        self.render_mode = render_mode
        self._table = self.family.tasks()
        self.task = int(self._table.check([task])[0])
        self._law = self.family.make_law()
        self._physics = self._law.single_physics()
        self._renderer: Any = None
        self.metadata = self.metadata | {"render_modes": ["rgb_array"] if hasattr(self._physics, "show") else []}
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise InputError(f"{family} has no render mode {render_mode!r}")
        limit = self.family.action_limit
        self.observation_space = spaces.Box(-np.inf, np.inf, (self.family.observation_size,), np.float64)
        self.action_space = spaces.Box(-limit, limit, (self.family.action_size,), np.float32)

    @property
    def descriptor(self) -> np.ndarray:
        """True parameters of the current task, (descriptor size,)."""
        return self._table.descriptors[self.task].copy()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; ``options["task"]``, the only option, switches to another task.

        Returns:
            The observation (observation size,) float64, and ``{"task": task id}``.

        Raises:
            InputError: if the task or an option does not exist.
        """
        for name in options or ():
            if name != "task":
                raise unknown_name("option of reset", name, ["task"])
        super().reset(seed=seed)
        if options and "task" in options:
            self.task = int(self._table.check([options["task"]])[0])
        self._physics.assign(np.array([0]), self.descriptor[None])
        self._state = self._law.initial_state(self.np_random)[None]
        return self._law.observation(self._state)[0], {"task": self.task}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take one step.

        Args:
            action: (action size,); clipped to the family's limits.

        Returns:
            Observation (observation size,) float64, reward, whether the state is terminal, False (the horizon is
            ``TimeLimit``'s), and ``{"task": task id}``.

        Raises:
            InputError: if the action has another shape.
        """
        limit = self.family.action_limit
        actions = np.clip(np.asarray(action, dtype=np.float64), -limit, limit)[None]
        if actions.shape != (1, self.family.action_size):
            raise InputError(f"the action has shape {actions.shape[1:]}; expected {(self.family.action_size,)}")
        descriptors = self._table.descriptors[[self.task]]
        following = self._physics.advance(self._state, actions)
        reward = float(self._law.reward(self._state, actions, following, descriptors)[0])
        self._state = following
        terminated = bool(self._law.terminated(following)[0])
        return self._law.observation(following)[0], reward, terminated, False, {"task": self.task}

    def render(self) -> np.ndarray | None:
        """Return the current picture, (height, width, 3) uint8, of a MuJoCo family."""
        data = getattr(self._physics, "data", None)
        if self.render_mode != "rgb_array" or data is None:
            return None
        import mujoco

        model = self._physics.model  # type: ignore[attr-defined]
        if self._renderer is not None and self._renderer.model is not model:  # the task has another model
            self.close()
        if self._renderer is None:
            self._renderer = mujoco.Renderer(model, 240, 320)
        self._physics.show(self._state)  # type: ignore[attr-defined]
        self._renderer.update_scene(data, camera="track")
        picture: np.ndarray = self._renderer.render()
        return picture

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def register() -> None:
    """Register every family with Gymnasium, those of installed packages too.

    One that cannot be loaded is left out without a word, because this runs in every program; ``omrl-bench list
    families`` says what is wrong. A package that is itself being imported is such a one: ``import omrl_bench.envs``
    before it, or call this after it.
    """
    for family in families()[0].values():
        if family.env_id not in gymnasium.registry:
            gymnasium.register(
                family.env_id,
                entry_point="omrl_bench.envs.single:TaskEnv",
                max_episode_steps=family.horizon,
                kwargs={"family": family.name},
            )
