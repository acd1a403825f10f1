"""The policy: the exact gradient that policy gradients estimate, and the actor's loss."""

import torch
from torch import Tensor

from wm_tutorial import actor_critic
from wm_tutorial.actor_critic import Actor, BoundedNormal
from wm_tutorial.latents import OneHot
from wm_tutorial.mistakes.bug import DREAMER_V3, GUIDE, Bug, Replaces, in_the_place_of
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part, of_wrong
from wm_tutorial.mistakes.scale import SCALED_ADVANTAGE, standardised

# The gradient of a bandit ---------------------------------------------------------------------------------------------


def right_bandit_gradient(logits: Tensor, reward: Tensor) -> Tensor:
    """The slope (B, A) of the expected reward under softmax(logits)."""
    probability = logits.softmax(-1)
    return probability * (reward - (probability * reward).sum(-1, keepdim=True))


BANDIT_GRADIENT = Part(
    name="bandit_gradient",
    right=right_bandit_gradient,
    batched=("logits", "reward"),
    cases=(
        {"logits": torch.tensor([[2.0, 1.0, 1.0, 1.0]]).log(), "reward": torch.tensor([[10.0, 5.0, 20.0, 0.0]])},
        *(
            {"logits": uniform(seed, *shape, dtype=dtype), "reward": uniform(seed + 1, *shape, dtype=dtype)}
            for seed, shape, dtype in variations()
        ),
    ),
    mistakes={
        "baseline_missing": Mistake(
            "the expected reward is not subtracted: every action with a positive reward is to become more likely.",
            "d(p r)/dp is r; but probabilities sum to 1, so what one gains the others lose.",
            (lambda logits, reward: logits.softmax(-1) * reward,),
        ),
        "plain_mean_subtracted": Mistake(
            "the plain mean of the rewards is subtracted; it must be the mean under the policy.",
            "mean is the shortest average; here actions are not equally likely.",
            (lambda logits, reward: logits.softmax(-1) * (reward - reward.mean(-1, keepdim=True)),),
        ),
        "probability_missing": Mistake(
            "the factor p is missing: an action that is never taken has no slope yet.",
            "reward minus what was expected is the advantage; the slope also asks how often it happens.",
            (lambda logits, reward: reward - (logits.softmax(-1) * reward).sum(-1, keepdim=True),),
        ),
        "minus_forgotten": Mistake(
            "the sign is the other one: this is the slope of a loss.",
            "optimisers descend, and one gets used to the minus; the expected reward is to be climbed.",
            (lambda logits, reward: -right_bandit_gradient(logits, reward),),
        ),
        "of_probabilities": Mistake(
            "this is the slope in the probabilities; it must be the slope in the logits.",
            "the expected reward is linear in the probabilities, with slope r.",
            (lambda logits, reward: reward,),
        ),
        "mean_of_shares": Mistake(
            "the expected reward is the sum of p r over the actions, and not their mean.",
            "the probabilities are the weights already; dividing by A counts them twice.",
            (lambda logits, reward: (p := logits.softmax(-1)) * (reward - (p * reward).mean(-1, keepdim=True)),),
        ),
        "expected_over_batch": Mistake(
            "the expected reward is summed over all bandits; each has its own.",
            "sum() without an axis is a number, and a number fits everywhere.",
            (lambda logits, reward: (p := logits.softmax(-1)) * (reward - (p * reward).sum()),
             lambda logits, reward: (p := logits.softmax(-1)) * (reward - (p * reward).sum(-1).mean())),
        ),
        "softmax_over_batch": Mistake(
            "the softmax runs over the bandits of the batch, and not over the actions of one.",
            "axis 0 is the first that comes to mind; here it is the batch.",
            (lambda logits, reward: (p := logits.softmax(0)) * (reward - (p * reward).sum(-1, keepdim=True)),),
        ),
        "own_logit_only": Mistake(
            "only the action's own share of the slope is there, p (1 - p) r; the others' shares are missing.",
            "p (1 - p) is the slope of p in its own logit; the others fall, by p times their p.",
            (lambda logits, reward: (p := logits.softmax(-1)) * (1 - p) * reward,),
        ),
        "log_for_probability": Mistake(
            "the log-probability stands where the probability belongs.",
            "policy gradients speak of log p; its slope is taken there, and the average over actions leaves p.",
            (lambda logits, reward: logits.log_softmax(-1)
             * (reward - (logits.softmax(-1) * reward).sum(-1, keepdim=True)),),
        ),
        "baseline_unshared": Mistake(
            "p r - E in place of p (r - E): the expected reward is subtracted without the factor p.",
            "the bracket of p (r - E) is easily lost; each action bears its share of E, so that the slopes sum to 0.",
            (lambda logits, reward: (p := logits.softmax(-1)) * reward - (p * reward).sum(-1, keepdim=True),),
        ),
        "logits_for_probability": Mistake(
            "the raw logits stand where the probabilities belong: the softmax is missing.",
            "a network's outputs are called the policy; they are probabilities after the softmax only.",
            (lambda logits, reward: logits * (reward - (logits * reward).sum(-1, keepdim=True)),
             lambda logits, reward: logits.softmax(-1) * (reward - (logits * reward).sum(-1, keepdim=True))),
        ),
        "mean_over_batch": Mistake(
            "it is divided by the size of the batch: the slope of the mean over bandits.",
            "losses are averaged at the end; here each row has the slope of its own expected reward.",
            (lambda logits, reward: right_bandit_gradient(logits, reward) / len(logits),),
        ),
    },
)  # fmt: skip

# The actor's loss -----------------------------------------------------------------------------------------------------

ACTOR_LOSS = actor_critic.actor_loss  # (log_prob, entropy, advantage, weight, entropy_scale)
PATHWISE_ACTOR_LOSS = actor_critic.pathwise_actor_loss  # (returns, entropy, weight, entropy_scale)
ADVANTAGE = 2
REINFORCE = {"policy_gradient": "reinforce"}


def _log_prob(logits: Tensor, action: Tensor) -> Tensor:
    return (logits.log_softmax(-1) * action).sum(-1)


def _entropy(logits: Tensor) -> Tensor:
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)


def right_policy_loss(
    logits: Tensor, action: Tensor, returns: Tensor, value: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    """REINFORCE with a baseline and an entropy bonus, per imagined step: (B, H)."""
    return ACTOR_LOSS(_log_prob(logits, action), _entropy(logits), returns - value, weight, entropy_scale)


def _policy_loss(
    loss: Function = ACTOR_LOSS,
    likelihood: Function = _log_prob,
    advantage: Function = torch.sub,
    entropy: Function = _entropy,
) -> Function:
    """The right loss with one piece exchanged; `loss` takes what the package's takes."""
    return lambda logits, action, returns, value, weight, scale: loss(
        likelihood(logits, action), entropy(logits), advantage(returns, value), weight, scale
    )


def _of_advantage(*changes: Function) -> tuple[Function, ...]:
    """The package's loss of other advantages."""
    return of_wrong(ACTOR_LOSS, ADVANTAGE, *changes)


def _standard(advantage: Tensor, correction: int = 1) -> Tensor:
    return (advantage - advantage.mean()) / (advantage.std(correction=correction) + 1e-8)


def _ratio(logits: Tensor, action: Tensor) -> Tensor:
    log_prob = _log_prob(logits, action)
    return (log_prob - log_prob.detach()).exp()


def _one_hot(index: Tensor, logits: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(index, logits.shape[-1]).to(logits)


def _drawn_by_torch(logits: Tensor) -> Tensor:
    index: Tensor = torch.distributions.Categorical(logits=logits).sample()  # type: ignore[no-untyped-call]
    return _one_hot(index, logits)


def _policy_loss_of_surprise(
    logits: Tensor, action: Tensor, returns: Tensor, value: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    log_prob = _log_prob(logits, action)
    return ACTOR_LOSS(log_prob, -log_prob, returns - value, weight, entropy_scale)


def _policy_loss_of_own_entropy(
    logits: Tensor, action: Tensor, returns: Tensor, value: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    log_prob = _log_prob(logits, action)
    return ACTOR_LOSS(log_prob, -log_prob.exp() * log_prob, returns - value, weight, entropy_scale)


def _policy_case(seed: int, shape: tuple[int, int], dtype: torch.dtype) -> Arguments:
    logits = uniform(seed, *shape, 3, dtype=dtype)
    return {
        "logits": logits,
        "action": _one_hot(uniform(seed + 1, *shape, 3, dtype=dtype).argmax(-1), logits),
        "returns": uniform(seed + 2, *shape, dtype=dtype),
        "value": uniform(seed + 3, *shape, dtype=dtype),
        "weight": uniform(seed + 4, *shape, dtype=dtype, low=0.1, high=0.9),
        "entropy_scale": 0.3,
    }


POLICY_LOSS = Part(
    name="policy_loss",
    right=right_policy_loss,
    batched=("logits", "action", "returns", "value", "weight"),
    gradient_to=("logits",),
    no_gradient_to=("returns", "value", "weight"),
    cases=(
        {
            "logits": torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 1.0], [0.0, 0.0]]]),
            "action": torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]]),
            "returns": torch.tensor([[3.0, 2.0, 2.0, 1.0, 4.0]]),
            "value": torch.tensor([[1.0, 1.0, 4.0, 1.0, 2.0]]),
            "weight": torch.tensor([[1.0, 0.5, 0.5, 0.5, 0.25]]),
            "entropy_scale": 0.5,
        },
        *(_policy_case(seed, shape, dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "log_prob_missing": Mistake(
            "the loss is minus the advantage: no log-probability ties it to the policy, which never learns.",
            "maximise the advantage is what the text says; without a gradient through the model, only the "
            "log-probability can do that.",
            (_policy_loss(likelihood=lambda logits, action: 1.0),
             lambda logits, action, returns, value, weight, scale: (weight * (value - returns)).detach(),
             lambda logits, action, returns, value, weight, scale: -(returns - value),
             lambda logits, action, returns, value, weight, scale: (value - returns).detach()),
        ),
        "ratio_for_log_prob": Mistake(
            "exp(log_prob - log_prob.detach()) in place of the log-probability: the gradient of the gain is right, its "
            "number is not.",
            "that is the ratio of PPO, which is 1 as long as the policy that acted is the one that learns.",
            (_policy_loss(likelihood=_ratio),),
        ),
        "probability_for_log_prob": Mistake(
            "the probability of the action in place of its logarithm.",
            "the gradient of an expectation is full of probabilities; for samples, the logarithm is what remains.",
            (_policy_loss(likelihood=lambda logits, action: _log_prob(logits, action).exp()),),
        ),
        "logits_for_log_prob": Mistake(
            "the raw logit of the action is taken for its log-probability.",
            "logits are logarithms, up to a constant; the constant is what lowers the other actions.",
            (_policy_loss(likelihood=lambda logits, action: (logits * action).sum(-1)),),
        ),
        "softmax_over_time": Mistake(
            "the softmax runs over the steps of a dream, and not over the actions of a step.",
            "of (B, H, A), axis 1 looks like the one beside the batch.",
            (_policy_loss(likelihood=lambda logits, action: (logits.log_softmax(1) * action).sum(-1)),),
        ),
        "log_prob_averaged": Mistake(
            "log-probabilities times the one-hot action are averaged over the actions; their sum picks the one taken.",
            "mean stands where sum belongs; then it is an A-th of the log-probability.",
            (_policy_loss(likelihood=lambda logits, action: (logits.log_softmax(-1) * action).mean(-1)),),
        ),
        "surprise_for_entropy": Mistake(
            "-log p of the action taken stands for the entropy, which is its average over all actions.",
            "sampled, it is right on average in its number; but its slope is zero on average.",
            (_policy_loss_of_surprise,),
        ),
        "scale_on_both": Mistake(
            "the entropy's scale multiplies the gain, too: a bracket too many.",
            "in -w s (log p A + H) one bracket is in the wrong place.",
            (lambda logits, action, returns, value, weight, scale:
             right_policy_loss(logits, action, scale * returns, scale * value, weight, scale),),
        ),
        "minus_forgotten": Mistake(
            "the sign of the whole loss is the other one: the policy learns to do badly.",
            "the formula is for climbing, the optimiser descends.",
            (lambda *given: -right_policy_loss(*given),),
        ),
        "advantage_reversed": Mistake(
            "the advantage is value - returns: what was better than expected is avoided.",
            "as an error of the critic, the difference is often written that way round.",
            (_policy_loss(advantage=lambda returns, value: value - returns),),
        ),
        "baseline_missing": Mistake(
            "the returns themselves in place of their advantage over the value.",
            "it is right on average, and so noisy that little is learned.",
            (_policy_loss(advantage=lambda returns, value: returns),),
        ),
        "entropy_missing": Mistake(
            "the entropy bonus is missing: the policy stops exploring as soon as something works.",
            "the loss learns without it, for a while.",
            (_policy_loss(entropy=lambda logits: 0.0),),
        ),
        "weight_and_entropy_missing": Mistake(
            "weight and entropy are both missing: this is REINFORCE as textbooks have it.",
            "log-probability times advantage is the part one remembers.",
            (lambda logits, action, returns, value, weight, scale:
             -_log_prob(logits, action) * (returns - value).detach(),),
        ),
        "scale_missing": Mistake(
            "the entropy's scale is missing: a nat counts as much as a unit of reward.",
            "it is the last argument, and the loss runs without it.",
            (lambda logits, action, returns, value, weight, scale:
             right_policy_loss(logits, action, returns, value, weight, 1.0),),
        ),
        "entropy_averaged": Mistake(
            "-p log p is averaged over the actions; the entropy is its sum.",
            "the probabilities are the weights of that average already.",
            (_policy_loss(entropy=lambda logits: _entropy(logits) / logits.shape[-1]),),
        ),
        "entropy_of_the_action": Mistake(
            "only the action that was taken enters the entropy; all actions do.",
            "the one-hot action was multiplied in there, too, as for the log-probability.",
            (_policy_loss_of_own_entropy,),
        ),
        "entropy_unweighted": Mistake(
            "the weight applies to the gain and not to the entropy.",
            "the bonus is added to the finished loss; steps after an imagined end then still count.",
            (_policy_loss(lambda log_prob, entropy, advantage, weight, scale:
                          -(weight * advantage).detach() * log_prob - scale * entropy),),
        ),
        "weight_leaks": Mistake(
            "the weight is not detached: the loss can be lowered by predicting an end.",
            "the weight comes out of the model, with its gradient.",
            (_policy_loss(lambda log_prob, entropy, advantage, weight, scale:
                          -weight * (log_prob * advantage.detach() + scale * entropy)),),
        ),
        "nothing_detached": Mistake(
            "nothing is detached: the loss can be lowered by other grades and weights, without a better policy.",
            "as a formula all of its letters look alike; returns, value and weight are numbers here.",
            (_policy_loss(lambda log_prob, entropy, advantage, weight, scale:
                          -weight * (log_prob * advantage + scale * entropy)),),
        ),
        "log_prob_detached": Mistake(
            "no gradient reaches the policy through its log-probability.",
            "the log-probability was computed while acting, where no gradient is kept.",
            (_policy_loss(likelihood=lambda logits, action: _log_prob(logits, action).detach()),
             lambda *given: right_policy_loss(*given).detach()),
        ),
    },
)  # fmt: skip

# In the package, and in a reader's loss -------------------------------------------------------------------------------


def _advantage_alone(log_prob: Tensor, entropy: Tensor, advantage: Tensor, weight: Tensor, scale: float) -> Tensor:
    """Minus the advantage itself: its gradient reaches only the critic, which learns to be low."""
    return -weight.detach() * advantage


def _open_advantage(log_prob: Tensor, entropy: Tensor, advantage: Tensor, weight: Tensor, scale: float) -> Tensor:
    """The advantage is a function of the critic's parameters, and the actor's loss lowers it through them."""
    return -weight.detach() * (log_prob * advantage + scale * entropy)


def _of_another_action(log_prob: Function) -> Function:
    """An action is drawn once more, and it is this one that is praised."""
    return lambda policy, value: log_prob(policy, policy.sample())


def _in_the_package(loss: Function) -> Replaces:
    return in_the_place_of(actor_critic, "actor_loss", loss)


OF_ANOTHER_ACTION = {kind: _of_another_action(kind.log_prob) for kind in (OneHot, BoundedNormal)}
# Whatever the advantages are, they get mean 0 and deviation 1.
(STANDARDISED,) = _of_advantage(_standard)
# Log-probabilities (M,) times advantages (M, 1): the mean over the second axis of the (M, M) products.
(ALL_PAIRS,) = _of_advantage(torch.mean)
# The bonus is a penalty.
(AGAINST_ENTROPY,) = of_wrong(ACTOR_LOSS, 4, lambda scale: -scale)
(PATHWISE_AGAINST_ENTROPY,) = of_wrong(PATHWISE_ACTOR_LOSS, 3, lambda scale: -scale)


def actor_without_unimix(actor: Actor, feature: Tensor) -> OneHot | BoundedNormal:
    """The option is read, and not used."""
    raw = actor.net(feature)
    return OneHot.mixed(raw, 0.0) if actor.discrete else BoundedNormal.bounded(*raw.chunk(2, dim=-1))


BY_HAND = "test_actor_critic.py::test_actor_loss_by_hand"
ROUTES = "test_actor_critic.py::test_the_actors_loss_moves_the_actor_and_the_critics_the_critic"

PARTS = (BANDIT_GRADIENT, POLICY_LOSS)

BUGS = (
    Bug(
        name="advantage_leaks",
        story="The actor's loss is minus the advantage, with no log-probability, no entropy and no stop-gradient.",
        symptom="The policy never changes, and the critic sinks far below the returns.",
        innocent="The actor's loss goes down beautifully.",
        source=f"{GUIDE}, train_actor_critic", breaks="actor_critic.actor_loss, log pi(a_t)",
        caught_by=(BY_HAND, ROUTES), replaces=_in_the_package(_advantage_alone), needs=REINFORCE,
        forms={POLICY_LOSS: Mistake(
            "the loss is minus the advantage, not detached and without log-probability: all it can do is move the "
            "critic.",
            "maximise the advantage is what the text says; lowering the value raises it, too.",
            (_policy_loss(_advantage_alone),),
        )},
    ),
    Bug(
        name="advantage_not_detached",
        story="The actor's loss sends gradient through the advantage into the critic.",
        symptom="The critic drifts towards whatever makes the actor's loss small; training is unstable.",
        innocent="The actor's loss, and the critic's while its own gradient is larger.",
        source="https://github.com/astariul/encode-attend-navigate-pytorch/issues/2",
        breaks="actor_critic.actor_loss, sg(advantage)",
        caught_by=("test_actor_critic.py::test_the_losses_treat_advantage_target_and_weight_as_numbers", ROUTES),
        replaces=_in_the_package(_open_advantage), needs=REINFORCE,
        forms={POLICY_LOSS: Mistake(
            "the advantage is not detached, so the actor's loss also moves the critic: as log-probabilities are never "
            "positive, it pushes the critic up.",
            "returns - value is a plain formula; that it must be a number here, not a function, is not written in it.",
            (_policy_loss(_open_advantage),
             _policy_loss(_open_advantage, advantage=lambda returns, value: returns.detach() - value),
             _policy_loss(_open_advantage, advantage=lambda returns, value: returns - value.detach())),
        )},
    ),
    Bug(
        name="log_prob_of_another_action",
        story="The advantage of one action multiplies the log-probability of another: the loss samples once more.",
        symptom="On average the gradient is zero; the policy wanders.",
        innocent="Every loss has its usual size.",
        source="https://github.com/thu-ml/tianshou/issues/397", breaks="actor_critic.ActorCritic.losses, log pi(a_t)",
        caught_by=(
            "test_latents.py::test_entropy_and_log_prob_by_enumeration",
            "test_actor_critic.py::test_bounded_normal_agrees_with_torch_distributions",
        ),
        replaces=tuple((kind, "log_prob", wrong) for kind, wrong in OF_ANOTHER_ACTION.items()),
        needs=REINFORCE,
        forms={POLICY_LOSS: Mistake(
            "the log-probability is that of another action than the one that was taken.",
            "argmax is the policy's favourite and a new sample its next try, neither is what it did; and actions that "
            "are shifted a step keep their shape.",
            tuple(_policy_loss(likelihood=likelihood) for likelihood in (
                lambda logits, action: OF_ANOTHER_ACTION[OneHot](OneHot.mixed(logits, 0.0), action),
                lambda logits, action: _log_prob(logits, _drawn_by_torch(logits)),
                lambda logits, action: _log_prob(logits, _one_hot(logits.argmax(-1), logits)),
                lambda logits, action: _log_prob(logits, action.roll(1, 1)),
                lambda logits, action: _log_prob(logits, action.roll(-1, 1)),
                lambda logits, action: logits.log_softmax(-1).mean(-1),
                lambda logits, action: logits.log_softmax(-1).sum(-1),
            )),
        )},
    ),
    Bug(
        name="entropy_sign",
        story="The entropy is added to the loss instead of subtracted from it.",
        symptom="Where nothing is earned the policy becomes certain of whatever it preferred, and no longer explores. "
        "Where every step is paid, and the weight is as small as usual, hardly anything.",
        innocent="World model losses and the critic's.",
        source="https://github.com/MrSyee/pg-is-all-you-need/issues/37", breaks="actor_critic.actor_loss, entropy",
        caught_by=(BY_HAND, "test_actor_critic.py::test_without_an_advantage_the_policy_becomes_less_certain"),
        replaces=(*_in_the_package(AGAINST_ENTROPY), (actor_critic, "pathwise_actor_loss", PATHWISE_AGAINST_ENTROPY)),
        forms={POLICY_LOSS: Mistake(
            "entropy has the other sign: the policy is paid for being certain.",
            "one minus for the loss and one inside of the entropy are easily lost.",
            (_policy_loss(AGAINST_ENTROPY),),
        )},
    ),
    Bug(
        name="advantages_standardised",
        story="Advantages get mean 0 and deviation 1 in every batch, instead of being divided by the range of returns.",
        symptom="Where nothing depends on the action, noise is blown up to full size and outweighs the entropy.",
        innocent="The actor's loss, whose size is always the same.",
        source=f"{DREAMER_V3}20", breaks="actor_critic.ActorCritic.losses, advantage / S",
        caught_by=(BY_HAND,), replaces=_in_the_package(STANDARDISED), needs=REINFORCE,
        forms={POLICY_LOSS: Mistake(
            "the advantages are given mean 0 and deviation 1; they count as they are.",
            "many programs do; where nothing depends on the action, noise is then blown up to full size.",
            (_policy_loss(STANDARDISED),
             *map(_policy_loss, _of_advantage(lambda advantage: _standard(advantage, correction=0)))),
        ), SCALED_ADVANTAGE: Mistake(
            "the advantages get mean 0 and deviation 1; they count in units of the range of returns.",
            "many programs do; where nothing depends on the action, noise is then blown up to full size.",
            (standardised(1), standardised(0)),
        )},
    ),
    Bug(
        name="policy_unimix_missing",
        story="The policy ignores the share of the uniform distribution it is configured with.",
        symptom="A policy that has become certain too early never tries anything else again.",
        innocent="Every loss.",
        source=f"{DREAMER_V3}219", breaks="actor_critic.Actor, unimix",
        caught_by=("test_actor_critic.py::test_a_discrete_policy_keeps_a_share_of_every_action",),
        replaces=((Actor, "forward", actor_without_unimix),),
    ),
    Bug(
        name="advantage_not_squeezed",
        story="The advantage is (M, 1), the log-probability (M,): every action is praised for every advantage.",
        symptom="All sampled actions become more or less likely together; the policy learns nothing about any of them.",
        innocent="The actor's loss, whose size is plausible.",
        source="https://github.com/openai/spinningup/issues/339", breaks="actor_critic.actor_loss, log pi(a_t) A_t",
        caught_by=(BY_HAND, "test_actor_critic.py::test_the_actors_loss_on_a_trajectory"),
        replaces=_in_the_package(ALL_PAIRS), needs=REINFORCE,
        forms={POLICY_LOSS: Mistake(
            "every action is praised for the advantages of other steps.",
            "an axis of length 1 broadcasts in silence: (N,) against (N, 1) gives (N, N), and a mean hides it.",
            (_policy_loss(ALL_PAIRS), *map(_policy_loss, _of_advantage(lambda advantage: advantage.mean(1, True))),
             _policy_loss(likelihood=lambda logits, action: _log_prob(logits, action).mean(1, keepdim=True))),
        )},
    ),
)  # fmt: skip
