"""Every known mistake, once: what it does to the package, and what a reader's function with it returns.

The bug zoo (`wm_tutorial.zoo`) lets them out in the package; the checks (`wm_tutorial.check`) name them in what a
reader wrote. A module here is an area: the parts that readers build in it, and the mistakes that are made there.
"""

from collections.abc import Mapping

from wm_tutorial.mistakes import (
    acting,
    alignment,
    assembly,
    balance,
    bounds,
    categorical,
    continuous,
    controllers,
    costs,
    critic,
    dynamics,
    elites,
    enumeration,
    episodes,
    experience,
    heads,
    horizon,
    imagination,
    kl,
    latents,
    linear,
    measuring,
    memory,
    mixtures,
    optim,
    own_env,
    pixels,
    planner,
    policy,
    replay,
    returns,
    scale,
    setup,
    testing,
    training,
    transforms,
    weights,
)
from wm_tutorial.mistakes.bug import Bug
from wm_tutorial.mistakes.part import Mistake, Part

__all__ = ["BUGS", "PARTS", "Bug", "Mistake", "Part"]

AREAS = (
    alignment, returns, episodes, kl, balance, latents, categorical, enumeration, dynamics, horizon, heads, transforms,
    imagination, weights, policy, critic, replay, training, acting, memory, linear, scale, assembly, optim, pixels,
    continuous, bounds, elites, planner, mixtures, controllers, measuring, own_env, costs, experience, setup,
    testing,
)  # fmt: skip
PARTS: Mapping[str, Part] = {part.name: part for area in AREAS for part in area.PARTS}
BUGS: Mapping[str, Bug] = {bug.name: bug for area in AREAS for bug in area.BUGS}

for _bug in BUGS.values():
    for _part, _mistake in _bug.forms.items():
        assert _bug.name not in _part.mistakes, f"{_bug.name} stands twice: as a bug, and in {_part.name} itself"
        _part.mistakes[_bug.name] = _mistake
