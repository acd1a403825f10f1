"""Mistakes in how an agent is set up: its layers, its optimiser, its chance, and when it learns how much."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from wm_tutorial import imagination, networks, optim
from wm_tutorial.actor_critic import ActorCritic, BoundedNormal
from wm_tutorial.agent import Agent
from wm_tutorial.config import Config
from wm_tutorial.data import Array, Spaces, Trajectory
from wm_tutorial.latents import Gaussian, OneHot
from wm_tutorial.learner import Learner
from wm_tutorial.mistakes.bug import MUPRL, RLMUTATION, TORCHRL, Bug
from wm_tutorial.mistakes.part import Part
from wm_tutorial.networks import BlockLinear, Norm, initialise, linear
from wm_tutorial.trainer import Trainer

NORMALISE = networks.normalise
IMAGINE = imagination.imagine
REPLAY_LOSS = ActorCritic.replay_loss
LEARNER = Learner.__init__
BLOCKS = BlockLinear.__init__
COLLECT = Trainer.collect
DECODE = Spaces.decode_action

# Layers ---------------------------------------------------------------------------------------------------------------


def block_of_relu(inputs: int, outputs: int, norm: Norm = "layer") -> nn.Sequential:
    """Negative numbers become zero."""
    return nn.Sequential(linear(inputs, outputs), networks.normalise(outputs, norm), nn.ReLU())


def normalise_with_an_offset(size: int, norm: Norm) -> nn.Module:
    """The mean is taken away and an offset is learned, whatever was asked for."""
    return nn.LayerNorm(size, eps=1e-4) if norm == "rms" else NORMALISE(size, norm)


def blocks_by_their_own_inputs(layer: BlockLinear, blocks: int, inputs: int, outputs: int) -> None:
    """Each block is initialised as if it was a layer of its own."""
    BLOCKS(layer, blocks, inputs, outputs)
    initialise(layer.weight, inputs)


# Optimisation ---------------------------------------------------------------------------------------------------------


def plain_descent(config: Config, groups: Any) -> torch.optim.Optimizer:
    """Stochastic gradient descent with the learning rates of another optimiser."""
    return torch.optim.SGD(groups)


def learner_of_the_slow_critic(learner: Learner, agent: Agent, config: Config) -> None:
    """The critic's group holds the parameters of its slow copy, which have no gradient."""
    LEARNER(learner, agent, config)
    learner.optimizer.param_groups[-1]["params"] = list(agent.behaviour.slow_critic.parameters())


@torch.no_grad()
def slow_critic_of_swapped_weights(behaviour: ActorCritic) -> None:
    """The new critic counts by 1 - rate, the slow one by rate."""
    for slow, fast in zip(behaviour.slow_critic.parameters(), behaviour.critic.parameters(), strict=True):
        slow.lerp_(fast, 1.0 - behaviour.config.slow_critic_rate)


def no_replay_loss(behaviour: ActorCritic, *given: Any) -> Tensor:
    """The loss is computed, and counts nothing."""
    return 0.0 * REPLAY_LOSS(behaviour, *given)


def shorter_imagination(
    world_model: Any, policy: Any, start: Any, horizon: int, *rest: Any, **named: Any
) -> Trajectory:
    """One state fewer: the states were counted, and not the steps between them."""
    return IMAGINE(world_model, policy, start, max(1, horizon - 1), *rest, **named)


# When -----------------------------------------------------------------------------------------------------------------


def updates_due_after(prefill: Callable[[Config], int]) -> property:
    """The updates that are due when learning begins after another prefill."""

    def due(trainer: Trainer) -> int:
        config = trainer.config
        enough = len(trainer.replay) // config.envs > config.sequence_length
        return int(max(0, trainer.steps - prefill(config)) * config.updates_per_step) if enough else 0

    return property(due)


def collect_and_count_twice(trainer: Trainer) -> None:
    """A step counts as two, as in frames of an environment that repeats each action."""
    before = trainer.steps
    COLLECT(trainer)
    trainer.steps += trainer.steps - before


# Chance and actions ---------------------------------------------------------------------------------------------------

RECORDED: dict[tuple[type, tuple[int, ...]], Tensor] = {}


def with_recorded_chance(kind: type, draw: Callable[[Any], Tensor], shape: Callable[[Any], torch.Size]) -> Any:
    """Samples of the same shape are drawn with the random numbers of the first of them."""

    def sample(distribution: Any) -> Tensor:
        now = torch.get_rng_state()
        torch.set_rng_state(RECORDED.setdefault((kind, tuple(shape(distribution))), now))
        try:
            return draw(distribution)
        finally:
            torch.set_rng_state(now)

    return sample


def bounded_without_a_floor(mean: Tensor, std: Tensor) -> BoundedNormal:
    """The deviation may shrink to nothing."""
    return BoundedNormal(torch.tanh(mean), torch.sigmoid(std + 2.0))


def decode_unscaled(spaces: Spaces, action: Array) -> Array:
    """A continuous action between -1 and 1 is given to the environment as it is."""
    if spaces.action_kind == "discrete":
        return DECODE(spaces, action)
    clipped: Array = action.clip(spaces.action_low, spaces.action_high)
    return clipped


STEPS_OF = "test_trainer.py::test_every_part_takes_the_steps_of_its_optimiser"
AS_LARGE = "test_layers.py::test_every_layer_of_a_new_agent_is_as_large_as_its_inputs_ask_for"
WHEN = "test_trainer.py::test_there_are_as_many_updates_per_step_as_asked_for_and_none_before_the_prefill_is_over"

PARTS: tuple[Part, ...] = ()

BUGS = (
    Bug(
        name="activation_changed",
        story="Hidden layers end in ReLU instead of SiLU.",
        symptom="None that a curve shows: the agent learns, with other numbers than the reference's.",
        innocent="Every loss.",
        source=f"{RLMUTATION} (Policy Activation Change)", breaks="networks.block, activation",
        caught_by=(
            "test_networks.py::test_block_is_linear_then_norm_then_silu", "test_golden.py::test_golden_vector_coder",
        ),
        replaces=((networks, "block", block_of_relu),),
    ),
    Bug(
        name="norm_with_an_offset",
        story="Where the root mean square should be divided by, the mean is taken away, too, and an offset is learned.",
        symptom="None that a curve shows; weights of the reference give other numbers.",
        innocent="Every loss.",
        source=f"{TORCHRL}4128", breaks="networks.normalise, mean",
        caught_by=("test_golden.py::test_golden_rssm_step",),
        replaces=((networks, "normalise", normalise_with_an_offset),), needs={"norm": "rms", "memory": "rssm"},
    ),
    Bug(
        name="fan_in_of_a_block",
        story="The blocks of a block-diagonal matrix are initialised by their own inputs instead of by all of them.",
        symptom="The memory starts with weights that are too large, by the root of the number of blocks.",
        innocent="Every loss, after a while.",
        source=f"{TORCHRL}4128", breaks="networks.BlockLinear, standard deviation",
        caught_by=("test_networks.py::test_layers_count_their_own_inputs", AS_LARGE),
        replaces=((BlockLinear, "__init__", blocks_by_their_own_inputs),), needs={"memory": "rssm"},
    ),
    Bug(
        name="optimiser_changed",
        story="Plain gradient descent takes the steps, with learning rates that were made for Adam or LaProp.",
        symptom="Parts with small gradients hardly learn; it looks like a model that is too small.",
        innocent="The losses fall, if slowly.",
        source=f"{RLMUTATION} (Policy Optimizer Change)", breaks="optim.make_optimizer, step",
        caught_by=(STEPS_OF,), replaces=((optim, "make_optimizer", plain_descent),),
    ),
    Bug(
        name="optimiser_holds_the_slow_critic",
        story="The critic's optimiser was given the parameters of the slow critic.",
        symptom="The critic never learns: every state stays worth nothing, as it was at first.",
        innocent="The critic's gradient, which is as large as ever; every loss of the world model.",
        source="https://github.com/juliusfrost/dreamer-pytorch/pull/79",
        breaks="learner.Learner, parameters of the critic",
        caught_by=(
            STEPS_OF,
            "test_trainer.py::test_one_backward_pass_gives_each_part_the_gradient_of_its_own_losses_only",
        ),
        replaces=((Learner, "__init__", learner_of_the_slow_critic),),
    ),
    Bug(
        name="slow_critic_weights_swapped",
        story="The slow critic keeps a share `rate` of itself and takes the rest from the critic.",
        symptom="It is hardly slower than the critic, and steadies nothing.",
        innocent="The pull of the critic towards its slow copy, which is nearly zero.",
        source=f"{MUPRL} (suboptimal Polyak value)",
        breaks="actor_critic.ActorCritic.update_slow_critic, slow values",
        caught_by=(
            "test_actor_critic.py::test_the_slow_critic_starts_equal_and_moves_by_exactly_its_rate",
            "test_trainer.py::test_the_slow_critic_follows_the_updated_critic_at_its_rate",
        ),
        replaces=((ActorCritic, "update_slow_critic", slow_critic_of_swapped_weights),),
        needs={"slow_critic_rate": 0.1},
    ),
    Bug(
        name="replay_critic_missing",
        story="The critic learns from imagination alone: its loss on real sequences is left out of the sum.",
        symptom="Values follow the dream where it has drifted from the world, and nothing pulls them back.",
        innocent="Every loss that is left.",
        source=f"{TORCHRL}4128", breaks="actor_critic.ActorCritic.replay_loss, weight",
        caught_by=(
            "test_axes.py::test_beyond_each_real_step_stands_the_return_imagined_from_there",
            "test_golden.py::test_golden_repl_loss",
        ),
        replaces=((ActorCritic, "replay_loss", no_replay_loss),),
        needs={"replay_critic_scale": 0.3, "imagined_starts": 0},
    ),
    Bug(
        name="horizon_short_by_one",
        story="One step fewer is imagined than asked for: the states were counted, and not the steps between them.",
        symptom="None, unless what is to be earned lies just there.",
        innocent="Every loss.",
        source=f"{MUPRL} (suboptimal number of rollout steps)", breaks="imagination.imagine, H",
        caught_by=(
            "test_imagination.py::test_states_and_actions_follow_each_other",
            "test_imagination.py::test_the_reward_belongs_to_the_state_that_is_arrived_at",
        ),
        replaces=((imagination, "imagine", shorter_imagination),),
    ),
    Bug(
        name="learns_too_early",
        story="The prefill is not waited for: learning begins with the first sequence there is.",
        symptom="The model explains a handful of rows perfectly, and the policy exploits what it made of them.",
        innocent="Every loss, which is low from the start.",
        source=f"{MUPRL} (suboptimal learning start)", breaks="trainer.Trainer.updates_due, prefill",
        caught_by=(WHEN,), replaces=((Trainer, "updates_due", updates_due_after(lambda config: 0)),),
    ),
    Bug(
        name="learns_too_late",
        story="The prefill is waited for in every environment: with N of them learning begins N times as late.",
        symptom="The first part of the run is random; the updates that it would have paid for are never made.",
        innocent="Every loss, at the same number of updates.",
        source=f"{MUPRL} (suboptimal learning start)", breaks="trainer.Trainer.updates_due, prefill",
        caught_by=(WHEN,),
        replaces=((Trainer, "updates_due", updates_due_after(lambda config: config.prefill * config.envs)),),
        needs={"prefill": 5},
    ),
    Bug(
        name="steps_counted_twice",
        story="A step is counted as two, as in frames of an environment that repeats each action, though none does.",
        symptom="The run is over after half of its experience, and learns twice as much from each step of it.",
        innocent="Every loss.",
        source=f"{MUPRL} (number of environment interactions)", breaks="trainer.Trainer.collect, steps",
        caught_by=("test_trainer.py::test_steps_are_those_of_the_environments_and_reset_rows_are_none",),
        replaces=((Trainer, "collect", collect_and_count_twice),),
    ),
    Bug(
        name="noise_recorded",
        story="Sampling was recorded with its random numbers: each sample of a shape is drawn with those of the first.",
        symptom="The agent explores the same way in every step; imagined futures differ by their starts alone.",
        innocent="Every loss: each sample alone is a good one.",
        source="https://github.com/pytorch/rl/issues/3002",
        breaks="latents.OneHot.sample and latents.Gaussian.sample, z",
        caught_by=(
            "test_axes.py::test_every_latent_that_is_inferred_or_imagined_has_chance_of_its_own",
            "test_trainer.py::test_every_step_and_every_update_draws_new_random_numbers",
        ),
        replaces=(
            (OneHot, "sample", with_recorded_chance(OneHot, OneHot.sample, lambda drawn: drawn.probabilities.shape)),
            (Gaussian, "sample", with_recorded_chance(Gaussian, Gaussian.sample, lambda drawn: drawn.mean.shape)),
        ),
        keeps=(RECORDED,),
    ),
    Bug(
        name="deviation_without_a_floor",
        story="The deviation of a continuous policy is bounded above, and not below.",
        symptom="The policy becomes certain too soon, and its log-probabilities explode.",
        innocent="Every loss of the world model. Discrete actions are left alone.",
        source=f"{MUPRL} (suboptimal minimum exploration rate)", breaks="actor_critic.BoundedNormal.bounded, sigma",
        caught_by=(
            "test_golden.py::test_golden_bounded_normal",
            "test_actor_critic.py::test_means_and_deviations_stay_in_their_ranges",
        ),
        replaces=((BoundedNormal, "bounded", staticmethod(bounded_without_a_floor)),),
    ),
    Bug(
        name="actions_not_scaled",
        story="Continuous actions, which lie between -1 and 1, are given to the environment without its bounds.",
        symptom="A pendulum that could push by 2 pushes by 1 and never gets up; small bounds clip it all.",
        innocent="Every loss: the model explains the world as it is pushed. Discrete actions are left alone.",
        source="https://stable-baselines3.readthedocs.io/en/master/guide/rl_tips.html",
        breaks="data.Spaces.decode_action, a_t",
        caught_by=("test_envs.py::test_continuous_actions_are_scaled_to_the_bounds_and_clipped",),
        replaces=((Spaces, "decode_action", decode_unscaled),),
    ),
)  # fmt: skip
