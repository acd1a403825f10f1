"""Every number that can be turned, in one flat table, and the named rows of that table (presets)."""

import dataclasses
import math
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin, get_type_hints

from wm_tutorial.errors import InputError


@dataclass(frozen=True)
class Config:
    """All options of a run. `Config()` is the preset `guide`."""

    preset: str = "guide"
    """Which row of the lineage the other options start from; `wm-tutorial presets` lists them."""
    size: str | None = None
    """How large: `nano` and `micro` for CPUs, `size1m` to `size400m`, `paper`; `guide` comes in one size."""
    steps: int = 15_000
    """Environment steps of the whole run."""
    seed: int = 0
    """Seed of everything random in the run."""

    # The axes of the lineage
    memory: Literal["feed-forward", "rssm"] = "feed-forward"
    """What the state remembers: only the last observation, or (RSSM) everything since the episode began."""
    latent: Literal["gaussian", "categorical"] = "gaussian"
    """How the stochastic part of the state is distributed."""
    heads: Literal["squared-error", "two-hot"] = "squared-error"
    """How rewards and values are predicted; two-hot takes numbers of any size."""

    behaviour: Literal["actor-critic", "random"] = "actor-critic"
    """What acts: a policy learned in imagination, or chance, while only the world model learns."""

    # World model
    hidden: int = 64
    """Units of every hidden layer."""
    layers: int = 2
    """Hidden layers of encoder, decoder, prior, actor and critic."""
    norm: Literal["layer", "rms"] = "layer"
    """Normalisation of hidden layers and image channels: of mean and deviation, or of the root mean square alone."""
    latent_size: int = 32
    """Gaussian numbers in the latent z, or categorical variables."""
    latent_classes: int = 8
    """Classes of each categorical variable."""
    memory_size: int = 128
    """Numbers in the memory h of an RSSM."""
    memory_cell: Literal["block-gru", "gru"] = "block-gru"
    """How the memory is updated: by DreamerV3's gated unit, or by the plain one of its ancestors."""
    memory_blocks: int = 8
    """Blocks the recurrent matrices of a block-gru are divided into, and the image decoder's for the memory."""
    bins: int = 255
    """Bins of a two-hot head, an odd number."""
    conv_depth: int = 8
    """Channels of the image stages, in units of 2, 3, 4 and 4."""
    free_nats: float = 1.0
    """Nats of divergence per state that cost nothing."""
    free_nats_of: Literal["state", "mean"] = "state"
    """Whether each state may have them, or only the mean over a batch, as in DreamerV1."""
    decoder_scale: float = 10.0
    """Weight of the decoder's loss."""
    reward_scale: float = 1.0
    """Weight of the reward head's loss."""
    continue_scale: float = 1.0
    """Weight of the continue head's loss."""
    dynamics_scale: float = 1.0
    """Weight of KL(sg(posterior) || prior)."""
    representation_scale: float = 0.1
    """Weight of KL(posterior || sg(prior))."""

    # Behaviour
    horizon: int = 15
    """Steps imagined from each start."""
    discount: float = 0.997
    """Worth of a reward one step later, gamma."""
    discount_in_continue: bool = False
    """Let the continue head learn gamma times continue, instead of multiplying by gamma in imagination."""
    lam: float = 0.95
    """Mix of short and long returns, lambda: 0 trusts the critic, 1 the imagined rewards."""
    entropy_scale: float = 3e-4
    """Weight of the policy's entropy."""
    policy_gradient: Literal["reinforce", "dynamics"] = "reinforce"
    """What moves the policy: sampled actions that did well, or the slope of the imagined return through the model."""
    unimix: float = 0.01
    """Share of the uniform distribution in categorical latents."""
    policy_unimix: float = 0.01
    """Share of the uniform distribution in a discrete policy."""
    bootstrap: Literal["critic", "slow critic"] = "critic"
    """Whose values enter the returns, and are what a sampled action must surpass."""
    return_normalization: bool = True
    """Divide what moves the policy by the range of returns, if it is above 1."""
    slow_critic_rate: float = 0.02
    """How far the slow critic moves towards the critic at each update."""
    slow_critic_scale: float = 1.0
    """Weight of the pull of the critic towards its slow copy."""
    replay_critic_scale: float = 0.0
    """Weight of the critic's loss on real sequences, which also shapes the world model; needs imagined_starts=0."""
    imagined_starts: int = 256
    """How many states of a batch imagination starts from, chosen at random; 0 for all."""

    # Optimisation
    optimizer: Literal["adam", "laprop"] = "adam"
    """Adam, or LaProp, which also clips each tensor's gradient to a share of the tensor's norm."""
    warmup: int = 0
    """Updates over which LaProp's learning rate rises from zero."""
    world_model_lr: float = 1e-3
    """Learning rate of the world model."""
    actor_lr: float = 3e-4
    """Learning rate of the actor."""
    critic_lr: float = 3e-4
    """Learning rate of the critic."""
    final_lr: float = 0.0
    """Learning rates fall linearly to this share of themselves over the run."""
    clip: float = 100.0
    """Largest norm of the gradient of each part."""

    # Data
    envs: int = 4
    """Environments stepped side by side."""
    capacity: int = 100_000
    """Rows the replay holds."""
    prefill: int = 1000
    """Steps with random actions before learning begins."""
    batch_size: int = 16
    """Sequences in a batch."""
    sequence_length: int = 32
    """Rows in a sequence."""
    fresh_sequences_first: bool = False
    """Learn from every new sequence once, soon after it happened, before uniform samples of all that happened."""
    updates_per_step: float = 0.25
    """Gradient updates per environment step."""

    # Run
    eval_every: int = 2500
    """Environment steps between evaluations; 0 for only the one at the end."""
    eval_episodes: int = 20
    """Episodes of each evaluation on the way."""
    checkpoint_every: int = 5000
    """Environment steps between checkpoints; 0 for only the one at the end."""
    log_every: int = 500
    """Environment steps between lines of metrics."""
    threads: int = 1
    """CPU threads, 0 for PyTorch's own choice. With one, the numbers do not depend on how many cores there are."""
    device: Literal["cpu", "cuda", "mps"] = "cpu"
    """Where the networks live; committed numbers are the CPU's."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products: half the memory and several times quicker on GPUs that know bfloat16, slower on CPUs."""
    compile: bool = False
    """Let `torch.compile` fuse the steps of the dynamics: the first update takes a minute, the rest are quicker."""

    @property
    def imagined_discount(self) -> float:
        """What imagination multiplies the continue probability with: 1 if gamma is in it already."""
        return 1.0 if self.discount_in_continue else self.discount

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(Config).items():
            _check_type(name, getattr(self, name), hint)
        for names, low, high, accepted in RANGES:
            for name in names.split():
                if not low <= (value := getattr(self, name)) <= high:
                    raise InputError(f"{name} is {value}; it must be {accepted}.")
        if self.replay_critic_scale and self.imagined_starts:
            raise InputError(
                f"replay_critic_scale is {self.replay_critic_scale} and imagined_starts is {self.imagined_starts}; the "
                "critic's loss on real sequences needs an imagined return of every state: set imagined_starts to 0."
            )
        if self.bins % 2 == 0:
            raise InputError(f"bins is {self.bins}; it must be odd, so that one bin stands for zero.")
        if self.memory_cell == "block-gru" and self.memory_size % self.memory_blocks:
            raise InputError(
                f"memory_size is {self.memory_size}, which does not divide into {self.memory_blocks} memory_blocks; "
                f"give a multiple of {self.memory_blocks}."
            )
        if self.capacity < self.envs * (self.sequence_length + 1):
            raise InputError(
                f"capacity is {self.capacity} rows for {self.envs} environments; sequences of {self.sequence_length} "
                f"rows need at least {self.envs * (self.sequence_length + 1)}: raise capacity or shorten sequences."
            )


# Which values each number may have: names, lowest, highest, and how to say so.
RANGES: tuple[tuple[str, float, float, str], ...] = (
    ("latent_classes", 2, math.inf, "at least 2"),
    ("bins", 3, math.inf, "at least 3"),
    ("steps layers latent_size memory_size memory_blocks horizon envs", 1, math.inf, "at least 1"),
    ("hidden", 4, math.inf, "at least 4, or normalising leaves nothing to say"),
    ("conv_depth", 2, math.inf, "at least 2"),
    ("capacity batch_size sequence_length eval_episodes log_every", 1, math.inf, "at least 1"),
    ("seed", 0, 2**63 - 1, "between 0 and 2**63 - 1"),
    ("imagined_starts warmup prefill eval_every checkpoint_every threads", 0, math.inf, "0 or more"),
    (
        "decoder_scale reward_scale continue_scale dynamics_scale representation_scale",
        0.0,
        1e6,
        "0 or more, and finite",
    ),
    (
        "free_nats entropy_scale slow_critic_scale replay_critic_scale updates_per_step",
        0.0,
        1e6,
        "0 or more, and finite",
    ),
    ("world_model_lr actor_lr critic_lr", 0.0, 1.0, "between 0 and 1"),
    ("discount", 0.0, 0.9999, "between 0 and 0.9999"),
    ("lam unimix policy_unimix slow_critic_rate final_lr", 0.0, 1.0, "between 0 and 1"),
    ("clip", 1e-9, math.inf, "above 0"),
)


def _check_type(name: str, value: Any, hint: Any) -> None:
    """One clear error for a value of the wrong type; an integer may stand for a float."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise InputError(f"{name} is {value!r}; accepted are {', '.join(map(repr, get_args(hint)))}.")
        return
    accepted = (int, float) if hint is float else get_args(hint) or (hint,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        raise InputError(f"{name} is {value!r}; it must be of type {getattr(hint, '__name__', hint)}.")


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


# The package's layers (normalised, SiLU), optimiser and exploration serve all presets; where a source uses others, only
# what the table names is its own. Everything is counted per action, as Gymnasium does: an update for every 10 frames of
# an environment that repeats each action twice is one for every 5 actions. The ancestors of V3 maximise the logarithm
# of a Gaussian density of variance 1, which is half the squared error. All replays hold a million rows.
PRESETS: dict[str, Preset] = {
    "guide": Preset(
        memory="feed-forward",
        latent="Gaussian",
        heads="squared error",
        kl="balanced, free nats 1",
        behaviour="actor-critic, REINFORCE",
        source="the smallest agent of this kind that learns",
        options={},
    ),
    "planet": Preset(
        memory="RSSM",
        latent="Gaussian",
        heads="squared error",
        kl="free nats 3",
        behaviour="random: its planner is not here yet",
        source="the world model of Hafner et al. 2019 (arXiv 1811.04551); updates for an action repeat of 4",
        options={
            "memory": "rssm", "memory_cell": "gru", "decoder_scale": 0.5, "reward_scale": 5.0, "behaviour": "random",
            "free_nats": 3.0, "representation_scale": 1.0,
            "world_model_lr": 1e-3, "final_lr": 1.0, "clip": 1000.0, "batch_size": 50, "sequence_length": 50,
            "steps": 250_000, "prefill": 1250, "updates_per_step": 0.4, "capacity": 1_000_000, "envs": 1,
        },
        paper={"memory_size": 200, "latent_size": 30, "hidden": 200, "conv_depth": 16, "layers": 2},
    ),
    "dreamer_v1": Preset(
        memory="RSSM",
        latent="Gaussian",
        heads="squared error",
        kl="free nats 3 of the mean",
        behaviour="actor-critic, gradients through the dynamics",
        source="Hafner et al. 2020 (arXiv 1912.01603)",
        options={
            "memory": "rssm", "memory_cell": "gru", "decoder_scale": 0.5, "reward_scale": 0.5, "continue_scale": 10.0,
            "free_nats": 3.0, "free_nats_of": "mean", "representation_scale": 1.0, "imagined_starts": 0,
            "policy_gradient": "dynamics", "discount": 0.99, "discount_in_continue": True, "entropy_scale": 0.0,
            "slow_critic_scale": 0.0, "policy_unimix": 0.0, "return_normalization": False,
            "world_model_lr": 6e-4, "actor_lr": 8e-5, "critic_lr": 8e-5, "final_lr": 1.0, "batch_size": 50,
            "sequence_length": 50, "steps": 2_500_000, "prefill": 2500, "updates_per_step": 0.2,
            "capacity": 1_000_000, "envs": 1,
        },
        paper={"memory_size": 200, "latent_size": 30, "hidden": 400, "conv_depth": 16, "layers": 3},
    ),
    "dreamer_v2": Preset(
        memory="RSSM",
        latent="categorical",
        heads="squared error",
        kl="0.1, balanced 0.8",
        behaviour="actor-critic, REINFORCE",
        source="Hafner et al. 2021 (arXiv 2010.02193), for Atari; its slow critic is a copy every 100 updates",
        options={
            "memory": "rssm", "memory_cell": "gru", "latent": "categorical", "unimix": 0.0, "decoder_scale": 0.5,
            "reward_scale": 0.5, "continue_scale": 5.0, "free_nats": 0.0, "dynamics_scale": 0.08,
            "representation_scale": 0.02, "imagined_starts": 0, "bootstrap": "slow critic", "slow_critic_rate": 0.01,
            "slow_critic_scale": 0.0, "policy_unimix": 0.0, "return_normalization": False, "discount": 0.995,
            "discount_in_continue": True, "entropy_scale": 1e-3,
            "world_model_lr": 2e-4, "actor_lr": 4e-5, "critic_lr": 1e-4, "final_lr": 1.0, "batch_size": 50,
            "sequence_length": 50, "steps": 50_000_000, "prefill": 50_000, "updates_per_step": 0.25,
            "capacity": 1_000_000, "envs": 1,
        },
        paper={
            "memory_size": 600, "latent_size": 32, "latent_classes": 32, "hidden": 400, "conv_depth": 24, "layers": 4,
        },
    ),
    "dreamer_v3": Preset(
        memory="RSSM",
        latent="categorical",
        heads="symexp two-hot",
        kl="dynamics 1, representation 0.1, free nats 1",
        behaviour="actor-critic, REINFORCE, normalised returns",
        source="Hafner et al. 2023 (arXiv 2301.04104), in its reference's current settings for vectors",
        options={
            "memory": "rssm", "latent": "categorical", "heads": "two-hot", "norm": "rms", "decoder_scale": 1.0,
            "discount": 1.0 - 1.0 / 333.0, "discount_in_continue": True, "replay_critic_scale": 0.3,
            "imagined_starts": 0, "optimizer": "laprop", "warmup": 1000, "clip": math.inf, "final_lr": 1.0,
            "world_model_lr": 4e-5, "actor_lr": 4e-5, "critic_lr": 4e-5, "batch_size": 16, "sequence_length": 64,
            "fresh_sequences_first": True, "steps": 1_100_000, "prefill": 1024, "updates_per_step": 1.0,
            "capacity": 1_000_000, "envs": 16,
        },
        # With few updates the critic must learn quickly, and real returns must keep it honest: a critic that lags
        # behind, or believes the dream alone, is why agents waver. And the model must know what ends an episode, where
        # the agent hardly ever is: so it learns faster, and looks closer at observations and at ends. Below the free
        # nats the prior learns nothing, and one nat is nearly all the KL of a world as small as CartPole: none is free.
        # Gamma stays outside the continue head, which may say a little too much; values cannot creep above 1 / (1 -
        # gamma).
        small={
            "critic_lr": 1e-3, "slow_critic_rate": 0.1, "replay_critic_scale": 1.0,
            "world_model_lr": 3e-3, "decoder_scale": 100.0, "continue_scale": 10.0, "free_nats": 0.0,
            "discount_in_continue": False,
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
        "latent_size": 16, "latent_classes": 8, "conv_depth": 8, "bins": 63, **LAPTOP,
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


def size_options(preset: str, size: str | None) -> dict[str, Any]:
    """The options that `size` sets, and its name; None stands for the smallest.

    Raises:
        InputError: if the preset does not come in that size.
    """
    if preset == "guide":
        if size is not None:
            raise InputError(f"size is {size!r}; the preset 'guide' comes in one size: leave it out.")
        return {}
    size = "nano" if size is None else size
    if size not in sizes_of(preset):
        raise InputError(f"size is {size!r}; the preset {preset!r} comes in {', '.join(sizes_of(preset))}.")
    small = PRESETS[preset].small if size in ("nano", "micro") else {}
    return {"size": size, **(SIZES | {"paper": PRESETS[preset].paper})[size], **small}


def sizes_of(preset: str) -> list[str]:
    """The names of the sizes a preset comes in, smallest first; none for `guide`, which is as large as it is."""
    if preset == "guide":
        return []
    return [*SIZES, *(["paper"] if PRESETS[preset].paper else [])]


def make_config(preset: str = "guide", size: str | None = None, **options: Any) -> Config:
    """The options of a preset in one of its sizes, with some of them changed.

    Raises:
        InputError: for an unknown preset, size or option, a value of the wrong type, or one out of its range.
    """
    if preset not in list(PRESETS):  # a list, so that what cannot be hashed is not there either
        raise InputError(f"There is no preset {preset!r}; there are {', '.join(PRESETS)}.")
    known = [option.name for option in dataclasses.fields(Config)]
    for name in options:
        if name not in known:
            similar = get_close_matches(name, known, n=1)
            hint = f"did you mean {similar[0]!r}?" if similar else "`wm-tutorial train --help` lists all options."
            raise InputError(f"There is no option {name!r}; {hint}")
    return Config(**{"preset": preset, **PRESETS[preset].options, **size_options(preset, size), **options})
