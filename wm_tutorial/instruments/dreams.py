"""What an instrument is given of dreams and of a prior."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wm_tutorial.data import Dream, State
from wm_tutorial.dynamics import RSSM
from wm_tutorial.errors import InputError
from wm_tutorial.latents import Gaussian
from wm_tutorial.world_model import WorldModel

PIECES = 200  # of the way of a dart under the only bell; a fifth of it where the darts of others are thrown, too


def of_dreams(dreams: Sequence[Dream], scale: Tensor, entry: int = 0, context: int = 5) -> dict[str, Any]:
    """The data of the instrument `open_loop`: one episode, dreamed after every number of rows seen.

    Args:
        dreams: of the same episode of vectors, with names, after contexts that grow by 1.
        scale: (O,) what an error of 1 is in each of the O entries, such as the standard deviation of the data.
        entry: which one is drawn first.
        context: where its slider begins.

    Raises:
        InputError: if the dreams are of different episodes, of pictures or without names, or their contexts have gaps.
    """
    first = dreams[0]
    contexts = [dream.context for dream in dreams]
    if contexts != list(range(contexts[0], contexts[0] + len(dreams))) or context not in contexts:
        raise InputError(f"The contexts are {contexts}; give dreams whose contexts grow by 1, {context} among them.")
    if first.obs.ndim != 2 or not first.names or any(not np.array_equal(first.obs, dream.obs) for dream in dreams):
        raise InputError("The dreams must be of one episode of vectors whose entries have names.")
    return {
        "names": list(first.names),
        "scale": scale.tolist(),
        "entry": entry,
        "context": context,
        "horizon": len(first.obs) - contexts[0],
        "cart": first.environment == "CartPole-v1",
        "real": first.obs.tolist(),
        "dreams": {str(dream.context): dream.predicted_obs[dream.context :].tolist() for dream in dreams},
    }


@torch.no_grad()
def of_darts(world_model: WorldModel, memory: Tensor, entry: int, throws: int = 60) -> dict[str, Any]:
    """One latent of the instrument `fork`: what is decoded for each place of the dart of one variable.

    The dart is the uniform number from which a variable is drawn: it picks a class by its share (`OneHot.sample`), and
    of a bell the quantile. The variable is the one whose dart moves the decoded number most; the others are drawn.

    Args:
        world_model: with an RSSM and observations of vectors.
        memory: (D,) in the row that is dreamed.
        entry: which number of the observation.
        throws: how often the other variables are drawn; once if there are none.

    Returns:
        bell, whether the latent is Gaussian; ends (P,), where each piece of the dart's way ends; sides (throws, P), the
        number decoded for the middle of each piece.

    Raises:
        InputError: if the world model has no memory, or the memory is not one vector.
    """
    dynamics = world_model.dynamics
    if not isinstance(dynamics, RSSM) or memory.ndim != 1:
        raise InputError(
            f"The dynamics are {type(dynamics).__name__} and the memory is of shape {tuple(memory.shape)}; "
            'give a world model with memory="rssm", and the memory of one row, (D,).'
        )
    prior = dynamics.prior_given(memory)
    if isinstance(prior, Gaussian):
        count = PIECES if prior.mean.numel() == 1 else PIECES // 5
        ends = torch.arange(1, count + 1) / count
        quantile = torch.special.ndtri(ends - 0.5 / count)
        picked = prior.mean[:, None] + torch.exp(0.5 * prior.logvar)[:, None] * quantile  # (S, P)
        ends, picked = ends.expand(len(picked), -1), picked[..., None]
    else:
        shares = prior.one_hot.probabilities  # (S, P)
        ends, picked = shares.cumsum(-1), torch.eye(shares.shape[1]).expand(len(shares), -1, -1)
    variables, pieces, size = picked.shape
    throws = throws if variables > 1 else 1
    drawn = torch.stack([prior.sample() for _ in range(throws)]).view(throws, variables, size)
    sides = torch.empty(variables, throws, pieces)
    for one in range(variables):
        z = drawn[:, None].repeat(1, pieces, 1, 1)  # (throws, P, S, size)
        z[:, :, one] = picked[one]
        state = State(memory.expand(throws, pieces, -1), z.flatten(-2))
        sides[one] = world_model.decode(state.feature).mean[..., entry]
    strongest = int((sides.amax(-1) - sides.amin(-1)).mean(-1).argmax())
    return {
        "bell": isinstance(prior, Gaussian),
        "ends": ends[strongest].tolist(),
        "sides": [[round(side, 3) for side in row] for row in sides[strongest].tolist()],
    }
