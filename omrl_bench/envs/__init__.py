"""Environment families: task tables, single Gymnasium environments, batched simulation.

Importing this package registers the families: ``gymnasium.make("omrl_bench.envs:omrl/PointGoal-v0")`` does both.
"""

from omrl_bench.envs.single import register

register()
