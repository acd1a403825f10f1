"""Where the parts of chapter 13 belong in an agent: from the reader's signature to the package's, as in `own`."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from wm_tutorial.encoder import ImageEncoder
from wm_tutorial.heads import Image
from wm_tutorial.mistakes.part import Function
from wm_tutorial.networks import UpsampleConv, flatten_leading
from wm_tutorial.parts import Replacement


def _planes(mine: Function) -> list[Replacement]:
    def forward(self: ImageEncoder, obs: Tensor) -> Any:
        images, leading = flatten_leading(obs, keep=3)
        return self.net(mine(images)).reshape(*leading, -1)

    return [Replacement(ImageEncoder, "forward", forward)]


def _upsample_convolve(mine: Function) -> list[Replacement]:
    return [Replacement(UpsampleConv, "forward", lambda self, x: mine(x, self.conv.weight, self.conv.bias))]


def _image_loss(mine: Function) -> list[Replacement]:
    def loss(self: Image, target: Tensor) -> Any:
        (mean, leading), (images, _) = (flatten_leading(x, keep=3) for x in (self.mean, target))
        return mine(mean, images).reshape(leading)

    return [Replacement(Image, "loss", loss)]


PLACES: dict[str, Callable[[Function], list[Replacement]]] = {
    "planes": _planes,
    "upsample_convolve": _upsample_convolve,
    "image_loss": _image_loss,
}
