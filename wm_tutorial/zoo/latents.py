"""Mistakes in what the state is inferred from and how it is sampled."""

import torch
from torch import Tensor

from wm_tutorial.check.latents import SAMPLE
from wm_tutorial.data import State, stack
from wm_tutorial.dynamics import GRU, RSSM, BlockGRU, FeedForward, forget, mask, previous
from wm_tutorial.encoder import ImageEncoder, VectorEncoder
from wm_tutorial.latents import Categoricals, Distribution, Gaussian, GaussianLatent
from wm_tutorial.mistakes.bug import DREAMER_V3, GUIDE, Bug

FEED_FORWARD_POSTERIOR = FeedForward.posterior
FEED_FORWARD_PRIOR = FeedForward.prior
RSSM_OBSERVE = RSSM.observe
RSSM_POSTERIOR = RSSM.posterior_given
GRU_FORWARD = GRU.forward
BLOCK_GRU_FORWARD = BlockGRU.forward
ENCODE_VECTOR = VectorEncoder.forward
ENCODE_IMAGE = ImageEncoder.forward

Observed = tuple[State, Distribution, Distribution]


def unbounded_gaussian(latent: GaussianLatent, raw: Tensor) -> Gaussian:
    """The log-variance is whatever the network says."""
    return Gaussian(*raw.chunk(2, dim=-1))


def categorical_sample_without_gradient(distribution: Categoricals) -> Tensor:
    """One-hot samples, through which nothing goes back."""
    return distribution.one_hot.sample().flatten(-2)


def categorical_mode(distribution: Categoricals) -> Tensor:
    """The most likely classes, with the gradient of their probabilities."""
    one_hot = distribution.one_hot
    return (one_hot.mode + one_hot.probabilities - one_hot.probabilities.detach()).flatten(-2)


def feed_forward_observe_by_prior(
    model: FeedForward, embedding: Tensor, action: Tensor, is_first: Tensor, start: State
) -> Observed:
    """The states of the sequence are what was expected, not what was inferred."""
    state, states = start, []
    for t in range(embedding.shape[1]):
        expected = model.prior(forget(is_first[:, t], state), mask(~is_first[:, t], action[:, t]))
        state = State(start.memory, expected.sample())
        states.append(state)
    drawn = stack(states, dim=1)
    before = forget(is_first, State(drawn.memory, previous(start.latent, drawn.latent)))
    return drawn, model.posterior(embedding), model.prior(before, mask(~is_first, action))


def rssm_observe_by_prior(model: RSSM, embedding: Tensor, action: Tensor, is_first: Tensor, start: State) -> Observed:
    """The states of the sequence are what was expected, not what was inferred."""
    state, states = start, []
    for t in range(embedding.shape[1]):
        memory = model.core(forget(is_first[:, t], state), mask(~is_first[:, t], action[:, t]))
        state = State(memory, model.prior_given(memory).sample())
        states.append(state)
    drawn = stack(states, dim=1)
    return drawn, model.posterior_given(drawn.memory, embedding), model.prior_given(drawn.memory)


def feed_forward_blind_posterior(model: FeedForward, embedding: Tensor) -> Distribution:
    """The posterior is given nothing."""
    return FEED_FORWARD_POSTERIOR(model, torch.zeros_like(embedding))


def rssm_blind_posterior(model: RSSM, memory: Tensor, embedding: Tensor) -> Distribution:
    """The posterior is given the memory alone."""
    return RSSM_POSTERIOR(model, memory, torch.zeros_like(embedding))


def rssm_observe_blind(model: RSSM, embedding: Tensor, action: Tensor, is_first: Tensor, start: State) -> Observed:
    """The posterior is given the memory alone."""
    return RSSM_OBSERVE(model, torch.zeros_like(embedding), action, is_first, start)


def vector_embedding_without_gradient(encoder: VectorEncoder, obs: Tensor) -> Tensor:
    """Computed once, under `no_grad`."""
    return ENCODE_VECTOR(encoder, obs).detach()


def image_embedding_without_gradient(encoder: ImageEncoder, obs: Tensor) -> Tensor:
    """Computed once, under `no_grad`."""
    return ENCODE_IMAGE(encoder, obs).detach()


def prior_of_the_state_alone(model: FeedForward, state: State, action: Tensor) -> Distribution:
    """The action is not used."""
    return FEED_FORWARD_PRIOR(model, state, torch.zeros_like(action))


def gru_without_action(core: GRU, state: State, action: Tensor) -> Tensor:
    """The action is not used."""
    return GRU_FORWARD(core, state, torch.zeros_like(action))


def block_gru_without_action(core: BlockGRU, state: State, action: Tensor) -> Tensor:
    """The action is not used."""
    return BLOCK_GRU_FORWARD(core, state, torch.zeros_like(action))


OWN_ROW = "test_dynamics.py::test_the_posterior_sees_its_own_observation_and_the_prior_the_row_before"
ALL_ROWS = "test_axes.py::test_with_memory_a_row_depends_on_all_rows_before_it_and_on_none_after"

BUGS = (
    Bug(
        name="logvar_unbounded",
        story="Log-variances are unbounded.",
        symptom="A standard deviation vanishes or explodes, and one batch ends the run with a loss that is no number.",
        innocent="Everything, until that batch.",
        source=f"{GUIDE}, Encoder and DynamicsModel",
        breaks="latents.GaussianLatent, logvar",
        caught_by=("test_latents.py::test_gaussian_latent_takes_means_first_and_log_variances_second",),
        replaces=((GaussianLatent, "__call__", unbounded_gaussian),),
        needs={"latent": "gaussian"},
    ),
    Bug(
        name="sample_without_gradient",
        story="No gradient passes through the sampled latent: `sample` where a reparameterised one belongs.",
        symptom="Decoder, reward and continue never teach the encoder; the latent keeps nothing of the observation.",
        innocent="The divergence falls to zero, and the losses of the heads fall to those of a constant.",
        source="https://github.com/juliusfrost/dreamer-pytorch/pull/41",
        breaks="latents.Gaussian.sample and latents.Categoricals.sample, gradient",
        caught_by=(
            "test_latents.py::test_gaussian_sample_is_differentiable_exactly",
            "test_axes.py::test_the_gradient_of_a_sample_is_that_of_its_probabilities",
            "test_world_model.py::test_exactly_these_parts_learn_from_each_loss",
        ),
        replaces=(
            *SAMPLE.made_in_package("sample_without_gradient"),
            (Categoricals, "sample", categorical_sample_without_gradient),
        ),
    ),
    Bug(
        name="mode_for_sample",
        story="The most likely latent is taken where one should be sampled.",
        symptom="All dreams from one state are the same dream, and chance does not exist in it.",
        innocent="Decoder, reward and continue losses are lower than with samples.",
        source=f"{DREAMER_V3}133",
        breaks="latents.Gaussian.sample and latents.Categoricals.sample, z",
        caught_by=(
            "test_latents.py::test_gaussian_samples_have_the_mean_and_the_variance_and_are_independent",
            "test_axes.py::test_samples_are_one_hot_and_follow_the_mixed_probabilities",
        ),
        replaces=(
            *SAMPLE.made_in_package("mode_for_sample"),
            (Categoricals, "sample", categorical_mode),
        ),
    ),
    Bug(
        name="variance_for_deviation",
        story="The noise is scaled by exp(logvar), the variance, instead of exp(logvar / 2).",
        symptom="Samples are not from the distribution whose divergence is paid for; small noise is far too small.",
        innocent="Every loss: the networks adapt.",
        source="https://github.com/rachtsingh/ibp_vae/issues/3",
        breaks="latents.Gaussian.sample, sigma",
        caught_by=(
            "test_latents.py::test_gaussian_samples_have_the_mean_and_the_variance_and_are_independent",
            "test_dynamics.py::test_imagination_samples_from_the_prior",
        ),
        replaces=SAMPLE.made_in_package("variance_for_deviation"),
        needs={"latent": "gaussian"},
    ),
    Bug(
        name="prior_for_posterior",
        story="The states of a real sequence are sampled from the prior, which has not seen the observation.",
        symptom="The agent acts with closed eyes: what it sees changes nothing.",
        innocent="The divergence is computed as ever, and falls.",
        source="https://github.com/juliusfrost/dreamer-pytorch/pull/78",
        breaks="dynamics.RSSM.observe and dynamics.FeedForward.observe, z_t",
        caught_by=(OWN_ROW, ALL_ROWS),
        replaces=(
            (FeedForward, "observe", feed_forward_observe_by_prior),
            (RSSM, "observe", rssm_observe_by_prior),
        ),
    ),
    Bug(
        name="posterior_blind",
        story="The observation never reaches the posterior: one input of the concatenation is the wrong variable.",
        symptom="States do not depend on observations; the decoder shows the average picture.",
        innocent="The divergence is zero, which looks like perfect prediction.",
        source="https://github.com/google-research/planet/issues/23",
        breaks="dynamics.RSSM.posterior_given and dynamics.FeedForward.posterior, q(z_t | h_t, o_t)",
        caught_by=(OWN_ROW, ALL_ROWS),
        replaces=(
            (FeedForward, "posterior", feed_forward_blind_posterior),
            (RSSM, "posterior_given", rssm_blind_posterior),
            (RSSM, "observe", rssm_observe_blind),
        ),
    ),
    Bug(
        name="encoder_detached",
        story="Embeddings are computed without gradient, so the encoder keeps its random weights.",
        symptom="Vectors are learned a little worse; images are not learned.",
        innocent="All losses fall: a random embedding of a small vector loses nothing.",
        source="https://github.com/lebrice/Sequoia/issues/71",
        breaks="encoder.VectorEncoder and encoder.ImageEncoder, gradient",
        caught_by=(
            "test_world_model.py::test_exactly_these_parts_learn_from_each_loss",
            "test_axes.py::test_only_the_critics_loss_on_real_sequences_reaches_the_world_model",
        ),
        replaces=(
            (VectorEncoder, "forward", vector_embedding_without_gradient),
            (ImageEncoder, "forward", image_embedding_without_gradient),
        ),
    ),
    Bug(
        name="action_ignored",
        story="The dynamics are given the state alone; the action was left out of the concatenation.",
        symptom="In dreams every policy is worth the same, so none is learned.",
        innocent="Decoder, reward and continue losses: the posterior sees the observation anyway.",
        source="https://github.com/ShuangLI59/unified_video_action/issues/18",
        breaks="dynamics.FeedForward.prior and dynamics.RSSM.core, a_{t-1}",
        caught_by=("test_dynamics.py::test_the_prior_uses_latent_and_action", ALL_ROWS),
        replaces=(
            (FeedForward, "prior", prior_of_the_state_alone),
            (GRU, "forward", gru_without_action),
            (BlockGRU, "forward", block_gru_without_action),
        ),
    ),
)
