"""One gradient update of DreamerV3: this package and TorchRL 0.14.1, in turn, on one thread each.

    pip install -c constraints.txt -e ".[bench]"
    OMP_NUM_THREADS=1 python benchmarks/torchrl_dreamer_v3.py

Both are built at the reference's size "1m": a memory of 512 in 8 blocks, 32 x 4 categorical latents, layers of 64
units, 255 bins, 24 observations and 6 continuous actions. An update takes 16 sequences of 64 rows and imagines 15 steps
from all 1,024 states, in float32. Each side has a process of its own, so that neither finds the
other's memory, and they take turns, so that a slow moment of the machine meets both: what counts is the median over
rounds of the ratio of their CPU seconds.

Both: all losses of world model, actor and critic, the critic's loss on real sequences, one backward pass, the
reference's optimiser with its clipping, the slow critic.
This package alone: drawing the batch from the replay, writing the states back, clipping the gradient of each part as
well, and refusing what is not finite. TorchRL is handed one batch again and again.

TorchRL is put together from its public modules and losses, with the layers of its own recipe for this size, and updated
by its `DreamerV3OptimizationStepper`, which compiles nothing on a CPU unless it is told to. (`compile_rollout("step")`
saved it about 6 %, after 38 s of compilation.) Where its recipe does more than an update needs (an output per sensor,
rewards decoded, log-probabilities kept while imagining), that is left out.
"""

import argparse
import json
import multiprocessing
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from wm_tutorial.config import make_config
from wm_tutorial.runs.bench import MATRIX_PRODUCTS, Noise, Update, make_trainer, matmul_speed, peak_memory

OBSERVATIONS, ACTIONS = 24, 6
BATCH, LENGTH, HORIZON = 16, 64, 15
MEMORY, BLOCKS, VARIABLES, CLASSES, UNITS, BINS = 512, 8, 32, 4, 64, 255
LATENT = VARIABLES * CLASSES
FEATURES = MEMORY + LATENT

# How many parameters are learned, and what makes one update.
Side = tuple[int, Update]


def this_package() -> Side:
    """A trainer on random data."""
    config = make_config("dreamer_v3", "size1m", envs=4)
    trainer = make_trainer(partial(Noise, (OBSERVATIONS,), ACTIONS, "continuous"), config)
    return sum(p.numel() for part in trainer.learner.parts.values() for p in part.parameters()), trainer.train_step


# --- TorchRL ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Networks:
    """What TorchRL's losses are given: world model, its continue head alone, the dream, actor and critic."""

    world_model: Any
    continues: Any
    dream: Any
    actor: Any
    critic: Any


def torchrl_networks() -> Networks:
    """The layers of the reference; keys are those that TorchRL's losses look for."""
    from tensordict.nn import TensorDictModule as Module
    from tensordict.nn import TensorDictSequential as Sequence
    from torchrl.modules import DreamerV3MLP, RSSMPosteriorV3, RSSMPriorV3, RSSMRolloutV3, SymExpTwoHot
    from torchrl.objectives import symlog

    sizes: dict[str, Any] = {
        "hidden_dim": UNITS, "rnn_hidden_dim": MEMORY, "num_categoricals": VARIABLES, "num_classes": CLASSES,
        "unimix": 0.01,
    }  # fmt: skip
    prior = RSSMPriorV3(
        action_shape=(ACTIONS,), action_dim=ACTIONS, recurrent_model="block_gru", num_blocks=BLOCKS, **sizes
    )
    posterior = RSSMPosteriorV3(obs_embed_dim=UNITS, use_rms_norm=True, **sizes)
    mlp = partial(DreamerV3MLP, FEATURES, num_cells=UNITS)
    reward, continue_, critic = mlp(BINS, depth=1, outscale=0.0), mlp(1, depth=1), mlp(BINS, depth=3, outscale=0.0)
    feature, next_feature = ["belief", "state"], [("next", "belief"), ("next", "state")]
    world_model = Sequence(
        Module(symlog, [("next", "observation")], [("next", "symlog")]),
        Module(
            DreamerV3MLP(OBSERVATIONS, None, depth=3, num_cells=UNITS),
            [("next", "symlog")],
            [("next", "encoded_latents")],
        ),
        RSSMRolloutV3(
            Module(prior, ["state", "belief", "action"], [("next", k) for k in ("prior_logits", "state", "belief")]),
            Module(
                posterior,
                [("next", "belief"), ("next", "encoded_latents")],
                [("next", "posterior_logits"), ("next", "state")],
            ),
        ),
        Module(mlp(OBSERVATIONS, depth=3), next_feature, [("next", "reconstruction")]),
        Module(reward, next_feature, [("next", "reward_logits")]),
        Module(continue_, next_feature, [("next", "continue_pred")]),
    )
    continues = Sequence(
        Module(continue_, feature, ["continue_logit"]), Module(nn.Sigmoid(), ["continue_logit"], ["continuation"])
    )
    dreamed_reward = Sequence(
        Module(reward, feature, ["reward_logits"]), Module(SymExpTwoHot(BINS), ["reward_logits"], ["reward"])
    )
    value = Sequence(
        Module(critic, feature, ["state_value_logits"]),
        Module(SymExpTwoHot(BINS), ["state_value_logits"], ["state_value"]),
    )
    dream = torchrl_dream(Module(prior, ["state", "belief", "action"], ["_", "state", "belief"]), dreamed_reward)
    return Networks(world_model, continues, dream, torchrl_actor(mlp(2 * ACTIONS, depth=3, outscale=0.01)), value)


def torchrl_dream(transition: Any, reward: Any) -> Any:
    """The environment inside the model."""
    from torchrl.data import Bounded, Composite, Unbounded
    from torchrl.envs.model_based.dreamer import DreamerEnv
    from torchrl.modules import WorldModelWrapper

    env = DreamerEnv(WorldModelWrapper(transition, reward), prior_shape=(LATENT,), belief_shape=(MEMORY,))
    env.observation_spec = Composite(state=Unbounded(LATENT), belief=Unbounded(MEMORY))
    env.state_spec = env.observation_spec.clone()
    env.action_spec = Bounded(-1, 1, (ACTIONS,))
    env.reward_spec = Unbounded((1,))
    return env


class BoundedNormal(nn.Module):
    """The reference's continuous policy: a mean in -1..1, a standard deviation in 0.1..1."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, belief: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Memory (..., D) and latent (..., Z) to two tensors (..., A)."""
        mean, std = self.net(belief, state).chunk(2, dim=-1)
        return mean.tanh(), 0.9 * torch.sigmoid(std + 2.0) + 0.1


def torchrl_actor(net: nn.Module) -> Any:
    """The policy as a distribution."""
    from tensordict.nn import InteractionType, ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential
    from tensordict.nn import TensorDictModule as Module
    from torchrl.modules import IndependentNormal

    sample = ProbabilisticTensorDictModule(
        ["loc", "scale"],
        ["action"],
        distribution_class=IndependentNormal,
        default_interaction_type=InteractionType.RANDOM,
    )
    return ProbabilisticTensorDictSequential(Module(BoundedNormal(net), ["belief", "state"], ["loc", "scale"]), sample)


def torchrl_batch() -> Any:
    """Random rows, in which no episode begins or ends."""
    from tensordict import TensorDict

    rows, no = (BATCH, LENGTH), torch.zeros(BATCH, LENGTH, 1, dtype=torch.bool)
    content = {"observation": torch.rand(*rows, OBSERVATIONS) * 2 - 1, "reward": torch.randn(*rows, 1)}
    return TensorDict(
        {
            "state": torch.zeros(*rows, LATENT),
            "belief": torch.zeros(*rows, MEMORY),
            "action": torch.rand(*rows, ACTIONS) * 2 - 1,
            "is_init": no,
            "next": {**content, "done": no.clone(), "terminated": no.clone()},
        },
        rows,
    )


def torchrl() -> Side:
    """TorchRL's losses, optimiser and slow critic around these networks."""
    from torchrl.objectives import DreamerV3ActorLoss, DreamerV3Loss, DreamerV3ModelLoss, DreamerV3ValueLoss, SoftUpdate
    from torchrl.objectives.utils import ValueEstimators
    from torchrl.trainers.algorithms.dreamer_v3 import DreamerV3OptimizationStepper, DreamerV3Optimizer

    networks = torchrl_networks()
    model_loss = DreamerV3ModelLoss(
        networks.world_model, kl_mode="separate", unimix=0.01, num_reward_bins=BINS, reco_symlog=False,
        lambda_continue=1.0, continue_target_scale=0.997, detach_output=False,
    )  # fmt: skip
    model_loss.set_keys(pixels="symlog", reco_pixels="reconstruction")
    actor_loss = DreamerV3ActorLoss(
        networks.actor, networks.critic, networks.dream, continuation_model=networks.continues,
        imagination_horizon=HORIZON, use_reinforce=True,
    )  # fmt: skip
    actor_loss.make_value_estimator(ValueEstimators.TDLambda, gamma=1.0, lmbda=0.95)
    value_loss = DreamerV3ValueLoss(
        networks.critic, "two_hot", num_value_bins=BINS, actor_loss=actor_loss, slow_critic_regularization=1.0
    )
    loss = DreamerV3Loss(model_loss, actor_loss, value_loss, replay_value_loss_weight=0.3)
    learned = [p for p in loss.parameters() if p.requires_grad]
    stepper = DreamerV3OptimizationStepper(loss, DreamerV3Optimizer(learned), SoftUpdate(value_loss, tau=0.02))
    return sum(p.numel() for p in learned), partial(stepper.step, None, torchrl_batch())


# --- In turn ----------------------------------------------------------------------------------------------------------

SIDES: dict[str, Callable[[], Side]] = {"wm_tutorial": this_package, "torchrl": torchrl}


def count_gflop(update: Update) -> float:
    """GFLOP of matrix products; by the profiler, as PyTorch's own counter cannot look into tensordict's modules."""
    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as profiler:
        update()
    return float(1e-9 * sum(event.flops for event in profiler.key_averages() if event.key in MATRIX_PRODUCTS))


def serve(name: str, connection: Connection) -> None:
    """In a process of its own: make one update whenever asked, then say what is known of this side."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    parameters, update = SIDES[name]()
    connection.send("ready")
    while connection.recv() == "update":
        started = time.process_time()
        update()
        connection.send(time.process_time() - started)
    peak = peak_memory()  # the profiler needs memory itself
    connection.send({"parameters": parameters, "peak_mb": peak, "gflop": count_gflop(update)})


def compare(updates: int, warmup: int = 2) -> dict[str, dict[str, Any]]:
    """CPU seconds of every update and their median, parameters, GFLOP and peak memory in MB of each side."""
    context, ends = multiprocessing.get_context("spawn"), {}
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    for name in SIDES:
        ends[name], other = context.Pipe()
        context.Process(target=serve, args=(name, other), daemon=True).start()
        other.close()  # if the process ends early, waiting for it ends too
        ends[name].recv()
    for _ in range(warmup + updates):
        for name, end in ends.items():
            end.send("update")
            seconds[name].append(end.recv())
    result = {}
    for name, end in ends.items():
        end.send("stop")
        counted = seconds[name][warmup:]
        result[name] = {**end.recv(), "seconds": counted, "median": median(counted)}
    return result


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=15, help="how many updates of each side are timed")
    parser.add_argument("--json", type=Path, help="a file that all numbers are also written to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sides, speed = compare(options.updates), matmul_speed()
    versions = {name: version(name) for name in ("torch", "torchrl", "tensordict", "wm_tutorial")}
    print(f"{platform.machine()}, {speed:.0f} GFLOP/s; {', '.join(' '.join(pair) for pair in versions.items())}")
    print("| | parameters | GFLOP | CPU seconds per update | smallest | largest | peak MB |")
    print("|---|---|---|---|---|---|---|")
    for name, side in sides.items():
        spread = f"{min(side['seconds']):.3f} | {max(side['seconds']):.3f}"
        row = f"{side['parameters']:,} | {side['gflop']:.1f} | {side['median']:.3f} | {spread} | {side['peak_mb']:,.0f}"
        print(f"| {name} | {row} |")
    rounds = zip(sides["wm_tutorial"]["seconds"], sides["torchrl"]["seconds"], strict=True)
    low, ratio, high = quantiles([ours / theirs for ours, theirs in rounds], n=4)
    print(f"wm_tutorial / torchrl, round by round: {ratio:.2f} (quartiles {low:.2f} and {high:.2f})")
    if options.json:
        result = {"versions": versions, "matmul_gflop_per_second": speed, "sides": sides, "ratio": [low, ratio, high]}
        options.json.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
