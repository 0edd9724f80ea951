"""Environment families: task tables, single Gymnasium environments, batched simulation.

Importing this package registers the families: ``gymnasium.make("omrl_bench.envs:omrl/PointGoal-v1")`` does both.
"""

from omrl_bench.envs.single import register

register()
