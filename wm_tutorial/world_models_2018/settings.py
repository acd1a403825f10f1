"""Every number of the three stages that can be turned; the defaults fit a laptop, the paper's stand beside them."""

import dataclasses
import math
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin, get_type_hints

from wm_tutorial.config import LARGEST_SEED, builtin
from wm_tutorial.errors import InputError


@dataclass(frozen=True)
class Settings:
    """All options of a run of World Models 2018."""

    seed: int = 0
    """Seed of everything random in the run."""

    rows: int = 20_000
    """Rows of random play that V and M learn from; in the paper 10,000 episodes."""
    envs: int = 8
    """Environments stepped side by side while they are recorded."""

    latent_size: int = 8
    """Numbers in z; in the paper 32 for CarRacing and 64 for Doom."""
    hidden: int = 64
    """Units of the layer between z and the decoder's smallest picture."""
    conv_depth: int = 8
    """Channels of the picture stages, in units of 2, 3, 4 and 4."""
    kl_tolerance: float = 0.5
    """Nats of divergence for each number of z that cost nothing; 0.5 in the authors' code."""
    vision_updates: int = 2000
    """Gradient updates of V."""
    vision_batch: int = 64
    """Pictures in a batch; in the authors' code 100."""
    vision_lr: float = 1e-3
    """Learning rate of V; in the authors' code 1e-4."""

    memory_size: int = 64
    """Numbers in h; in the paper 256 for CarRacing and 512 for Doom."""
    components: int = 5
    """Gaussians in the mixture of each number of z, as in the paper."""
    memory_updates: int = 2500
    """Gradient updates of M; 0 leaves it as it was born, which is one of the experiments."""
    memory_batch: int = 32
    """Sequences in a batch; in the authors' code 100."""
    sequence_length: int = 48
    """Rows in a sequence; in the authors' code up to 1,000."""
    memory_lr: float = 3e-3
    """Learning rate of M; in the authors' code 1e-3."""
    clip: float = 1.0
    """Largest norm of a gradient, of V and of M."""

    plays_in: Literal["dream", "reality"] = "dream"
    """Where C is evolved: in M alone, or in the environment."""
    sees: Literal["z", "z and h"] = "z and h"
    """What C is shown."""
    temperature: float = 1.0
    """How unsure the dream is, tau; what counts is where C cannot exploit it. In the paper 1.15."""
    generations: int = 80
    """Rounds of evolution; in the paper 1,800 for CarRacing."""
    population: int = 24
    """Candidates in a generation; in the paper 64."""
    episodes: int = 4
    """Episodes that each candidate plays; in the paper 16."""
    spread: float = 0.5
    """Standard deviation of the first candidates around zero; in the authors' code 0.1."""
    limit: int = 100
    """Steps after which an episode ends, in the dream and in reality; in the authors' code 2,100 for Doom."""

    save_every: int = 500
    """Updates of V and M after which a stage is saved, and says how far it is."""
    threads: int = 1
    """CPU threads. With one, the numbers do not depend on how many cores there are."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(Settings).items():
            object.__setattr__(self, name, builtin(getattr(self, name)))
            _check_type(name, getattr(self, name), hint)
        for names, low, high, accepted in RANGES:
            for name in names.split():
                if not low <= (value := getattr(self, name)) <= high:
                    raise InputError(f"{name} is {value}; it must be {accepted}.")
        if self.rows < self.envs * (self.sequence_length + 1):
            raise InputError(
                f"rows is {self.rows} in {self.envs} environments; sequences of {self.sequence_length} rows need at "
                f"least {self.envs * (self.sequence_length + 1)}: record more, or shorten the sequences."
            )


RANGES: tuple[tuple[str, float, float, str], ...] = (
    ("seed", 0, LARGEST_SEED, "between 0 and 2**63 - 1"),
    ("rows", 2, 10**8, "at least 2, and at most 10**8"),
    ("envs latent_size vision_batch memory_size components memory_batch episodes limit save_every", 1, 10**6,
     "at least 1, and at most a million"),
    ("hidden", 4, 10**6, "at least 4, or normalising leaves nothing to say, and at most a million"),
    ("conv_depth", 2, 10**4, "at least 2, and at most 10,000"),
    ("sequence_length", 2, 10**6, "at least 2: M foresees the rows after the first"),
    ("vision_updates generations", 1, math.inf, "at least 1"),
    ("memory_updates", 0, math.inf, "0 or more; 0 leaves M untrained"),
    ("population", 4, 10**6, "at least 4, and at most a million"),
    ("kl_tolerance", 0.0, 1e6, "0 or more, and finite"),
    ("vision_lr memory_lr", 0.0, 1.0, "between 0 and 1"),
    ("clip spread", 1e-9, 1e6, "above 0, and finite"),
    ("temperature", 1e-6, 1e6, "above 0: 1 is what M has learned, less is surer, more is less sure"),
    ("threads", 0, 1024, "between 0 and 1024"),
)  # fmt: skip

# What each stage depends on, itself and the ones before it; the rest may differ when a run goes on.
OF_EXPERIENCE = ("seed", "rows", "envs")
OF_VISION = (
    "latent_size",
    "hidden",
    "conv_depth",
    "kl_tolerance",
    "vision_updates",
    "vision_batch",
    "vision_lr",
    "clip",
)
OF_MEMORY = ("memory_size", "components", "memory_updates", "memory_batch", "sequence_length", "memory_lr")
OF_CONTROLLER = ("plays_in", "sees", "temperature", "population", "episodes", "spread", "limit")


def make_settings(**options: Any) -> Settings:
    """The settings with some of them changed.

    Raises:
        InputError: for an unknown option, a value of the wrong type, or one out of its range.
    """
    known = [field.name for field in dataclasses.fields(Settings)]
    for name in options:
        if name not in known:
            similar = get_close_matches(name, known, n=1)
            hint = f"did you mean {similar[0]!r}?" if similar else f"there are {', '.join(known)}."
            raise InputError(f"There is no option {name!r}; {hint}")
    return Settings(**options)


def _check_type(name: str, value: Any, hint: Any) -> None:
    """One clear error for a value of the wrong type; an integer may stand for a float."""
    if get_origin(hint) is Literal:
        if not isinstance(value, str) or value not in get_args(hint):
            raise InputError(f"{name} is {value!r}; accepted are {', '.join(map(repr, get_args(hint)))}.")
    elif not isinstance(value, (int, float) if hint is float else hint) or isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; it must be of type {hint.__name__}.")
