"""Encoder, dynamics and heads together: one object that explains sequences and can be rolled forward alone."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wm_tutorial.composite import CompositeDecoder, CompositeEncoder, CompositeSpaces, Reconstruction
from wm_tutorial.config import Config
from wm_tutorial.data import Batch, Spaces, State, stack
from wm_tutorial.dynamics import make_dynamics
from wm_tutorial.encoder import make_encoder
from wm_tutorial.errors import InputError
from wm_tutorial.heads import (
    Bernoulli,
    ContinueHead,
    Image,
    OneOf,
    SquaredError,
    SymlogVector,
    make_decoder,
    make_scalar_head,
)
from wm_tutorial.kl import balanced_kl
from wm_tutorial.scan import QuickRSSM
from wm_tutorial.transforms import TwoHot


@dataclass(frozen=True)
class OpenLoop:
    """A prediction made from a context and then from actions alone.

    obs        (B, T, ...)  in the units of the environment (images 0..1; of discrete ones, the probability of each);
                            rows before `context` are reconstructions; of several at once what `Spaces.shown` shows
    reward     (B, T)
    continue_  (B, T)       probability that the episode goes on
    context    how many rows were seen
    """

    obs: Tensor
    reward: Tensor
    continue_: Tensor
    context: int


class WorldModel(nn.Module):
    """What the agent believes about its environment.

    Every arrow of the diagram is one method: encode, observe, imagine, decode, predict reward, predict continue.
    """

    def __init__(self, spaces: Spaces, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = (
            CompositeEncoder(spaces, config)
            if isinstance(spaces, CompositeSpaces)
            else make_encoder(spaces, config.hidden, config.layers, config.conv_depth, config.norm)
        )
        self.dynamics = make_dynamics(config, self.encoder.outputs, spaces.action_size, QuickRSSM)
        memory, latent = self.dynamics.memory_size, self.dynamics.latent_size
        self.features = memory + latent
        self.decoder = (
            CompositeDecoder(spaces, config, memory, latent)
            if isinstance(spaces, CompositeSpaces)
            else make_decoder(spaces, config, memory, latent)
        )
        self.reward_head = make_scalar_head(config, self.features, layers=1)
        self.continue_head = ContinueHead(self.features, config.hidden, layers=1, norm=config.norm)

    def observe(self, batch: Batch) -> State:
        """Infer the states (B, T) of a batch of sequences."""
        states, _, _ = self.dynamics.observe(
            self.encoder(batch.obs), batch.previous_action, batch.is_first, batch.start
        )
        return states

    def losses(self, batch: Batch) -> tuple[dict[str, Tensor], State]:
        """Each named loss (B, T), not yet scaled, and the inferred states (B, T) with their gradients.

        decoder         how badly the state explains the observation; of several at once each, such as decoder/camera
        reward          squared error of the reward on arriving
        continue        cross-entropy of "the episode did not terminate here"; a time limit is no termination
        dynamics        KL(sg(posterior) || prior): teaches the prior
        representation  KL(posterior || sg(prior)): teaches the posterior
        """
        states, posterior, prior = self.dynamics.observe(
            self.encoder(batch.obs), batch.previous_action, batch.is_first, batch.start
        )
        feature = states.feature
        dynamics, representation = balanced_kl(
            posterior, prior, self.config.free_nats, of_mean=self.config.free_nats_of == "mean"
        )
        losses = {
            **self.decoder_losses(feature, batch.obs),
            "reward": self.reward(feature).loss(batch.reward),
            "continue": self.continues(feature).loss(self.continue_target(batch)),
            "dynamics": dynamics,
            "representation": representation,
        }
        assert all(loss.shape == batch.reward.shape for loss in losses.values())
        return losses, states

    def decoder_losses(self, feature: Tensor, obs: Tensor) -> dict[str, Tensor]:
        """How badly states (..., F) explain what was observed in them (..., O): one loss (...) for each part."""
        prediction = self.decode(feature)
        if isinstance(prediction, Reconstruction):
            return prediction.losses(obs)
        return {"decoder": prediction.loss(obs)}

    def continue_target(self, batch: Batch) -> Tensor:
        """What the continue head learns (B, T): 1, or gamma if it learns that too; 0 where the episode terminated."""
        going_on = self.config.discount if self.config.discount_in_continue else 1.0
        return going_on * (1.0 - batch.is_terminal.float())

    def decode(self, feature: Tensor) -> SymlogVector | OneOf | Image | Reconstruction:
        """What the observation looks like in a state: (..., F)."""
        prediction: SymlogVector | OneOf | Image | Reconstruction = self.decoder(feature)
        return prediction

    def reward(self, feature: Tensor) -> SquaredError | TwoHot:
        """The reward on arriving in a state: (..., F) -> (...)."""
        prediction: SquaredError | TwoHot = self.reward_head(feature)
        return prediction

    def continues(self, feature: Tensor) -> Bernoulli:
        """The probability that the episode goes on after a state: (..., F) -> (...)."""
        prediction: Bernoulli = self.continue_head(feature)
        return prediction

    def imagine(self, state: State, action: Tensor) -> State:
        """Sample the state after `action` (..., A), without an observation."""
        return self.dynamics.imagine(state, action)

    @torch.no_grad()
    def open_loop(self, batch: Batch, context: int) -> OpenLoop:
        """See the first `context` rows of each sequence, then go on from its actions alone.

        The prediction of a row never depends on an observation at or after `context`; nor does it begin anew where
        another episode begins, so the sequences should be of one episode.

        Raises:
            InputError: unless 1 <= context <= T.
        """
        length = batch.obs.shape[1]
        if not 1 <= context <= length:
            raise InputError(f"The context is {context} rows; sequences of {length} rows allow 1 to {length}.")
        states = self.observe(batch.rows(0, context))
        state = states[:, -1]
        imagined = []
        for t in range(context, length):
            state = self.imagine(state, batch.previous_action[:, t])
            imagined.append(state)
        feature = torch.cat([states.feature, stack(imagined, dim=1).feature], dim=1) if imagined else states.feature
        return OpenLoop(self.decode(feature).mean, self.reward(feature).mean, self.continues(feature).mean, context)
