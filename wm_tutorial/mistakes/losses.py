"""The two losses of the behaviour."""

import torch
from torch import Tensor

from wm_tutorial.latents import OneHot
from wm_tutorial.mistakes.bug import Bug
from wm_tutorial.mistakes.inputs import uniform, variations
from wm_tutorial.mistakes.part import Arguments, Function, Mistake, Part


def _log_prob(logits: Tensor, action: Tensor) -> Tensor:
    return (logits.log_softmax(-1) * action).sum(-1)


def _entropy(logits: Tensor) -> Tensor:
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)


def right_policy_loss(
    logits: Tensor, action: Tensor, returns: Tensor, value: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    """REINFORCE with a baseline and an entropy bonus, per imagined step: (B, H)."""
    advantage = (returns - value).detach()
    return -weight.detach() * (_log_prob(logits, action) * advantage + entropy_scale * _entropy(logits))


def _policy_loss(
    likelihood: Function = _log_prob,
    advantage: Function = lambda returns, value: (returns - value).detach(),
    weight: Function = lambda weight: weight.detach(),
    entropy: Function = _entropy,
    sign: float = -1.0,
) -> Function:
    """The right loss with one piece exchanged."""

    def loss(
        logits: Tensor, action: Tensor, returns: Tensor, value: Tensor, weights: Tensor, entropy_scale: float
    ) -> Tensor:
        gain = likelihood(logits, action) * advantage(returns, value) + entropy_scale * entropy(logits)
        weighted: Tensor = sign * weight(weights) * gain
        return weighted

    return loss


def _of_advantage(change: Function) -> Function:
    """The right loss of other advantages."""
    return _policy_loss(advantage=lambda returns, value: change((returns - value).detach()))


def _standard(advantage: Tensor, correction: int) -> Tensor:
    return (advantage - advantage.mean()) / (advantage.std(correction=correction) + 1e-8)


def _ratio(logits: Tensor, action: Tensor) -> Tensor:
    log_prob = _log_prob(logits, action)
    return (log_prob - log_prob.detach()).exp()


def _without_log_prob(advantage: Function) -> Function:
    """Minus the advantage, and nothing else."""
    return lambda logits, action, returns, value, weight, scale: -weight.detach() * advantage(returns, value)


def _entropy_without_weight(
    logits: Tensor, action: Tensor, returns: Tensor, value: Tensor, weight: Tensor, entropy_scale: float
) -> Tensor:
    gain = _log_prob(logits, action) * (returns - value).detach()
    return -(weight.detach() * gain + entropy_scale * _entropy(logits))


def _one_hot(index: Tensor, logits: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(index, logits.shape[-1]).to(logits)


def _drawn_by_torch(logits: Tensor) -> Tensor:
    index: Tensor = torch.distributions.Categorical(logits=logits).sample()  # type: ignore[no-untyped-call]
    return _one_hot(index, logits)


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
        "advantage_not_detached": Mistake(
            "the advantage is not detached, so the actor's loss also moves the critic: as log-probabilities are never "
            "positive, it pushes the critic up.",
            "returns - value is a plain formula; that it must be a number here, not a function, is not written in it.",
            (_policy_loss(advantage=lambda returns, value: returns - value),
             _policy_loss(advantage=lambda returns, value: returns.detach() - value),
             _policy_loss(advantage=lambda returns, value: returns - value.detach())),
        ),
        "advantage_leaks": Mistake(
            "the loss is minus the advantage, not detached and without log-probability: all it can do is move the "
            "critic.",
            "maximise the advantage is what the text says; lowering the value raises it, too.",
            (_without_log_prob(lambda returns, value: returns - value),),
        ),
        "advantage_not_squeezed": Mistake(
            "every action is praised for the advantages of other steps.",
            "an axis of length 1 broadcasts in silence: (N,) against (N, 1) gives (N, N), and a mean hides it.",
            (_of_advantage(torch.mean), _of_advantage(lambda advantage: advantage.mean(1, keepdim=True)),
             _policy_loss(likelihood=lambda logits, action: _log_prob(logits, action).mean(1, keepdim=True))),
        ),
        "advantages_standardised": Mistake(
            "the advantages are given mean 0 and deviation 1; they count as they are.",
            "many programs do; where nothing depends on the action, noise is then blown up to full size.",
            (_of_advantage(lambda advantage: _standard(advantage, 1)),
             _of_advantage(lambda advantage: _standard(advantage, 0))),
        ),
        "log_prob_missing": Mistake(
            "the loss is minus the advantage: no log-probability ties it to the policy, which never learns.",
            "maximise the advantage is what the text says; without a gradient through the model, only the "
            "log-probability can do that.",
            (_policy_loss(likelihood=lambda logits, action: 1.0),
             _without_log_prob(lambda returns, value: (returns - value).detach())),
        ),
        "ratio_for_log_prob": Mistake(
            "exp(log_prob - log_prob.detach()) in place of the log-probability: the gradient of the gain is right, its "
            "number is not.",
            "that is the ratio of PPO, which is 1 as long as the policy that acted is the one that learns.",
            (_policy_loss(likelihood=_ratio),),
        ),
        "log_prob_of_another_action": Mistake(
            "the log-probability is that of another action than the one that was taken.",
            "argmax is the policy's favourite and a new sample its next try, neither is what it did; and actions that "
            "are shifted a step keep their shape.",
            (_policy_loss(likelihood=lambda logits, action: _log_prob(logits, OneHot.mixed(logits, 0.0).sample())),
             _policy_loss(likelihood=lambda logits, action: _log_prob(logits, _drawn_by_torch(logits))),
             _policy_loss(likelihood=lambda logits, action: _log_prob(logits, _one_hot(logits.argmax(-1), logits))),
             _policy_loss(likelihood=lambda logits, action: _log_prob(logits, action.roll(1, 1))),
             _policy_loss(likelihood=lambda logits, action: _log_prob(logits, action.roll(-1, 1))),
             _policy_loss(likelihood=lambda logits, action: logits.log_softmax(-1).mean(-1)),
             _policy_loss(likelihood=lambda logits, action: logits.log_softmax(-1).sum(-1))),
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
        "minus_forgotten": Mistake(
            "the sign of the whole loss is the other one: the policy learns to do badly.",
            "the formula is for climbing, the optimiser descends.",
            (_policy_loss(sign=1.0),),
        ),
        "advantage_reversed": Mistake(
            "the advantage is value - returns: what was better than expected is avoided.",
            "as an error of the critic, the difference is often written that way round.",
            (_policy_loss(advantage=lambda returns, value: (value - returns).detach()),),
        ),
        "baseline_missing": Mistake(
            "the returns themselves in place of their advantage over the value.",
            "it is right on average, and so noisy that little is learned.",
            (_policy_loss(advantage=lambda returns, value: returns.detach()),),
        ),
        "entropy_sign": Mistake(
            "entropy has the other sign: the policy is paid for being certain.",
            "one minus for the loss and one inside of the entropy are easily lost.",
            (_policy_loss(entropy=lambda logits: -_entropy(logits)),),
        ),
        "entropy_missing": Mistake(
            "the entropy bonus is missing: the policy stops exploring as soon as something works.",
            "the loss learns without it, for a while.",
            (_policy_loss(entropy=lambda logits: 0.0),),
        ),
        "entropy_unweighted": Mistake(
            "the weight applies to the gain and not to the entropy.",
            "the bonus is added to the finished loss; steps after an imagined end then still count.",
            (_entropy_without_weight,),
        ),
        "weights_missing": Mistake(
            "the weights are missing: steps imagined after an end count fully.",
            "nothing looks wrong without them; the agent learns from a life after death.",
            (_policy_loss(weight=lambda weight: 1.0),),
        ),
        "weight_leaks": Mistake(
            "the weight is not detached: the loss can be lowered by predicting an end.",
            "the weight comes out of the model, with its gradient.",
            (_policy_loss(weight=lambda weight: weight),),
        ),
        "log_prob_detached": Mistake(
            "no gradient reaches the policy through its log-probability.",
            "the log-probability was computed while acting, where no gradient is kept.",
            (_policy_loss(likelihood=lambda logits, action: _log_prob(logits, action).detach()),
             lambda *given: right_policy_loss(*given).detach()),
        ),
    },
)  # fmt: skip


def right_critic_loss(value: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted squared error of N predictions: (N, 1), (N,), (N,) -> (N,)."""
    return weight.detach() * (value.squeeze(-1) - target.detach()) ** 2


def _critic_loss(error: Function) -> Function:
    return lambda value, target, weight: weight.detach() * error(value.squeeze(-1) - target.detach())


def _broadcast_critic_loss(value: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return weight.detach() * (value - target.detach()) ** 2


def _critic_case(seed: int, states: int, dtype: torch.dtype) -> Arguments:
    return {
        "value": uniform(seed, states, 1, dtype=dtype),
        "target": uniform(seed + 1, states, dtype=dtype),
        "weight": uniform(seed + 2, states, dtype=dtype, low=0.1, high=0.9),
    }


CRITIC_LOSS = Part(
    name="critic_loss",
    right=right_critic_loss,
    batched=("value", "target", "weight"),
    gradient_to=("value",),
    no_gradient_to=("target", "weight"),
    cases=(
        {
            "value": torch.tensor([[1.0], [2.0], [0.0], [4.0], [3.0]]),
            "target": torch.tensor([2.0, 2.0, 3.0, 3.0, 5.0]),
            "weight": torch.tensor([1.0, 1.0, 0.5, 0.5, 0.25]),
        },
        *(_critic_case(seed, shape[0], dtype) for seed, shape, dtype in variations()),
    ),
    mistakes={
        "target_leaks": Mistake(
            "the target is not detached: it moves towards the prediction as much as the other way round.",
            "the target was computed from the critic's own values, with their gradient.",
            (lambda value, target, weight: weight.detach() * (value.squeeze(-1) - target) ** 2,),
        ),
        "weight_leaks": Mistake(
            "the weight is not detached: the loss can be lowered by predicting an end.",
            "the weight comes out of the model, with its gradient.",
            (lambda value, target, weight: weight * (value.squeeze(-1) - target.detach()) ** 2,),
        ),
        "target_and_weight_leak": Mistake(
            "neither target nor weight is detached.",
            "both come out of networks, with their gradient; here they are numbers.",
            (lambda value, target, weight: weight * (value.squeeze(-1) - target) ** 2,),
        ),
        "value_not_squeezed": Mistake(
            "(N, 1) against (N,) gives (N, N): every value is compared with every target.",
            "a network for one number gives an axis of length 1; torch broadcasts it in silence, and a mean hides it.",
            (_broadcast_critic_loss, lambda *given: _broadcast_critic_loss(*given).mean(),
             lambda *given: _broadcast_critic_loss(*given).mean(0),
             lambda *given: _broadcast_critic_loss(*given).mean(1),
             lambda value, target, weight: weight.detach() * ((value - target.detach()) ** 2).mean(-1),
             lambda value, target, weight: weight.detach() * ((value - target.detach()) ** 2).mean(),
             lambda value, target, weight: ((value - target.detach()) ** 2).mean()),
        ),
        "weights_missing": Mistake(
            "the weights are missing: steps imagined after an end count fully.",
            "nothing looks wrong without them; the critic learns values of a life after death.",
            (lambda value, target, weight: (value.squeeze(-1) - target.detach()) ** 2,),
        ),
        "weight_squared": Mistake(
            "the weight is inside of the square, so it counts twice.",
            "weighting the error looks the same as weighting its square.",
            (lambda value, target, weight: (weight.detach() * (value.squeeze(-1) - target.detach())) ** 2,),
        ),
        "error_not_squared": Mistake(
            "the error is not squared.",
            "the sign of an error has nothing to descend to; its size leads to the median, not to the mean.",
            (_critic_loss(lambda error: error), _critic_loss(lambda error: -error), _critic_loss(torch.abs)),
        ),
        "error_halved": Mistake(
            "the squared error is halved.",
            "many texts do, so that the derivative has no 2; here it is left out, to compare numbers.",
            (_critic_loss(lambda error: 0.5 * error**2),),
        ),
        "value_detached": Mistake(
            "no gradient reaches the value: the critic never learns.",
            "the wrong side was detached.",
            (lambda value, target, weight: weight * (value.squeeze(-1).detach() - target) ** 2,
             lambda value, target, weight: weight.detach() * (value.squeeze(-1).detach() - target) ** 2,
             lambda *given: right_critic_loss(*given).detach()),
        ),
    },
)  # fmt: skip

PARTS = (
    POLICY_LOSS,
    CRITIC_LOSS,
)
BUGS: tuple[Bug, ...] = ()
