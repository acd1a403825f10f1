"""The rows of the lineage: the value of every option side by side, where each comes from, and what else differs."""

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """The value of an option in one preset.

    value   what the preset has
    source  where the source has it: a file of its repository, or the paper
    theirs  what the source has instead, where that is something else; empty where it is the same
    """

    value: Any
    source: str
    theirs: str = ""


@dataclass(frozen=True)
class Preset:
    """A row of the lineage: what is particular about it in words, and the options it sets.

    memory, latent, heads, kl, behaviour   the columns of the table
    source                                 where it comes from
    options                                what differs from `Config()`
    paper                                  the widths of the paper, its size `paper`
    small                                  what else differs in `nano` and `micro`
    """

    memory: str
    latent: str
    heads: str
    kl: str
    behaviour: str
    source: str
    options: dict[str, Any]
    paper: dict[str, Any] = field(default_factory=dict)
    small: dict[str, Any] = field(default_factory=dict)


# What the sources of a column are. In the table a bare file name is a file of its repository, at that commit.
REPOSITORIES = {
    "planet": ("google-research/planet", "0c6f7d3", "Hafner et al. 2019 (arXiv 1811.04551)"),
    "dreamer_v1": ("danijar/dreamer", "399cad5", "Hafner et al. 2020 (arXiv 1912.01603)"),
    "dreamer_v2": ("danijar/dreamerv2", "0216d33", "Hafner et al. 2021 (arXiv 2010.02193), for Atari"),
    "dreamer_v3": (
        "danijar/dreamerv3",
        "e3f0224",
        "Hafner et al. 2023, in the version of 2024 (arXiv 2301.04104), for vectors",
    ),
}
WIDTHS = ("hidden", "layers", "latent_size", "latent_classes", "memory_size", "memory_blocks", "bins", "conv_depth")

PLANET, V1, V2, V3 = (
    "planet/scripts/configs.py", "dreamer.py", "dreamerv2/configs.yaml", "dreamerv3/configs.yaml",
)  # fmt: skip
D1 = "paper, table D.1"
NO = None  # the preset leaves the option alone: it plays no part there

# One row for each option: PlaNet, V1 and V2 with the widths of their papers, V3 in its smallest reference size.
#
# The package's layers (normalised, SiLU), optimiser and exploration serve all presets; where a source uses others, only
# what the table names is its own. Everything is counted per action, as Gymnasium does: an update for every 10 frames of
# an environment that repeats each action twice is one for every 5 actions. The ancestors of V3 maximise the logarithm
# of a Gaussian density of variance 1, which is half the squared error.
# fmt: off
TABLE: dict[str, tuple[Cell | None, Cell | None, Cell | None, Cell | None]] = {
    "memory": (
        Cell("rssm", "planet/models/rssm.py"), Cell("rssm", "models.py, RSSM"),
        Cell("rssm", "dreamerv2/common/nets.py"), Cell("rssm", "dreamerv3/rssm.py")),
    "latent": (
        Cell("gaussian", "planet/models/rssm.py, dist_from_state"), Cell("gaussian", "models.py, RSSM.get_dist"),
        Cell("categorical", f"{D1}; {V2}, atari.rssm"), Cell("categorical", "dreamerv3/rssm.py:173-176")),
    "heads": (
        Cell("squared-error", "planet/networks/basic.py, feed_forward"),
        Cell("squared-error", "models.py, DenseDecoder"), Cell("squared-error", f"{V2}, reward_head, critic"),
        Cell("two-hot", "embodied/jax/heads.py:132-144")),
    "behaviour": (
        Cell("planner", f"{PLANET}, _define_simulation"),
        Cell("actor-critic", f"{V1}, _train"), Cell("actor-critic", "dreamerv2/agent.py, ActorCritic"),
        Cell("actor-critic", "dreamerv3/agent.py:402-422")),
    "hidden": (
        Cell(200, f"{PLANET}, model_size", "200 in the RSSM, 100 in the reward head (planet/networks/basic.py)"),
        Cell(400, f"{V1}:55", "400 in heads, 200 in the RSSM; paper, appendix: 300"),
        Cell(400, f"{D1}; {V2}, atari.rssm", "400 in heads, 600 in the RSSM"), Cell(64, f"{V3}:120-153")),
    "layers": (
        Cell(2, "planet/networks/basic.py", "2 in the reward head; no vectors, no policy"),
        Cell(3, f"{V1}, _build_model", "actor 4, value 3; no vectors"), Cell(4, D1), Cell(3, f"{V3}:91-101")),
    "norm": (
        Cell("layer", "planet/models/rssm.py", "none"), Cell("layer", "models.py", "none"),
        Cell("layer", "dreamerv2/common/nets.py, GRUCell", "in the GRU alone"), Cell("rms", f"{V3}:91-101")),
    "latent_size": (
        Cell(30, f"{PLANET}, state_size"), Cell(30, f"{V1}:54; paper, appendix"), Cell(32, D1),
        Cell(32, f"{V3}:120-153")),
    "latent_classes": (NO, NO, Cell(32, D1), Cell(4, f"{V3}:120-153")),
    "unimix": (
        NO, NO, Cell(0.0, "dreamerv2/common/nets.py, OneHotDist of the bare logits"),
        Cell(0.01, "dreamerv3/rssm.py:173-176")),
    "memory_size": (
        Cell(200, f"{PLANET}, model_size"), Cell(200, f"{V1}:53"), Cell(600, f"{D1}; {V2}, atari.rssm"),
        Cell(512, f"{V3}:120-153")),
    "memory_cell": (
        Cell("gru", "planet/models/rssm.py"), Cell("gru", "models.py, RSSM"),
        Cell("gru", "dreamerv2/common/nets.py, GRUCell", "normalised, its update gate begins at -1"),
        Cell("block-gru", "dreamerv3/rssm.py:136-158")),
    "memory_blocks": (NO, NO, NO, Cell(8, f"{V3}:120-153")),
    "bins": (NO, NO, NO, Cell(255, "embodied/jax/heads.py:132-144")),
    "conv_depth": (
        Cell(16, "planet/networks/conv_ha.py", "32, 64, 128 and 256 channels; 16 gives 32, 48, 64 and 64"),
        Cell(16, f"{V1}:57; models.py, ConvEncoder", "32, 64, 128 and 256 channels; 16 gives 32, 48, 64 and 64"),
        Cell(24, f"{V2}, encoder", "48, 96, 192 and 384 channels; 24 gives 48, 72, 96 and 96"),
        Cell(4, f"{V3}:120-153")),
    "free_nats": (
        Cell(3.0, f"{PLANET}, _loss_functions"), Cell(3.0, f"{V1}:60"), Cell(0.0, f"{V2}, kl.free"),
        Cell(1.0, "dreamerv3/rssm.py:120-133")),
    "free_nats_of": (
        Cell("state", "planet/training/utility.py, compute_losses"), Cell("mean", f"{V1}, _train"), NO,
        Cell("state", "dreamerv3/rssm.py:120-133")),
    "decoder_scale": (
        Cell(0.5, f"{PLANET}, image_loss_scale: half of 1"), Cell(0.5, f"{V1}, _train: half of 1"),
        Cell(0.5, f"{V2}, loss_scales: half of 1"), Cell(1.0, "dreamerv3/rssm.py:297-306")),
    "reward_scale": (
        Cell(5.0, f"{PLANET}, reward_scale: half of 10"), Cell(0.5, f"{V1}, _train: half of 1"),
        Cell(0.5, f"{V2}, loss_scales.reward: half of 1"), Cell(1.0, "dreamerv3/agent.py:173")),
    "continue_scale": (
        Cell(1.0, f"{PLANET}, _model_components", "no continue head"),
        Cell(10.0, f"{V1}:59,62", "10 where it is on (pcont); it is off for continuous control"),
        Cell(5.0, f"{V2}, atari.loss_scales.discount"), Cell(1.0, "dreamerv3/agent.py:174-177")),
    "dynamics_scale": (
        Cell(1.0, f"{PLANET}, divergence_scale"), Cell(1.0, f"{V1}:61"), Cell(0.08, f"{D1}: 0.1 x 0.8"),
        Cell(1.0, f"{V3}:86")),
    "representation_scale": (
        Cell(1.0, f"{PLANET}, divergence_scale"), Cell(1.0, f"{V1}:61"), Cell(0.02, f"{D1}: 0.1 x (1 - 0.8)"),
        Cell(0.1, f"{V3}:86")),
    "horizon": (
        Cell(12, f"{PLANET}, collect_horizons"), Cell(15, f"{V1}:79"), Cell(15, D1),
        Cell(15, "dreamerv3/agent.py:193-201")),
    "discount": (
        NO, Cell(0.99, f"{V1}:77"), Cell(0.995, f"{D1}; {V2}, atari.discount: 0.999"),
        Cell(1.0 - 1.0 / 333.0, "dreamerv3/agent.py:174-177")),
    "discount_in_continue": (
        NO, Cell(True, f"{V1}, _train, where pcont is on"), Cell(True, "dreamerv2/agent.py, preprocess"),
        Cell(True, "dreamerv3/agent.py:174-177")),
    "lam": (NO, Cell(0.95, f"{V1}:78"), Cell(0.95, D1), Cell(0.95, "dreamerv3/agent.py:482-490")),
    "entropy_scale": (
        NO, Cell(0.0, f"{V1}, _train"), Cell(1e-3, D1), Cell(3e-4, "dreamerv3/agent.py:407-415")),
    "policy_gradient": (
        NO, Cell("dynamics", f"{V1}, _train; paper, equation 7"),
        Cell("reinforce", f"{D1}; {V2}, atari.actor_grad", "dynamics for continuous control (dmc.actor_grad)"),
        Cell("reinforce", "dreamerv3/agent.py:407-415")),
    "policy_unimix": (
        NO, Cell(0.0, "models.py, ActionDecoder"), Cell(0.0, "dreamerv2/common/nets.py, OneHotDist of the bare logits"),
        Cell(0.0, "embodied/jax/heads.py:101-110, which ignores the 0.01 of its configs.yaml")),
    "bootstrap": (
        NO, Cell("critic", f"{V1}, _train"),
        Cell("slow critic", "dreamerv2/agent.py, target, actor_loss",
             "returns of the slow critic, a baseline of the critic"),
        Cell("critic", f"{V3}:108")),
    "return_normalization": (
        NO, Cell(False, f"{V1}, _train"), Cell(False, "dreamerv2/agent.py, actor_loss"), Cell(True, f"{V3}:111")),
    "slow_critic_rate": (NO, NO, Cell(0.01, D1, "a copy every 100 updates"), Cell(0.02, f"{V3}:110")),
    "slow_critic_scale": (
        NO, Cell(0.0, f"{V1}, _train"), Cell(0.0, "dreamerv2/agent.py, critic_loss"),
        Cell(1.0, "dreamerv3/agent.py:417-422")),
    "replay_critic_scale": (
        NO, Cell(0.0, f"{V1}, _train"), Cell(0.0, "dreamerv2/agent.py, critic_loss"),
        Cell(0.3, "dreamerv3/agent.py:219-235")),
    "imagined_starts": (
        NO, Cell(0, f"{V1}, _imagine_ahead", "all; all but the last row of each sequence where pcont is on"),
        Cell(0, "dreamerv2/agent.py, train", "all but the last row of each sequence"),
        Cell(0, "dreamerv3/agent.py:189-191")),
    "candidates": (Cell(1000, f"{PLANET}, cem_amount"), NO, NO, NO),
    "elites": (Cell(100, f"{PLANET}, cem_topk"), NO, NO, NO),
    "plan_iterations": (Cell(10, f"{PLANET}, cem_iterations"), NO, NO, NO),
    "action_noise": (Cell(0.3, f"{PLANET}, exploration_noises"), NO, NO, NO),
    "optimizer": (
        Cell("adam", f"{PLANET}, _define_optimizers", "its epsilon is 1e-4"), Cell("adam", f"{V1}, _build_model"),
        Cell("adam", D1, "its epsilon is 1e-5, with a weight decay of 1e-6"),
        Cell("laprop", "dreamerv3/agent.py:342-379")),
    "warmup": (NO, NO, NO, Cell(1000, "dreamerv3/agent.py:342-379")),
    "world_model_lr": (
        Cell(1e-3, f"{PLANET}, learning_rate", "1e-3, schedule=linear with ramp=10000"), Cell(6e-4, f"{V1}:71"),
        Cell(2e-4, D1), Cell(4e-5, "dreamerv3/agent.py:342-379")),
    "actor_lr": (NO, Cell(8e-5, f"{V1}:73"), Cell(4e-5, D1), Cell(4e-5, "dreamerv3/agent.py:342-379")),
    "critic_lr": (NO, Cell(8e-5, f"{V1}:72"), Cell(1e-4, D1), Cell(4e-5, "dreamerv3/agent.py:342-379")),
    "final_lr": (
        Cell(1.0, f"{PLANET}, _define_optimizers"), Cell(1.0, f"{V1}, _build_model"), Cell(1.0, f"{V2}, model_opt"),
        Cell(1.0, "dreamerv3/agent.py:342-379")),
    "clip": (
        Cell(1000.0, f"{PLANET}, gradient_clipping"), Cell(100.0, f"{V1}:74"), Cell(100.0, D1),
        Cell(math.inf, "dreamerv3/agent.py:342-379, which clips per tensor")),
    "envs": (
        Cell(1, f"{PLANET}, collect_batch_size"), Cell(1, f"{V1}:45"), Cell(1, f"{V2}, num_envs"),
        Cell(16, f"{V3}:155-196")),
    "capacity": (
        Cell(1_000_000, f"{PLANET}, max_episodes", "every episode"),
        Cell(1_000_000, f"{V1}, load_dataset", "every episode"),
        Cell(1_000_000, D1, "2,000,000"), Cell(1_000_000, V3, "5,000,000")),
    "prefill": (
        Cell(1250, f"{PLANET}, num_seed_episodes: 5 of 1,000 frames, each action 4 times"),
        Cell(2500, f"{V1}:49: 5,000 frames, each action twice"),
        Cell(50_000, f"{V2}, atari.prefill: 200,000 frames, each action 4 times"),
        Cell(1024, "embodied/run/train.py:71", "its policy acts from the first step, here chance")),
    "batch_size": (
        Cell(50, f"{PLANET}, batch_shape"), Cell(50, f"{V1}:66"), Cell(50, D1), Cell(16, V3)),
    "sequence_length": (
        Cell(50, f"{PLANET}, batch_shape"), Cell(50, f"{V1}:67"), Cell(50, D1), Cell(64, V3)),
    "fresh_sequences_first": (
        Cell(False, "planet/tools/numpy_episodes.py"), Cell(False, "dreamer.py, load_dataset"),
        Cell(False, "dreamerv2/train.py"), Cell(True, "embodied/core/replay.py")),
    "updates_per_step": (
        Cell(0.4, f"{PLANET}, collect_every: 5,000 / 50 for an episode of 250 actions"),
        Cell(0.2, f"{V1}:68-69: 100 for 1,000 frames, each action twice"),
        Cell(0.25, f"{D1}; {V2}, atari.train_every: 1 / 16"), Cell(1.0, "embodied/run/train.py:24-25,73")),
    "steps": (
        Cell(250_000, f"{PLANET}, max_steps, collect_every",
             "20,000,000 sequences, an episode for every 5,000; here 1,000 episodes of 250 actions"),
        Cell(2_500_000, f"{V1}:36: 5,000,000 frames, each action twice"),
        Cell(50_000_000, f"{V2}, atari.steps: 200,000,000 frames, each action 4 times"),
        Cell(1_100_000, f"{V3}:155-196, dmc_proprio")),
}
# fmt: on

# What differs from the sources and is no number that can be turned.
ANCESTORS = (
    "Vectors are observed and predicted through symlog, as in V3; the source learns from images.",
    "Hidden layers and image stages are V3's: SiLU, pooling and upsampling; the source has ReLU or ELU, and strides.",
    "The prior has two hidden layers; the source has one.",
    "The heads of rewards and values, and of the policy nearly, start at zero; the source's at random.",
    "A batch starts from the state stored with its first row; the source starts from zeros.",
)
GAUSSIANS = (
    "The latent's standard deviation is bounded, 0.007 to 2.7, through a sigmoid; the source has softplus + 0.1.",
)
RETURNS = (
    "The reward of the state that is arrived at belongs to the action before it, as everywhere here; the source's "
    "lambda return begins with the reward of the state that is left.",
)
DIFFERENCES: dict[str, tuple[str, ...]] = {
    "planet": (
        "A planned reward counts as much as it is likely that the episode lasts till then; the source knows no ends.",
        "Discrete actions are planned by refitting their probabilities; the source has continuous actions only.",
        "Images keep all 8 bits; the source reduces them to 5.",
        "There is a continue head; the source has none.",
        "The reward head has one hidden layer; the source's has two, of 100 units.",
        *GAUSSIANS, *ANCESTORS,
    ),
    "dreamer_v1": (
        "The policy is V3's bounded normal; the source has a normal squashed by tanh, with a standard "
        "deviation of 5 at first, and adds noise of 0.3 when it acts.",
        "The continue head is on and weighs 10; the source has it off for continuous control.",
        "The heads of reward and continue have one hidden layer; the source's have two and three.",
        "The first steps by chance are followed by acting; the source makes 100 updates in between.",
        "One version of the paper has a slow critic, a horizon of 20 and other learning rates; these are its code's.",
        "float32; the source computes in float16.",
        *GAUSSIANS, *RETURNS, *ANCESTORS,
    ),
    "dreamer_v2": (
        "Rewards are learned as they are; the source takes their tanh.",
        "Continuous actions learn by REINFORCE; the source follows the slope through the dynamics there.",
        "The slow critic is also what an action must surpass; the source's baseline is the critic itself.",
        "Gamma and the updates are the paper's; in its repository gamma is 0.999, with an update every 16 actions.",
        "The heads of reward and continue have one hidden layer; the source's have four.",
        "Ends of episodes are sampled as often as they happen; the source oversamples them.",
        "float32; the source computes in float16.",
        *RETURNS, *ANCESTORS,
    ),
    "dreamer_v3": (
        "The first steps are uniform chance; the reference acts by its policy from the start.",
        "The number of image stages depends on the image, 5 at 96 x 96; the reference always has 4.",
        "float32 unless asked; the reference computes in bfloat16.",
        "An evaluation takes the most likely actions; the reference reports sampled returns of training.",
        "One observation and one process; the reference takes several keys, and runs environments side by side.",
        "In `nano` and `micro` a policy keeps 1 % of chance, as in the paper's first version; the reference has none.",
    ),
}  # fmt: skip


def _column(name: str) -> dict[str, Any]:
    """The values of one preset."""
    cells = {option: row[list(REPOSITORIES).index(name)] for option, row in TABLE.items()}
    return {option: cell.value for option, cell in cells.items() if cell is not None}


def _options(name: str) -> dict[str, Any]:
    """What a preset sets in all of its sizes."""
    return {option: value for option, value in _column(name).items() if option not in WIDTHS}


def _widths(name: str) -> dict[str, Any]:
    """The widths of its paper."""
    return {option: value for option, value in _column(name).items() if option in WIDTHS}


PRESETS: dict[str, Preset] = {
    "guide": Preset(
        memory="feed-forward",
        latent="Gaussian",
        heads="squared error",
        kl="balanced, free nats 1",
        behaviour="actor-critic, REINFORCE",
        source="a small agent of this kind",
        options={},
    ),
    "planet": Preset(
        memory="RSSM",
        latent="Gaussian",
        heads="squared error",
        kl="free nats 3",
        behaviour="plans before each action, cross-entropy method",
        source="Hafner et al. 2019 (arXiv 1811.04551), without latent overshooting, which its authors switched off; "
        "updates for an action repeat of 4",
        options=_options("planet"),
        paper=_widths("planet"),
        # A planned action costs candidates x iterations x horizon steps of the model: here 31 times fewer than there. A
        # plan is as good as the model, which learns from as few updates as DreamerV3's `nano`, and with its options:
        # after 3,000 steps of seed 0 plans earned -199 on Pendulum, with no free nats alone -727, and 250 on CartPole.
        small={
            "candidates": 64, "elites": 8, "plan_iterations": 4, "horizon": 15, "latent_size": 32,
            "world_model_lr": 3e-3, "decoder_scale": 100.0, "continue_scale": 10.0, "free_nats": 0.0,
            "prefill": 500, "updates_per_step": 0.3,
        },
    ),
    "dreamer_v1": Preset(
        memory="RSSM",
        latent="Gaussian",
        heads="squared error",
        kl="free nats 3 of the mean",
        behaviour="actor-critic, gradients through the dynamics",
        source="Hafner et al. 2020 (arXiv 1912.01603)",
        options=_options("dreamer_v1"),
        paper=_widths("dreamer_v1"),
    ),
    "dreamer_v2": Preset(
        memory="RSSM",
        latent="categorical",
        heads="squared error",
        kl="0.1, balanced 0.8",
        behaviour="actor-critic, REINFORCE",
        source="Hafner et al. 2021 (arXiv 2010.02193), for Atari; its slow critic is a copy every 100 updates",
        options=_options("dreamer_v2"),
        paper=_widths("dreamer_v2"),
    ),
    "dreamer_v3": Preset(
        memory="RSSM",
        latent="categorical",
        heads="symexp two-hot",
        kl="dynamics 1, representation 0.1, free nats 1",
        behaviour="actor-critic, REINFORCE, normalised returns",
        source="Hafner et al. 2023 (arXiv 2301.04104), in its reference's current settings for vectors",
        options=_options("dreamer_v3"),
        # What learns with few updates, as far as it was sought; the reasons are guesses. The critic learns quickly, and
        # real returns keep it honest. The model must know what ends an episode, where the agent hardly ever is: so it
        # learns faster, too, and looks closer at observations and at ends. Below the free nats the prior learns
        # nothing, and one nat is nearly all the KL of a world as small as CartPole: none is free. Gamma stays outside
        # the continue head, which may say a little too much; values cannot creep above 1 / (1 - gamma). A policy that
        # keeps a little chance goes on exploring. Fewer random steps come first, and updates a little more often.
        small={
            "critic_lr": 3e-3, "slow_critic_rate": 0.1, "replay_critic_scale": 1.0,
            "world_model_lr": 3e-3, "decoder_scale": 100.0, "continue_scale": 10.0, "free_nats": 0.0,
            "discount_in_continue": False, "policy_unimix": 0.01, "prefill": 500, "updates_per_step": 0.3,
        },
    ),
}  # fmt: skip


def _reference_size(memory_size: int, depth: int) -> dict[str, Any]:
    """A size of the reference: all widths are multiples of two numbers."""
    return {
        "memory_size": memory_size, "memory_blocks": 8, "hidden": 16 * depth, "layers": 3,
        "latent_size": 32, "latent_classes": depth, "conv_depth": depth, "bins": 255,
    }  # fmt: skip


# What training needs to be quick on two CPU cores: small batches, and learning rates that fall to zero. The decoder's
# weight makes up for observations as small as CartPole's angles.
LAPTOP: dict[str, Any] = {
    "batch_size": 16, "sequence_length": 16, "imagined_starts": 0, "decoder_scale": 10.0,
    "optimizer": "adam", "world_model_lr": 1e-3, "actor_lr": 3e-4, "critic_lr": 3e-4, "final_lr": 0.0,
    "clip": 100.0, "warmup": 0, "steps": 15_000, "prefill": 1000, "updates_per_step": 0.25, "capacity": 100_000,
    "envs": 4,
}  # fmt: skip

# Source of those after `micro`: danijar/dreamerv3 `dreamerv3/configs.yaml:120-153`.
SIZES: dict[str, dict[str, Any]] = {
    "nano": {
        "memory_size": 128, "memory_blocks": 8, "hidden": 64, "layers": 2,
        "latent_size": 32, "latent_classes": 8, "conv_depth": 8, "bins": 63, **LAPTOP,
    },
    "micro": {
        "memory_size": 256, "memory_blocks": 8, "hidden": 96, "layers": 2,
        "latent_size": 32, "latent_classes": 8, "conv_depth": 8, "bins": 127, **LAPTOP,
    },
    "size1m": _reference_size(512, 4),
    "size12m": _reference_size(2048, 16),
    "size25m": _reference_size(3072, 24),
    "size50m": _reference_size(4096, 32),
    "size100m": _reference_size(6144, 48),
    "size200m": _reference_size(8192, 64),
    "size400m": _reference_size(12288, 96),
}  # fmt: skip
