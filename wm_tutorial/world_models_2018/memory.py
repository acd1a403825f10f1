"""M: an LSTM that is told z and the action, and says what may come next, as a mixture of Gaussians.

It is trained second, on random play seen through V. Afterwards it does two things: its hidden state h tells the
controller what has happened so far, and, asked again and again for what comes next, it is a world to play in.

    h_t  (..., D)   knows z_0 .. z_{t-1} and a_0 .. a_{t-1}, not z_t: it is zero where an episode begins
    h_{t+1}         from h_t, z_t and a_t; all that M says of row t + 1 it says from h_{t+1}

Source: Ha & Schmidhuber 2018 (arXiv 1803.10122), section 2.2; hardmaru/WorldModelsExperiments `doomrnn/doomrnn.py`,
Model. The mixture is that of Graves 2013 (arXiv 1308.0850), one for each number of z.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from wm_tutorial.errors import InputError
from wm_tutorial.heads import Bernoulli, SquaredError
from wm_tutorial.networks import linear


@dataclass(frozen=True)
class Mixture:
    """A mixture of K Gaussians for each of Z numbers, which are independent of each other.

    log_weight  (..., Z, K)  logarithms of the weights, which sum to 1 over K
    mean        (..., Z, K)
    log_std     (..., Z, K)  natural logarithm of the standard deviation
    """

    log_weight: Tensor
    mean: Tensor
    log_std: Tensor

    @classmethod
    def of(cls, raw: Tensor, components: int) -> Self:
        """From what a network gives, (..., 3 Z K): for each number of z its weights, means and deviations.

        Critical: weights are normalised as logarithms, log w_k = l_k - log sum_j exp(l_j), over the components alone.
        """
        logit, mean, log_std = raw.reshape(*raw.shape[:-1], -1, 3, components).unbind(-2)  # (..., Z, K)
        return cls(torch.log_softmax(logit, -1), mean, log_std)

    @property
    def expected(self) -> Tensor:
        """The mean of the mixture, (..., Z)."""
        return (self.log_weight.exp() * self.mean).sum(-1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of each number of z, in nats: (..., Z) -> (..., Z)."""
        error = (z.unsqueeze(-1) - self.mean) / self.log_std.exp()
        of_each = -0.5 * error**2 - self.log_std - 0.5 * math.log(2.0 * math.pi)  # (..., Z, K)
        return torch.logsumexp(self.log_weight + of_each, -1)

    def at(self, temperature: float) -> Self:
        """The same mixture, calmer (below 1) or wilder (above 1).

        Weights become w_k^(1/tau), normalised; variances are multiplied by tau. Towards 0 only the mean of the heaviest
        component is left.

        Critical: it is the variance that is multiplied by tau, so the standard deviation by its root.

        Raises:
            InputError: unless the temperature is above 0.

        Source: Ha & Eck 2017 (arXiv 1704.03477), equation 8; the authors' `DoomCoverRNNEnv._step`.
        """
        if not 0.0 < temperature < math.inf:
            raise InputError(
                f"the temperature is {temperature}; it must be a number above 0: 1 is what M has learned, below 1 is "
                "surer, above 1 less sure. For what M thinks most likely give a small one, such as 0.01."
            )
        calmer = torch.log_softmax(self.log_weight / temperature, -1)
        return type(self)(calmer, self.mean, self.log_std + 0.5 * math.log(temperature))

    def sample(self) -> Tensor:
        """A sample (..., Z), without gradient: a component for each number, then a number from it."""
        upper = self.log_weight.exp().cumsum(-1)
        below = (upper <= torch.rand_like(upper[..., :1])).sum(-1, keepdim=True)
        chosen = below.clamp_(max=upper.shape[-1] - 1)  # the weights may sum to a little less than 1
        mean, log_std = (x.gather(-1, chosen).squeeze(-1) for x in (self.mean, self.log_std))
        return (mean + log_std.exp() * torch.randn_like(mean)).detach()


@dataclass(frozen=True)
class Prediction:
    """What M says of the row that follows.

    z       a mixture over (..., Z)
    reward  (...)
    done    (...), whether the episode ends there because nothing more can be earned
    """

    z: Mixture
    reward: SquaredError
    done: Bernoulli


class Memory(nn.Module):
    """M. Its state is h and c of the LSTM, side by side: (..., 2 D); a new episode begins with zeros."""

    def __init__(self, latent_size: int, action_size: int, memory_size: int, components: int) -> None:
        super().__init__()
        self.latent_size, self.memory_size, self.components = latent_size, memory_size, components
        self.cell = nn.LSTMCell(latent_size + action_size, memory_size)
        self.mixture = linear(memory_size, 3 * latent_size * components)
        self.reward = linear(memory_size, 1)
        self.done = linear(memory_size, 1)

    def initial(self, count: int) -> Tensor:
        """What is remembered before anything was seen: (N, 2 D)."""
        return self.reward.weight.new_zeros(count, 2 * self.memory_size)

    def step(self, memory: Tensor, z: Tensor, action: Tensor) -> Tensor:
        """From row t to row t + 1: the state (N, 2 D), z_t (N, Z) and a_t (N, A) -> the state (N, 2 D)."""
        h, c = memory.chunk(2, -1)
        return torch.cat(self.cell(torch.cat([z, action], -1), (h, c)), -1)

    def predict(self, memory: Tensor) -> Prediction:
        """What the row may bring at which this is the state, (..., 2 D)."""
        h, _ = memory.chunk(2, -1)
        return Prediction(
            Mixture.of(self.mixture(h), self.components),
            SquaredError(self.reward(h).squeeze(-1)),
            Bernoulli(self.done(h).squeeze(-1)),
        )

    def losses(
        self, z: Tensor, action: Tensor, reward: Tensor, is_first: Tensor, is_terminal: Tensor
    ) -> dict[str, Tensor]:
        """How badly rows 1 .. T - 1 of sequences were foreseen; each a number, the mean over all rows that count.

        z            nats, mean over the Z numbers
        reward       squared error
        done         nats

        A row in which an episode begins cannot be foreseen, and counts nothing; the memory is emptied there.

        Args:
            z: (B, T, Z), samples of V's codes.
            action: (B, T, A) a_t, chosen after seeing row t.
            reward: (B, T).
            is_first: (B, T) bool.
            is_terminal: (B, T) bool.
        """
        memory, states = self.initial(len(z)), []
        for t in range(z.shape[1] - 1):
            memory = memory.masked_fill(is_first[:, t, None], 0.0)
            memory = self.step(memory, z[:, t], action[:, t])
            states.append(memory)
        predicted = self.predict(torch.stack(states, 1))  # of rows 1 .. T - 1: (B, T - 1)
        counts = (~is_first[:, 1:]).float()
        each = {
            "z": -predicted.z.log_prob(z[:, 1:]).mean(-1),
            "reward": predicted.reward.loss(reward[:, 1:]),
            "done": predicted.done.loss(is_terminal[:, 1:].float()),
        }
        return {name: (counts * loss).sum() / counts.sum().clamp(min=1.0) for name, loss in each.items()}
