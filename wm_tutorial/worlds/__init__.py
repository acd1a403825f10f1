"""Small worlds to learn in; importing this room tells Gymnasium of them.

| Gymnasium id                          | what it is for                 | its exact answer                      |
|---------------------------------------|--------------------------------|---------------------------------------|
| `wm_tutorial/PositionOnlyCartPole-v0` | velocities hidden: memory      | none; scores compare with CartPole-v1 |
| `wm_tutorial/PaidCartPole-1e6-v0`     | rewards of any size (1e-3, 1e3)| none; returns / 1e6 compare, too      |
| `wm_tutorial/LinearGaussian-v0`       | beliefs, prediction, noise     | `kalman_filter`, `steady_state_error` |
| `wm_tutorial/Corridor-v0`             | values, returns, ends          | `value_iteration`, `policy_values`    |
| `wm_tutorial/Fork-v0`                 | two futures: latents           | `Fork.right`, `Fork.news`             |
| `wm_tutorial/CatchInTheDark-v0`       | pixels, memory                 | `best_catches`, `memoryless_bound`    |
| `wm_tutorial/Rockfall-v0`             | pixels, memory, survival       | `best_survival`, `policy_survival`    |
| `wm_tutorial/Lighthouse-v0`           | a problem in words: chapter 19 | `best_light`, `policy_light`          |
| `wm_tutorial/LighthouseDict-v0`       | the same, observed as a dict   | the same                              |
"""

from wm_tutorial.worlds.known import (
    Corridor,
    FilteredRows,
    Fork,
    LinearGaussian,
    LinearSystem,
    PaidCartPole,
    PositionOnlyCartPole,
    fixed_point,
    kalman_filter,
    memoryless_error,
    open_loop_prediction,
    policy_values,
    steady_state_error,
    value_iteration,
)
from wm_tutorial.worlds.lighthouse import Lighthouse, LighthouseDict, best_light, policy_light
from wm_tutorial.worlds.pixels import CatchInTheDark, best_catches, memoryless_bound, policy_catches
from wm_tutorial.worlds.rockfall import Rockfall, best_survival, memoryless_survival, policy_survival

__all__ = [
    "CatchInTheDark", "Corridor", "FilteredRows", "Fork", "Lighthouse", "LighthouseDict", "LinearGaussian",
    "LinearSystem", "PaidCartPole", "PositionOnlyCartPole", "Rockfall", "best_catches", "best_light", "best_survival",
    "fixed_point", "kalman_filter", "memoryless_bound", "memoryless_error", "memoryless_survival",
    "open_loop_prediction", "policy_catches", "policy_light", "policy_survival", "policy_values", "steady_state_error",
    "value_iteration",
]  # fmt: skip
