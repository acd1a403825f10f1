"""V: a variational autoencoder that turns each picture into a few numbers z, and z back into a picture.

It is trained first and alone, on pictures of random play, and never changes afterwards.

Source: Ha & Schmidhuber 2018 (arXiv 1803.10122), section 2.1; hardmaru/WorldModelsExperiments `doomrnn/doomrnn.py`,
ConvVAE. Encoder and decoder are the ones of this package, for pictures of any size.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from wm_tutorial.data import Spaces
from wm_tutorial.encoder import ImageEncoder
from wm_tutorial.errors import InputError
from wm_tutorial.heads import Image
from wm_tutorial.latents import Gaussian, GaussianLatent
from wm_tutorial.networks import ConvDecoder, conv_channels, flatten_leading, linear


class Vision(nn.Module):
    """Pictures (..., H, W, C) uint8 <-> codes z (..., Z).

    Raises:
        InputError: if the environment shows no pictures.
    """

    def __init__(self, spaces: Spaces, latent_size: int, hidden: int, conv_depth: int) -> None:
        super().__init__()
        if spaces.obs_kind != "image":
            raise InputError(
                f"V learns to see pictures, and this environment has {spaces}. Give one whose observations are uint8 "
                "arrays of height x width x channels, such as wm_tutorial/Rockfall-v0, or wrap yours in "
                "gymnasium.wrappers.AddRenderObservation; for vectors, the other presets need no V."
            )
        height, width, channels = spaces.obs_shape
        self.encoder = ImageEncoder((height, width, channels), conv_depth)
        self.rule = GaussianLatent(latent_size)
        self.to_code = linear(self.encoder.outputs, self.rule.parameters)
        stages = conv_channels(height, width, conv_depth)
        self.decoder = ConvDecoder(0, latent_size, hidden, (height, width, channels), stages)

    def encode(self, obs: Tensor) -> Gaussian:
        """What z may be, given a picture: (..., H, W, C) -> a Gaussian over (..., Z)."""
        return self.rule(self.to_code(self.encoder(obs)))

    def decode(self, z: Tensor) -> Image:
        """The picture that a code stands for: (..., Z) -> (..., H, W, C)."""
        flat, leading = flatten_leading(z, keep=1)
        pixels: Tensor = torch.sigmoid(self.decoder(flat)).movedim(1, -1)
        return Image(pixels.reshape(*leading, *pixels.shape[1:]))

    def losses(self, obs: Tensor, tolerance: float) -> dict[str, Tensor]:
        """The two terms of the loss for pictures (B, H, W, C), each a number; see `bound`."""
        return bound(self.encode(obs), self.decode, obs, tolerance)


def bound(posterior: Gaussian, decode: Callable[[Tensor], Image], obs: Tensor, tolerance: float) -> dict[str, Tensor]:
    """The evidence lower bound as two losses, with nats that cost nothing.

    picture     squared distance of the decoded sample, summed over pixels; mean over the batch
    divergence  KL(posterior || N(0, 1)) of each picture, but at least `tolerance` times Z; mean over the batch

    Critical: the tolerance is a floor under the divergence (a maximum). Below it the gradient is zero, so a picture may
    spend that many nats without being pushed towards N(0, 1); a ceiling would punish only small divergences.

    Args:
        posterior: over z, (B, Z).
        decode: z (B, Z) -> pictures (B, H, W, C).
        obs: (B, H, W, C).
        tolerance: nats for each of the Z numbers.

    Source: Kingma & Welling 2014 (arXiv 1312.6114), equation 3; kl_tolerance in the authors' ConvVAE.
    """
    nothing_known = Gaussian(torch.zeros_like(posterior.mean), torch.zeros_like(posterior.logvar))
    divergence = posterior.kl(nothing_known)  # (B,)
    free = tolerance * posterior.mean.shape[-1]
    return {
        "picture": decode(posterior.sample()).loss(obs).mean(),
        "divergence": divergence.clamp(min=free).mean(),
    }
