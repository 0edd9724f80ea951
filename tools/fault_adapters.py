"""Methods of the fault campaign: two that are good, and five that go wrong."""

import json
import os
import signal
import time

import numpy as np

from omrl_bench.api import Algorithm, MetaPolicy


class Linear(MetaPolicy):
    def __init__(self, weights, limit):
        self.weights, self.limit = weights, limit

    def reset(self, lanes):
        self.goals = np.zeros((lanes, 2))

    def condition(self, context):
        self.goals = context.observations[:, -1].astype(float)

    def act(self, observations, explore=False):
        inputs = np.concatenate([observations, self.goals], axis=1)
        return np.clip(inputs @ self.weights, -self.limit, self.limit).astype(np.float32)


class Clone(Algorithm):
    """Regression of actions on (s, last state of the episode), one seed after the other."""

    def fit(self, data, budget, seeds, log):
        self.weights = {}
        for seed in seeds:
            rng = np.random.default_rng(seed)
            self.weights[seed] = rng.normal(0, 0.1, (4, 2))
            for step in range(20):
                episodes = data.sample_episodes([rng], data.sample_tasks([rng], 8))[0]
                rows = data.sample_within([rng], episodes[None], 8)[0]
                goals = data.next_observations[data.episode_offsets[episodes + 1] - 1]
                goals = np.repeat(goals[:, None], 8, axis=1)
                inputs = np.concatenate([data.observations[rows], goals], axis=2).reshape(-1, 4)
                error = inputs @ self.weights[seed] - data.actions[rows].reshape(-1, 2)
                self.weights[seed] -= 0.1 * inputs.T @ error / len(inputs)
                log("policy", step + 1, 20, seeds=[seed])

    def policy(self, seed):
        return Linear(self.weights[seed], self.space.action_limit)

    def save(self, folder):
        text = json.dumps({seed: weights.tolist() for seed, weights in self.weights.items()})
        (folder / "weights.json").write_text(text)

    def load(self, folder):
        text = (folder / "weights.json").read_text()
        self.weights = {int(seed): np.array(weights) for seed, weights in json.loads(text).items()}


class Other(Clone):
    """The same with other numbers: its weights can be loaded by mistake."""

    def fit(self, data, budget, seeds, log):
        super().fit(data, budget, [seed + 100 for seed in seeds], lambda *given, **named: None)
        self.weights = {seed - 100: weights for seed, weights in self.weights.items()}
        log("policy", 1, 1)


class Raises(Clone):
    def fit(self, data, budget, seeds, log):
        raise RuntimeError("the matrix is singular")


class Killed(Clone):
    def fit(self, data, budget, seeds, log):
        os.kill(os.getpid(), signal.SIGKILL)


class Exits(Clone):
    def fit(self, data, budget, seeds, log):
        os._exit(3)


class Nan(Linear):
    def act(self, observations, explore=False):
        return super().act(observations) * np.nan


class NotANumber(Clone):
    def policy(self, seed):
        return Nan(self.weights[seed], self.space.action_limit)


class Hangs(Clone):
    def fit(self, data, budget, seeds, log):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
