"""What prior and posterior see."""

import torch
from torch import Tensor
from torch.nn import functional

from wm_tutorial.data import State, stack
from wm_tutorial.dynamics import GRU, RSSM, BlockGRU, FeedForward, forget, mask, previous
from wm_tutorial.encoder import ImageEncoder, VectorEncoder
from wm_tutorial.latents import LOGVAR_RANGE, Distribution, Gaussian, GaussianLatent
from wm_tutorial.mistakes.bug import GUIDE, Bug
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part, Rule, of_wrong

Pair = tuple[Tensor, Tensor]


def without(function: Function, argument: int) -> Function:
    """The same, with zeros in the place of one of its arguments."""
    (given_zeros,) = of_wrong(function, argument, torch.zeros_like)
    return given_zeros


# The dynamics step ----------------------------------------------------------------------------------------------------

LOW, HIGH = LOGVAR_RANGE


def _bounded(logvar: Tensor) -> Tensor:
    return LOW + (HIGH - LOW) * torch.sigmoid(logvar)


def right_dynamics_step(latent: Tensor, action: Tensor, net: Function) -> Pair:
    """Mean and logvar (B, Z) of the next latent, given latent (B, Z), action (B, A) and a network."""
    mean, logvar = net(torch.cat([latent, action], -1)).chunk(2, -1)
    return mean, _bounded(logvar)


def _step(bound: Function = _bounded, halves: Function = lambda raw: raw.chunk(2, -1)) -> Function:
    """The step, with logvar bounded otherwise, or mean and logvar taken from elsewhere in the output."""

    def step(latent: Tensor, action: Tensor, net: Function) -> Pair:
        mean, logvar = halves(net(torch.cat([latent, action], -1)))
        return mean, bound(logvar)

    return step


def _of_mean(change: Function) -> Function:
    """The step, with a mean that is changed; `change` gets mean and logvar."""

    def step(latent: Tensor, action: Tensor, net: Function) -> Pair:
        mean, logvar = right_dynamics_step(latent, action, net)
        return change(mean, logvar), logvar

    return step


def _residual(latent: Tensor, action: Tensor, net: Function) -> Pair:
    mean, logvar = right_dynamics_step(latent, action, net)
    return latent + mean, logvar


def _network(seed: int, inputs: int, outputs: int, dtype: torch.dtype) -> Rule:
    into, out = uniform(seed, inputs, 8, dtype=dtype), uniform(seed + 1, 8, outputs, dtype=dtype)
    return Rule(f"(B, {inputs}) -> (B, {outputs})", lambda x: torch.tanh(x @ into) @ out)


def _step_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    batch, size = shape
    size += 1  # with a latent of one number, many mistakes are none
    return {
        "latent": uniform(seed, batch, size, dtype=dtype),
        "action": torch.eye(3, dtype=dtype)[torch.arange(batch) % 3],
        "net": _network(seed + 2, size + 3, 2 * size, dtype),
    }


DYNAMICS_STEP = Part(
    name="dynamics_step",
    right=right_dynamics_step,
    container=tuple,
    returns=("mean", "logvar"),
    batched=("latent", "action"),
    gradient_to=("latent", "action"),
    cases=(
        {
            "latent": torch.tensor([[1.0, 2.0]]),
            "action": torch.tensor([[0.0, 1.0]]),
            "net": Rule("x -> [x0 + x3, x1 - x3, x0 - x2, x3]", lambda x: torch.stack(
                [x[:, 0] + x[:, 3], x[:, 1] - x[:, 3], x[:, 0] - x[:, 2], x[:, 3]], -1)),
        },
        *(_step_case(*variation) for variation in variations()),
    ),
    mistakes={
        "dynamics_ignore_latent": Mistake(
            "the prediction does not depend on the latent.",
            "the latent was overwritten, or masked, before it was used.",
            (without(right_dynamics_step, 0),),
        ),
        "action_before_latent": Mistake(
            "the network gets action and latent in the other order.",
            "a network that is trained so would learn it so; one that was trained on (latent, action) cannot know.",
            (lambda latent, action, net: right_dynamics_step(action, latent, net),),
        ),
        "mean_logvar_swapped": Mistake(
            "the first half of the output is the mean, the second one logvar; here they are swapped or interleaved.",
            "both have the same shape, so nothing complains.",
            (_step(halves=lambda raw: raw.chunk(2, -1)[::-1]),
             _step(halves=lambda raw: (raw[..., ::2], raw[..., 1::2]))),
        ),
        "logvar_clamped": Mistake(
            "logvar is cut off at the bounds, where it then gets no gradient and stays.",
            "clamp is the shortest way to a bound; low + (high - low) * sigmoid(x) has a slope everywhere.",
            (_step(lambda logvar: logvar.clamp(LOW, HIGH)),),
        ),
        "logvar_tanh": Mistake(
            "tanh in place of the sigmoid: half of the values lie outside of the bounds.",
            "both squash; tanh to -1..1, the sigmoid to 0..1.",
            (_step(lambda logvar: LOW + (HIGH - LOW) * logvar.tanh()),),
        ),
        "logvar_exponentiated": Mistake(
            "the variance or the standard deviation is returned in place of logvar.",
            "the next thing that is needed is a standard deviation; sample and KL take logvar and do that themselves.",
            (_step(lambda logvar: _bounded(logvar).exp()), _step(lambda logvar: (0.5 * _bounded(logvar)).exp()),
             _step(torch.exp), _step(lambda logvar: (0.5 * logvar).exp()), _step(functional.softplus)),
        ),
        "logvar_another_range": Mistake(
            f"the sigmoid is not brought to the range from {LOW:g} to {HIGH:g}.",
            f"it goes from 0 to 1: the lower end is {LOW:g}, and the factor is the width of the range, {HIGH - LOW:g}.",
            (_step(torch.sigmoid), _step(lambda logvar: LOW + HIGH * logvar.sigmoid()),
             _step(lambda logvar: LOW - LOW * logvar.sigmoid()), _step(lambda logvar: LOW + logvar.sigmoid()),
             _step(lambda logvar: HIGH + (LOW - HIGH) * logvar.sigmoid())),
        ),
        "mean_bounded": Mistake(
            "the mean is bounded, too; it is the first half of the output as it is.",
            "the bound was applied before the output was cut in two, or tanh keeps it small; latents have no bound.",
            (_of_mean(lambda mean, logvar: _bounded(mean)), _of_mean(lambda mean, logvar: mean.tanh())),
        ),
        "sampled_in_step": Mistake(
            "a sample is returned in place of the mean.",
            "a dream draws each step; that is done by whoever asks, with the mean and logvar returned here.",
            (_of_mean(lambda mean, logvar: mean + (0.5 * logvar).exp() * torch.randn_like(mean)),),
        ),
        "residual_added": Mistake(
            "the latent is added to the predicted mean.",
            "networks that predict a change are common; this one predicts the next latent itself.",
            (_residual,),
        ),
        "latent_detached": Mistake(
            "no gradient reaches the latent, so predicting well never shapes what is predicted from.",
            "the latent was detached as in imagination, where the model must not learn.",
            of_wrong(right_dynamics_step, 0, torch.detach),
        ),
    },
)  # fmt: skip


# What the prior is given ----------------------------------------------------------------------------------------------


def _reset(is_first: Tensor, x: Tensor) -> Tensor:
    return x.masked_fill(is_first[..., None], 0.0)


def _shifted(latent: Tensor, start: Tensor) -> Tensor:
    return torch.cat([start[:, None], latent[:, :-1]], 1)


def right_prior_inputs(latent: Tensor, previous_action: Tensor, is_first: Tensor, start: Tensor) -> Pair:
    """The latent one row before and the action that led to the row, zeros where an episode begins: (B, T, ...)."""
    return _reset(is_first, _shifted(latent, start)), _reset(is_first, previous_action)


def inputs_of(of_latent: Function = _reset, of_action: Function = _reset, shift: Function = _shifted) -> Function:
    """The right inputs, with other resets or another shift."""

    def inputs(latent: Tensor, previous_action: Tensor, is_first: Tensor, start: Tensor) -> Pair:
        return of_latent(is_first, shift(latent, start)), of_action(is_first, previous_action)

    return inputs


def keep_all(is_first: Tensor, x: Tensor) -> Tensor:
    """Nothing is set to zero."""
    return x


def _not_first(is_first: Tensor, x: Tensor) -> Tensor:
    return _reset(~is_first, x)


def _reset_early(latent: Tensor, previous_action: Tensor, is_first: Tensor, start: Tensor) -> Pair:
    """The reset comes before the shift, so the zeros arrive one row late."""
    return _shifted(_reset(is_first, latent), start), _reset(is_first, previous_action)


def _from_row_1(is_first: Tensor, x: Tensor) -> Tensor:
    return torch.cat([x[:, :1], _reset(is_first[:, 1:], x[:, 1:])], 1)


def _whole_batch(is_first: Tensor, x: Tensor) -> Tensor:
    return _reset(is_first.any(0, keepdim=True).expand_as(is_first), x)


def _start_again(action: Function) -> Function:
    """`start` in the place of zeros where an episode begins."""

    def inputs(latent: Tensor, previous_action: Tensor, is_first: Tensor, start: Tensor) -> Pair:
        before = torch.where(is_first[..., None], start[:, None], _shifted(latent, start))
        return before, action(is_first, previous_action)

    return inputs


def _later(x: Tensor) -> Tensor:
    """Each row holds what the row before it held, the first one zeros."""
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)


def _earlier(x: Tensor) -> Tensor:
    return _later(x.flip(1)).flip(1)


def _row_0_only(is_first: Tensor, x: Tensor) -> Tensor:
    return torch.cat([_reset(is_first[:, :1], x[:, :1]), x[:, 1:]], 1)


def _begins(seed: int, shape: tuple[int, int]) -> Tensor:
    """Where episodes begin: about one row in three, and in row 0 of some sequences."""
    return uniform(seed, *shape, dtype=torch.float64, low=0.0, high=1.0) < 0.35


def _rows(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    return {
        "latent": uniform(seed, *shape, 3, dtype=dtype, low=0.5),
        "previous_action": uniform(seed + 1, *shape, 2, dtype=dtype, low=0.5),
        "is_first": _begins(seed + 2, shape),
        "start": uniform(seed + 3, shape[0], 3, dtype=dtype, low=0.5),
    }


PRIOR_INPUTS = Part(
    name="prior_inputs",
    right=right_prior_inputs,
    container=tuple,
    returns=("the latent before", "the action before"),
    batched=("latent", "previous_action", "is_first", "start"),
    gradient_to=("latent",),
    cases=(
        {
            "latent": torch.tensor([[[1.0], [2.0], [3.0], [4.0]]]),
            "previous_action": torch.tensor([[[0.5], [0.6], [0.7], [0.8]]]),
            "is_first": torch.tensor([[False, False, True, False]]),
            "start": torch.tensor([[9.0]]),
        },
        {
            "latent": torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]),
            "previous_action": torch.tensor([[[0.5], [0.6]], [[0.7], [0.8]]]),
            "is_first": torch.tensor([[True, False], [False, False]]),
            "start": torch.tensor([[9.0], [8.0]]),
        },
        *(_rows(*variation) for variation in variations()),
    ),
    mistakes={
        "latent_not_reset": Mistake(
            "the action is forgotten where an episode begins, the latent is not.",
            "with `start` in row 0 the beginning seems to be taken care of; sequences also cross episodes later on.",
            (inputs_of(of_latent=keep_all),),
        ),
        "reset_one_row_late": Mistake(
            "the reset arrives one row late: in the row after the first one of an episode.",
            "it came before the shift, or is_first was shifted, too; is_first belongs to the row that is predicted.",
            (_reset_early, *of_wrong(right_prior_inputs, 2, _later),
             lambda z, a, first, start: (_shifted(_reset(first, z), start), a)),
        ),
        "start_never_forgotten": Mistake(
            "row 0 keeps `start` even where an episode begins in it.",
            "the loop over rows begins with row 1, or the mask is applied before `start` is put in front.",
            (inputs_of(_from_row_1), inputs_of(_from_row_1, _from_row_1)),
        ),
        "prior_sees_own_row": Mistake(
            "the prior of a row is given the latent of that row, so it predicts what it was told.",
            "the shift by one row is missing; the loss is wonderful.",
            (inputs_of(shift=lambda latent, start: latent), lambda latent, action, is_first, start: (latent, action),
             inputs_of(shift=lambda latent, start: torch.cat([start[:, None], latent[:, 1:]], 1))),
        ),
        "start_lost": Mistake(
            "row 0 is always predicted from zeros; `start` is what was known one row before the sequence.",
            "sequences are taken for episodes, which begin with nothing.",
            (without(right_prior_inputs, 3),),
        ),
        "last_row_rolled_in": Mistake(
            "row 0 is predicted from the last row of the sequence.",
            "torch.roll is the shortest way to shift; what falls out at the end comes in at the beginning.",
            (inputs_of(shift=lambda latent, start: latent.roll(1, 1)),),
        ),
        "mask_inverted": Mistake(
            "latents, actions or both are forgotten everywhere except where an episode begins.",
            "one ~ too many or too few: masked_fill fills where the mask is true, a product keeps there.",
            (inputs_of(_not_first, _not_first), inputs_of(of_latent=_not_first), inputs_of(of_action=_not_first)),
        ),
        "batch_forgets_together": Mistake(
            "one sequence that begins an episode makes all sequences of the batch forget.",
            "`if is_first.any()` works for a batch of one.",
            (inputs_of(_whole_batch, _whole_batch),),
        ),
        "start_at_every_reset": Mistake(
            "where an episode begins the prior gets `start`, which is for row 0 alone; an episode begins with zeros.",
            "the word sounds like the beginning of an episode; it is the latent one row before the sequence.",
            (_start_again(_reset), _start_again(keep_all)),
        ),
        "action_shifted_twice": Mistake(
            "the action is shifted by a row; `previous_action` is shifted already, its row t holds a_{t-1}.",
            "latents must be shifted, and the same line is written for the actions.",
            (*of_wrong(right_prior_inputs, 1, _later, lambda action: action.roll(1, 1)),
             inputs_of(of_action=lambda is_first, action: _later(_reset(is_first, action)))),
        ),
        "action_after_row": Mistake(
            "each row gets the action that is chosen in it; it is predicted from the action that led to it.",
            "the action of a row is what replays usually hold; `previous_action` is the action of the row before.",
            of_wrong(right_prior_inputs, 1, _earlier, lambda action: action.roll(-1, 1)),
        ),
        "latent_of_next_row": Mistake(
            "latents are shifted the wrong way: a row is predicted from the row after it.",
            "latent[:, 1:] leaves out the first row, latent[:, :-1] the last one; the last one is what no row needs.",
            (inputs_of(shift=lambda latent, start: torch.cat([latent[:, 1:], start[:, None]], 1)),
             inputs_of(shift=lambda latent, start: latent.roll(-1, 1)),
             inputs_of(shift=lambda latent, start: _earlier(latent))),
        ),
        "reset_one_row_early": Mistake(
            "the row before an episode begins is reset, and not its first row.",
            "is_first belongs to the row that is predicted; the end of an episode is in the row before.",
            of_wrong(right_prior_inputs, 2, _earlier),
        ),
        "reset_of_row_0_only": Mistake(
            "an episode that begins within the sequence is not noticed, only one that begins in row 0.",
            "sequences are taken for episodes; they are cut anywhere, and run across borders.",
            (inputs_of(_row_0_only, _row_0_only), inputs_of(of_latent=_row_0_only)),
        ),
        "forgets_other_rows": Mistake(
            "where an episode begins, other rows of the same sequence are forgotten, too.",
            "any over a sequence, or a running maximum, spreads one flag; only the row with the flag forgets.",
            of_wrong(right_prior_inputs, 2, lambda first: first.any(1, keepdim=True).expand_as(first),
                     lambda first: first.cummax(1).values),
        ),
        "inputs_swapped": Mistake(
            "action and latent are returned in the other order.",
            "in a tuple nothing but the place tells what is what.",
            (lambda *given: right_prior_inputs(*given)[::-1],),
        ),
    },
)  # fmt: skip


# In the package -------------------------------------------------------------------------------------------------------

Observed = tuple[State, Distribution, Distribution]


def unbounded_gaussian(latent: GaussianLatent, raw: Tensor) -> Gaussian:
    """The log-variance is whatever the network says."""
    return Gaussian(*raw.chunk(2, dim=-1))


def expected_states(model: FeedForward | RSSM, action: Tensor, is_first: Tensor, start: State) -> State:
    """The states of the sequence are what was expected, not what was inferred."""
    state, states = start, []
    for t in range(action.shape[1]):
        state = model.imagine(forget(is_first[:, t], state), mask(~is_first[:, t], action[:, t]))
        states.append(state)
    return stack(states, dim=1)


def feed_forward_observe_by_prior(
    model: FeedForward, embedding: Tensor, action: Tensor, is_first: Tensor, start: State
) -> Observed:
    """The posterior is computed, and not used."""
    drawn = expected_states(model, action, is_first, start)
    before = forget(is_first, State(drawn.memory, previous(start.latent, drawn.latent)))
    return drawn, model.posterior(embedding), model.prior(before, mask(~is_first, action))


def rssm_observe_by_prior(model: RSSM, embedding: Tensor, action: Tensor, is_first: Tensor, start: State) -> Observed:
    """The posterior is computed, and not used."""
    drawn = expected_states(model, action, is_first, start)
    return drawn, model.posterior_given(drawn.memory, embedding), model.prior_given(drawn.memory)


def without_gradient(encode: Function) -> Function:
    """Computed once, under `no_grad`."""
    return lambda encoder, obs: encode(encoder, obs).detach()


OWN_ROW = "test_dynamics.py::test_the_posterior_sees_its_own_observation_and_the_prior_the_row_before"
ALL_ROWS = "test_axes.py::test_with_memory_a_row_depends_on_all_rows_before_it_and_on_none_after"

PARTS = (DYNAMICS_STEP, PRIOR_INPUTS)

BUGS = (
    Bug(
        name="logvar_unbounded",
        story="Log-variances are unbounded.",
        symptom="A standard deviation vanishes or explodes, and one batch ends the run with a loss that is no number.",
        innocent="Everything, until that batch.",
        source=f"{GUIDE}, Encoder and DynamicsModel", breaks="latents.GaussianLatent, logvar",
        caught_by=("test_latents.py::test_gaussian_latent_takes_means_first_and_log_variances_second",),
        replaces=((GaussianLatent, "__call__", unbounded_gaussian),), needs={"latent": "gaussian"},
        forms={DYNAMICS_STEP: Mistake(
            f"logvar is whatever the network says; it belongs between {LOW:g} and {HIGH:g}.",
            "it goes well until one batch in which a variance vanishes or explodes.",
            (_step(lambda logvar: logvar),),
        )},
    ),
    Bug(
        name="prior_for_posterior",
        story="The states of a real sequence are sampled from the prior, which has not seen the observation.",
        symptom="The agent acts with closed eyes: what it sees changes nothing.",
        innocent="The divergence is computed as ever, and falls.",
        source="https://github.com/juliusfrost/dreamer-pytorch/pull/78",
        breaks="dynamics.RSSM.observe and dynamics.FeedForward.observe, z_t",
        caught_by=(OWN_ROW, ALL_ROWS),
        replaces=((FeedForward, "observe", feed_forward_observe_by_prior), (RSSM, "observe", rssm_observe_by_prior)),
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
            (FeedForward, "posterior", without(FeedForward.posterior, 1)),
            (RSSM, "posterior_given", without(RSSM.posterior_given, 2)),
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
        replaces=tuple((kind, "forward", without_gradient(kind.forward)) for kind in (VectorEncoder, ImageEncoder)),
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
            (FeedForward, "prior", without(FeedForward.prior, 2)),
            (GRU, "forward", without(GRU.forward, 2)),
            (BlockGRU, "forward", without(BlockGRU.forward, 2)),
        ),
        forms={DYNAMICS_STEP: Mistake(
            "the prediction does not depend on the action, so imagination cannot compare actions.",
            "the loss falls all the same wherever the next state is much like this one.",
            (without(right_dynamics_step, 1),),
        )},
    ),
)  # fmt: skip
