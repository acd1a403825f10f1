"""From observations to embeddings: what the posterior is computed from."""

from itertools import pairwise

from torch import Tensor, nn

from wm_tutorial.data import Spaces
from wm_tutorial.networks import ConvEncoder, Norm, block, conv_channels, flatten_leading
from wm_tutorial.transforms import symlog


class VectorEncoder(nn.Module):
    """Vectors through symlog, so that large inputs do not drown small ones: (..., O) -> (..., E)."""

    def __init__(self, inputs: int, hidden: int, layers: int, norm: Norm = "layer") -> None:
        super().__init__()
        sizes = [inputs, *[hidden] * layers]
        self.net = nn.Sequential(*[block(a, b, norm) for a, b in pairwise(sizes)])
        self.outputs = hidden

    def forward(self, obs: Tensor) -> Tensor:
        """(..., O) -> (..., E)."""
        embedding: Tensor = self.net(symlog(obs))
        return embedding


class OneHotEncoder(VectorEncoder):
    """Discrete observations, one-hot, just as they are: (..., O) -> (..., E).

    Source: danijar/dreamerv3 `dreamerv3/rssm.py:215-219`; only vectors of other numbers are squashed.
    """

    def forward(self, obs: Tensor) -> Tensor:
        """(..., O) -> (..., E)."""
        embedding: Tensor = self.net(obs)
        return embedding


class ImageEncoder(nn.Module):
    """Images (..., H, W, C), uint8 in 0..255 -> (..., E)."""

    def __init__(self, shape: tuple[int, int, int], depth: int, norm: Norm = "layer") -> None:
        super().__init__()
        self.net = ConvEncoder(shape, conv_channels(shape[0], shape[1], depth), norm)
        self.outputs = self.net.outputs

    def forward(self, obs: Tensor) -> Tensor:
        """(..., H, W, C) -> (..., E)."""
        images, leading = flatten_leading(obs, keep=3)
        pixels = images.float() / 255.0 - 0.5
        embedding: Tensor = self.net(pixels.movedim(-1, 1))
        return embedding.reshape(*leading, -1)


def make_encoder(
    spaces: Spaces, hidden: int, layers: int, depth: int, norm: Norm = "layer"
) -> VectorEncoder | ImageEncoder:
    """The encoder that fits the observations."""
    if spaces.obs_kind == "image":
        height, width, channels = spaces.obs_shape
        return ImageEncoder((height, width, channels), depth, norm)
    kind = OneHotEncoder if spaces.obs_kind == "discrete" else VectorEncoder
    return kind(spaces.obs_shape[0], hidden, layers, norm)
