"""Returns what is no answer, each class in another hook."""

import numpy as np
from honest import Honest, Walker


class Acting(Walker):
    def __init__(self, limit, change):
        super().__init__(limit)
        self.change = change

    def act(self, observations, explore=False):
        return self.change(super().act(observations))


class Changed(Honest):
    def policy(self, seed):
        return Acting(self.space.action_limit, self.change)


class ComplexActions(Changed):
    def change(self, actions):
        return actions + 1j


class ListOfActions(Changed):
    def change(self, actions):
        return actions.tolist()


class ObjectActions(Changed):
    def change(self, actions):
        return actions.astype(object)


class FewActions(Changed):
    def change(self, actions):
        return actions[:-1]


class GiantActions(Changed):
    def change(self, actions):
        return np.zeros((1 << 25, 2), np.float32)


class FloatCount(Honest):
    def parameter_count(self):
        return 2.5


class NegativeCount(Honest):
    def parameter_count(self):
        return -3


class Believing(Walker):
    def __init__(self, limit, value):
        super().__init__(limit)
        self.value = value

    def representation(self):
        return self.value(len(self.goals))


class Represented(Honest):
    def policy(self, seed):
        return Believing(self.space.action_limit, self.value)


class FlatRepresentation(Represented):
    def value(self, lanes):
        return np.zeros(lanes)


class ShortRepresentation(Represented):
    def value(self, lanes):
        return np.zeros((lanes - 1, 3))


class TextRepresentation(Represented):
    def value(self, lanes):
        return "z"


class NanRepresentation(Represented):
    def value(self, lanes):
        return np.full((lanes, 3), np.nan)


class ComplexRepresentation(Represented):
    def value(self, lanes):
        return np.full((lanes, 3), 1j)


class WideRepresentation(Represented):
    def value(self, lanes):
        return np.zeros((lanes, 5000), np.float32)


class Attending(Honest):
    def policy(self, seed):
        return Believing(self.space.action_limit, lambda lanes: np.arange(3.0 * lanes).reshape(lanes, 3))

    def attention_weights(self, seed, context):
        return np.zeros(3)
