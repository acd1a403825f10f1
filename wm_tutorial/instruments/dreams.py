"""What an instrument is given of dreams."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from wm_tutorial.data import Dream
from wm_tutorial.errors import InputError


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
