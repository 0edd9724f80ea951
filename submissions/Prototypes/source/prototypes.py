"""Prototypes: which training task would have given these rewards, and what was done there.

Every training task k has a prototype: a model of its reward, and a clone of its best episodes. All are ridge
regressions on the same random Fourier features phi, so that training is the solution of linear equations:

    reward model   w_k = argmin_w  sum over rows of task k of (w . phi(s, a, s') - r)^2 + ridge |w|^2
    clone          u_k = argmin_u  sum over rows of the best tenth of its episodes of |u . psi(s) - a|^2 + ridge |u|^2

A context of n transitions is compared with every prototype, the nearest ones act together:

    d_k  = sum over the context of (w_k . phi(s, a, s') - r)^2 / (n v)         v: variance of the training rewards
    p_k  = exp(-d_k / temperature) / sum over j of exp(-d_j / temperature),    action = sum over k of p_k u_k . psi(s)

A seed draws the features. NumPy only; no gradient steps, so that the budget of updates is not used.

omrl-bench run --suite shift --method submissions/Prototypes/source/prototypes.py:Prototypes
"""

import json

import numpy as np

from omrl_bench.api import Algorithm, MetaPolicy

FEATURES = 200
RIDGE = 1e-2
TEMPERATURE = 0.03
BEST = 0.1  # share of a task's episodes that is cloned
MOST_ROWS = 4_000  # of a task's, for the reward model


class Prototypes(Algorithm):
    def fit(self, data, budget, seeds, log):
        self.weights = {}
        for number, seed in enumerate(seeds):
            self.weights[seed] = self.fit_seed(data, np.random.default_rng(seed))
            log("policy", number + 1, len(seeds), seeds=[seed])

    def fit_seed(self, data, rng):
        seen = np.concatenate([data.observations, data.actions, data.next_observations], axis=1)
        weights = {"shift": seen.mean(axis=0), "scale": seen.std(axis=0) + 1e-6}
        weights["prior"] = np.array([data.context_rewards.mean(), data.context_rewards.std() + 1e-6])
        size = self.space.observation_size
        for name, inputs in (("reward", seen.shape[1]), ("action", size)):
            weights[f"{name}_frequencies"] = rng.normal(0, 1 / np.sqrt(inputs), (inputs, FEATURES))
            weights[f"{name}_phases"] = rng.uniform(0, 2 * np.pi, FEATURES)
        model, clone = [], []
        for task in range(len(data.tasks)):
            rows = np.arange(data.task_offsets[task], data.task_offsets[task + 1])
            some = rng.choice(rows, min(MOST_ROWS, len(rows)), replace=False)
            standard = (data.context_rewards[some] - weights["prior"][0]) / weights["prior"][1]
            model.append(ridge(features(weights, "reward", seen[some]), standard))
            best = best_rows(data, task)
            clone.append(ridge(features(weights, "action", seen[best, :size]), data.actions[best]))
        return weights | {"model": np.stack(model, axis=1), "clone": np.stack(clone)}

    def policy(self, seed):
        return PrototypePolicy(self.weights[seed], self.space)

    def save(self, folder):
        for seed, weights in self.weights.items():
            np.savez(folder / f"{seed}.npz", **weights)
        (folder / "seeds.json").write_text(json.dumps(list(self.weights)))

    def load(self, folder):
        self.weights = {}
        for seed in json.loads((folder / "seeds.json").read_text()):
            with np.load(folder / f"{seed}.npz") as file:
                self.weights[seed] = dict(file)

    def configuration(self):
        return {"features": FEATURES, "ridge": RIDGE, "temperature": TEMPERATURE, "best": BEST}

    def parameter_count(self):
        return sum(weights.size for name, weights in next(iter(self.weights.values())).items() if name in TRAINED)


TRAINED = ("model", "clone")


class PrototypePolicy(MetaPolicy):
    def __init__(self, weights, space):
        self.weights, self.space = weights, space

    def reset(self, lanes):
        tasks = len(self.weights["clone"])
        self.shares = np.full((lanes, tasks), 1 / tasks)  # before any context, every task is as likely

    def condition(self, context):
        seen = np.concatenate([context.observations, context.actions, context.next_observations], axis=2)
        lanes, steps, size = seen.shape
        told = features(self.weights, "reward", seen.reshape(-1, size)) @ self.weights["model"]
        mean, deviation = self.weights["prior"]
        error = (told.reshape(lanes, steps, -1) - ((context.rewards - mean) / deviation)[..., None]) ** 2
        counts = np.maximum(context.valid.sum(axis=1), 1)[:, None]
        distance = (error * context.valid[..., None]).sum(axis=1) / counts
        likely = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / TEMPERATURE)
        self.shares = likely / likely.sum(axis=1, keepdims=True)

    def act(self, observations, explore=False):
        psi = features(self.weights, "action", observations)
        actions = np.einsum("lk,lf,kfa->la", self.shares, psi, self.weights["clone"], optimize=True)
        return np.clip(actions, -self.space.action_limit, self.space.action_limit).astype(np.float32)

    def representation(self):
        return self.shares.astype(np.float32)


def features(weights, name, inputs):
    """Random Fourier features of standardised inputs, with a constant: (n, FEATURES + 1)."""
    size = inputs.shape[1]
    standard = (inputs - weights["shift"][:size]) / weights["scale"][:size]
    waves = np.cos(standard @ weights[f"{name}_frequencies"] + weights[f"{name}_phases"])
    return np.concatenate([np.sqrt(2 / FEATURES) * waves, np.ones((len(waves), 1))], axis=1)


def ridge(inputs, targets):
    return np.linalg.solve(inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1]), inputs.T @ targets)


def best_rows(data, task):
    """Rows of the best tenth of a task's episodes, by return."""
    episodes = np.arange(data.task_episodes[task], data.task_episodes[task + 1])
    starts, ends = data.episode_offsets[episodes], data.episode_offsets[episodes + 1]
    returns = [data.rewards[start:end].sum() for start, end in zip(starts, ends, strict=True)]
    chosen = np.argsort(returns)[-max(1, round(BEST * len(episodes))) :]
    return np.concatenate([np.arange(starts[index], ends[index]) for index in chosen])
