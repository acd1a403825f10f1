"""Every number that can be turned, in one flat table, and the named rows of that table (presets)."""

import dataclasses
import math
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from wm_tutorial.errors import InputError
from wm_tutorial.presets import LAPTOP, PRESETS, SIZES, Preset

__all__ = [
    "LAPTOP", "PRESETS", "RANGES", "SECTIONS", "SIZES", "Config", "Preset", "builtin", "change", "from_plain",
    "integers", "make_config", "plain", "section_options", "size_options", "sizes_of",
]  # fmt: skip

# The sections of `Config`, each with the option it begins with.
SECTIONS = {
    "The run": "preset",
    "Axes of the lineage": "memory",
    "World model": "hidden",
    "Behaviour": "horizon",
    "Optimisation": "optimizer",
    "Data": "envs",
    "Reports and machine": "eval_every",
}


@dataclass(frozen=True)
class Config:
    """All options of a run. `Config()` is the preset `guide`."""

    # The run
    preset: str = "guide"
    """Which row of the lineage the other options start from; `wm-tutorial presets` lists them."""
    size: str | None = None
    """How large: `nano` and `micro` for CPUs, `size1m` to `size400m`, `paper`; `guide` comes in one size."""
    steps: int = 15_000
    """Environment steps of the whole run."""
    seed: int = 0
    """Seed of everything random in the run."""

    # Axes of the lineage
    memory: Literal["feed-forward", "rssm"] = "feed-forward"
    """What the state remembers: only the last observation, or (RSSM) everything since the episode began."""
    latent: Literal["gaussian", "categorical"] = "gaussian"
    """How the stochastic part of the state is distributed."""
    heads: Literal["squared-error", "two-hot"] = "squared-error"
    """How rewards and values are predicted; two-hot takes numbers of any size."""
    behaviour: Literal["actor-critic", "planner", "random"] = "actor-critic"
    """What acts: a policy learned in imagination; a plan searched for in the model before each action; or chance."""

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
    unimix: float = 0.01
    """Share of the uniform distribution in categorical latents."""
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
    """Steps imagined from each start, or planned ahead."""
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
    candidates: int = 1000
    """Sequences of actions that the planner tries in each iteration."""
    elites: int = 100
    """How many of the best candidates the planner draws the next ones like."""
    plan_iterations: int = 10
    """How often the planner narrows its plan before each action."""
    action_noise: float = 0.3
    """What the planner explores with: the standard deviation of noise on continuous actions, the share of random
    discrete ones."""

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

    # Reports and machine
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
            object.__setattr__(self, name, builtin(getattr(self, name)))
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
        if self.elites > self.candidates:
            raise InputError(
                f"elites is {self.elites} and candidates is {self.candidates}; elites are the best of the candidates: "
                "give no more of them."
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


def section_options() -> dict[str, list[str]]:
    """The options of each section, in the order of `Config`."""
    begins = {option: section for section, option in SECTIONS.items()}
    found: dict[str, list[str]] = {}
    section = ""
    for option in dataclasses.fields(Config):
        section = begins.get(option.name, section)
        found.setdefault(section, []).append(option.name)
    return found


# Seeds are kept, and given to generators, in 64 bits with a sign.
LARGEST_SEED = 2**63 - 1

# Far above what anyone trains: a slip of the pen, or a strange file, is told so instead of filling the memory.
LARGEST = 10**6

# What `resume` may change: how long the run is, how fast it learns, what it reports, and what it runs on. The rest says
# which experiment it is, has shaped the networks and the replay, or counts from the first step on.
CHANGEABLE = (
    *("steps", "world_model_lr", "actor_lr", "critic_lr", "final_lr", "clip", "entropy_scale"),
    *("eval_every", "eval_episodes", "checkpoint_every", "log_every", "threads", "device", "precision", "compile"),
)

# Which values each number may have: names, lowest, highest, and how to say so.
RANGES: tuple[tuple[str, float, float, str], ...] = (
    ("latent_classes", 2, LARGEST, "at least 2, and at most a million"),
    ("bins", 3, LARGEST - 1, "at least 3, and below a million"),
    ("latent_size memory_size memory_blocks", 1, LARGEST, "at least 1, and at most a million"),
    ("hidden", 4, LARGEST, "at least 4, or normalising leaves nothing to say, and at most a million"),
    ("conv_depth", 2, LARGEST, "at least 2, and at most a million"),
    ("horizon batch_size sequence_length", 1, LARGEST, "at least 1, and at most a million"),
    ("candidates elites plan_iterations", 1, LARGEST, "at least 1, and at most a million"),
    ("layers", 1, 100, "at least 1, and at most 100"),
    ("envs", 1, 10_000, "at least 1, and at most 10,000"),
    ("capacity", 1, 10**9, "at least 1, and at most 10**9"),
    ("steps eval_episodes log_every", 1, math.inf, "at least 1"),
    ("seed", 0, LARGEST_SEED, "between 0 and 2**63 - 1"),
    ("imagined_starts warmup prefill eval_every checkpoint_every", 0, math.inf, "0 or more"),
    ("threads", 0, 1024, "between 0 and 1024"),
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
    ("lam unimix policy_unimix slow_critic_rate final_lr action_noise", 0.0, 1.0, "between 0 and 1"),
    ("clip", 1e-9, math.inf, "above 0"),
)


def builtin(value: Any) -> Any:
    """A NumPy scalar, or a member of a subclass of int, float or str (an enum, say), as Python's own; else as it is.

    A file keeps numbers and words, and no classes: to read one would take the code of the class.
    """
    match value:
        case np.generic():
            return value.item()
        case bool():
            return value
        case int():
            return int.__int__(value)
        case float():
            return float.__float__(value)
        case str():
            return str.__str__(value)
    return value


def integers(**values: Any) -> tuple[int, ...]:
    """Whole numbers, NumPy's too, as Python's own.

    Raises:
        InputError: naming the first that is none.
    """
    for name, value in values.items():
        if type(builtin(value)) is not int:
            raise InputError(f"{name} is {value!r}; it must be a whole number.")
    return tuple(map(builtin, values.values()))


def _check_type(name: str, value: Any, hint: Any) -> None:
    """One clear error for a value of the wrong type; an integer may stand for a float."""
    if get_origin(hint) is Literal:
        if not isinstance(value, str) or value not in get_args(hint):
            raise InputError(f"{name} is {value!r}; accepted are {', '.join(map(repr, get_args(hint)))}.")
        return
    accepted = (int, float) if hint is float else get_args(hint) or (hint,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        raise InputError(f"{name} is {value!r}; it must be of type {getattr(hint, '__name__', hint)}.")


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
    preset, size = builtin(preset), builtin(size)
    if str(preset) not in PRESETS:
        raise InputError(f"There is no preset {preset!r}; there are {', '.join(PRESETS)}.")
    known = [option.name for option in dataclasses.fields(Config)]
    for name in options:
        if name not in known:
            similar = get_close_matches(name, known, n=1)
            hint = f"did you mean {similar[0]!r}?" if similar else "`wm-tutorial train --help` lists all options."
            raise InputError(f"There is no option {name!r}; {hint}")
    return Config(**{"preset": preset, **PRESETS[preset].options, **size_options(preset, size), **options})


def change(config: Config, changes: dict[str, Any]) -> Config:
    """The options of a run that goes on, with some of them changed.

    Raises:
        InputError: as `make_config`, and for an option that cannot change in the middle of a run.
    """
    changed = make_config(**{**dataclasses.asdict(config), **changes})
    for name in changes:
        if (new := getattr(changed, name)) != (old := getattr(config, name)) and name not in CHANGEABLE:
            raise InputError(
                f"{name} is {new!r}, and was {old!r} when the run began. It cannot change in the middle of a run, "
                f"which would be another one then: begin a new run. What can change is {', '.join(CHANGEABLE)}."
            )
    return changed


def plain(config: Config) -> dict[str, Any]:
    """The options as JSON can hold them: infinity, for which JSON has no word, is the string "inf"."""
    return {name: "inf" if value == math.inf else value for name, value in dataclasses.asdict(config).items()}


def from_plain(options: dict[str, Any]) -> Config:
    """The options that `plain` wrote down, or an older file with an infinity of its own.

    An option that an older file does not have yet is at the default of `Config`, which does what was done before it.

    Raises:
        InputError: for an unknown option, a value of the wrong type, or one out of its range.
    """
    numbers = [name for name, hint in get_type_hints(Config).items() if hint is float]
    read: dict[str, Any] = {name: math.inf for name in numbers if options.get(name) == "inf"}
    return make_config(**{**dataclasses.asdict(Config()), **options, **read})
