"""World model and behaviour together: what acts."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor, nn

from wm_tutorial import checkpoint
from wm_tutorial.actor_critic import ActorCritic
from wm_tutorial.ambient import as_usual
from wm_tutorial.composite import CompositeSpaces, Part
from wm_tutorial.config import Config, from_plain, plain
from wm_tutorial.data import Row, Spaces, State
from wm_tutorial.errors import CheckpointError, InputError
from wm_tutorial.latents import OneHot
from wm_tutorial.planner import planned_action
from wm_tutorial.world_model import WorldModel


@dataclass(frozen=True)
class Carry:
    """What an agent remembers from one step to the next.

    state   (N)     the state it inferred
    action  (N, A)  the action it took
    """

    state: State
    action: Tensor


class Agent(nn.Module):
    """A world model and the behaviour learned inside it, unless it plans."""

    def __init__(self, spaces: Spaces, config: Config) -> None:
        super().__init__()
        if config.behaviour == "planner" and len(spaces.factors) > 1:
            raise InputError(
                f"behaviour is 'planner', which plans with one discrete or continuous action, and this environment has "
                f"{spaces}. Give behaviour='actor-critic', or a preset that learns a policy."
            )
        self.spaces, self.config = spaces, config
        self.world_model = WorldModel(spaces, config)
        if config.behaviour != "planner":  # which learns nothing: all it needs is the model
            self.behaviour = ActorCritic(self.world_model.features, spaces, config)

    @property
    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.parameters()).device

    def initial(self, count: int) -> Carry:
        """What is remembered before anything was seen."""
        state = self.world_model.dynamics.initial(count)
        return Carry(state, state.latent.new_zeros(count, self.spaces.action_size))

    @torch.no_grad()
    def policy(self, row: Row, carry: Carry, greedy: bool = False) -> Carry:
        """Infer the states of N environments from `row` and choose their actions.

        Args:
            row: what the environments returned; where it is the first of an episode, `carry` is forgotten.
            carry: from the step before.
            greedy: take the most likely latent and action instead of samples; of a plan, no exploration noise.
        """
        state = self.infer(row, carry, greedy)
        if self.config.behaviour == "random":
            return Carry(state, self.random_action(len(row.reward)).to(carry.action.device))
        if self.config.behaviour == "planner":
            return Carry(state, planned_action(self.world_model, state, self.spaces, self.config, greedy))
        distribution = self.behaviour.actor(state.feature)
        return Carry(state, distribution.mode if greedy else distribution.sample())

    @torch.no_grad()
    def infer(self, row: Row, carry: Carry, greedy: bool = False) -> State:
        """The states (N) of N environments that have returned `row`; arguments as in `policy`."""
        device = carry.action.device
        obs, is_first = torch.from_numpy(row.obs).to(device), torch.from_numpy(row.is_first).to(device)
        embedding = self.world_model.encoder(obs)
        return self.world_model.dynamics.step(carry.state, carry.action, is_first, embedding, greedy)

    def random_action(self, count: int) -> Tensor:
        """Actions (N, A) by chance: every class, or every number in -1..1, equally likely."""
        chosen = [
            OneHot(torch.full((count, size), 1.0 / size)).sample()
            if kind == "discrete"
            else 2.0 * torch.rand(count, size) - 1.0
            for kind, size in self.spaces.factors
        ]
        return torch.cat(chosen, dim=-1)

    def act(self, obs: Any, carry: Carry | None = None, greedy: bool = True, first: Any = False) -> tuple[Any, Carry]:
        """Act in one environment: `action, carry = agent.act(obs, carry)`; or in N side by side.

        Args:
            obs: as the environment returned it; or those of N environments, stacked, (N, ...). Of dicts and tuples each
                part is stacked, and so is each part of the actions.
            carry: what the step before returned; None at the start of every episode.
            greedy: the most likely action instead of a sample. A planner draws its candidates from PyTorch's generator
                all the same: seed it for an action that can be had again.
            first: where a new episode begins although `carry` holds another one, (N,); for environments side by side.

        Returns:
            An action for `env.step`, or N, (N,) or (N, A); and what to hand over at the next step.

        Raises:
            InputError: if the observation is not one of this agent's environment, in its shape, its kind of numbers and
                its range; or if `carry` is not what `act` has returned for as many environments.
        """
        try:
            encoded, many = self.spaces.encode_given(obs)
        except (InputError, ValueError) as error:
            raise InputError(f"act was given {error} The agent was made for {self.spaces}; obs is {obs!r}") from error
        count = len(encoded)
        if not isinstance(greedy, bool | np.bool_):
            raise InputError(f"greedy is {greedy!r}; it must be True or False.")
        if np.shape(first) not in ((), (count,)) or np.asarray(first).dtype != bool:
            raise InputError(f"first is {first!r}; it must be True or False, or {count} of these in an array.")
        self._check_carry(carry, count)
        nothing = np.zeros(count, bool)
        row = Row(encoded, np.zeros(count, np.float32), nothing | (carry is None) | first, nothing, nothing)
        with as_usual():
            carry = self.policy(row, carry or self.initial(count), bool(greedy))
        action = self.spaces.decode_action(carry.action.numpy(force=True))
        return self.spaces.structured(action if many else action[0]), carry

    def _check_carry(self, carry: Any, count: int) -> None:
        """Raise InputError unless `carry` is None, or what is remembered of `count` environments."""
        if carry is None:
            return
        sizes = _sizes(self.initial(count))
        if (given := _sizes(carry) if isinstance(carry, Carry) else []) != sizes:
            what = f"that of shapes {given}" if given else f"a {type(carry).__name__}"
            raise InputError(
                f"carry is {what}; for {count} observations of this agent memory, latent and action have the shapes "
                f"{sizes}. Give what act returned at the step before, or None where an episode begins."
            )

    def check_fits(self, spaces: Spaces) -> None:
        """Raise InputError unless `spaces` are the ones this agent was made for."""
        check_spaces(self.spaces, spaces)

    def save(self, path: str | Path) -> Path:
        """Write the agent alone, without its experience, to a safetensors file of some kilobytes; returns its path.

        The metadata of the file hold, as JSON, the spaces, all options and the versions that wrote it.

        Raises:
            InputError: if the name does not end in .safetensors.
            OutputError: if the file cannot be written.
        """
        path = checkpoint.agent_path(path)
        header = {
            "torch": torch.__version__,
            "spaces": dataclasses.asdict(self.spaces),
            "config": plain(self.config),
        }
        checkpoint.write_agent(path, header, self.state_dict())
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Agent":
        """The agent of a run folder, or of a file that `save` wrote, ready to act; needs no environment.

        A checkpoint file will do, too; it is larger, since it holds the experience as well.

        Raises:
            CheckpointError: if there is no readable agent.
        """
        path = checkpoint.user_path(path)
        if path.is_dir():
            path /= checkpoint.AGENT if (path / checkpoint.AGENT).exists() else checkpoint.CHECKPOINT
        if path.suffix == ".safetensors":
            told, tensors = checkpoint.read_agent(path)
        else:
            told = checkpoint.read(path)
            tensors = told.get("agent", {})
        spaces, config = described(path, told, tensors)
        agent = cls(spaces, config)
        agent.load_state_dict(tensors)
        return agent.eval()


def _sizes(carry: Carry) -> list[tuple[int, ...]]:
    """The shapes of memory, latent and action."""
    return [tuple(part.shape) for part in (carry.state.memory, carry.state.latent, carry.action)]


def check_spaces(made_for: Spaces, given: Spaces) -> None:
    """Raise InputError unless an environment has the spaces that an agent was made for."""
    if given == made_for:
        return
    told = f"The agent was made for {made_for}; this environment has {given}"
    if str(given) == str(made_for):  # the difference is in what these words leave out
        names = [f.name for f in dataclasses.fields(made_for) if f.compare]
        differ = [name for name in names if getattr(given, name) != getattr(made_for, name)]
        told += f", but {', '.join(f'{n} {getattr(given, n)} instead of {getattr(made_for, n)}' for n in differ)}"
    raise InputError(f"{told}.")


def described(path: Path, told: dict[str, Any], tensors: Any) -> tuple[Spaces, Config]:
    """The spaces and options that a checkpoint or an agent's file tells of, once its tensors are known to fit them.

    Nothing is built: a file could ask for more than there is memory for. Tensors that fit bring their own size.

    Raises:
        CheckpointError: if something is missing, unknown, or not what it must be.
    """
    try:
        spaces, config = told_spaces(told["spaces"]), from_plain(told["config"])
        with torch.device("meta"):
            expected = dict(Agent(spaces, config).state_dict())
        checkpoint.check_form(tensors, expected, "agent")
    except InputError as error:
        raise CheckpointError(
            f"{path} has options that this version does not take: {error} Use the version that wrote it "
            f"({checkpoint.written_by(path, told)}), or train again."
        ) from error
    except Exception as error:  # whatever the description of something else leads to
        raise CheckpointError(f"{path} holds no whole agent: {error}. Use another copy, or train again.") from error
    return spaces, config


def told_spaces(told: dict[str, Any]) -> Spaces:
    """Spaces as a file tells of them, where tuples may have become lists; raises ValueError for what are none."""
    if told.get("obs_kind") == "discrete" and "native_shape" not in told:
        raise ValueError(
            "it has discrete observations, and learned from them in an earlier version of wm_tutorial, which squashed "
            "them and predicted them by squared error; now they are classes"
        )
    if "obs_parts" in told:
        return _told_parts(_tuples(told))
    spaces = Spaces(**_tuples(told))
    _check_types(spaces)
    if "composite" in (spaces.obs_kind, spaces.action_kind):
        raise ValueError("it tells of composite spaces, and not of their parts")
    if (native := spaces.native_shape) is not None:
        numbers = 1 if spaces.obs_kind == "discrete" else math.prod(spaces.obs_shape)
        if min(native, default=1) < 1 or math.prod(native) != numbers:
            raise ValueError(f"native_shape is {native}, which is no shape of {spaces}")
    bounds = spaces.action_size if spaces.action_kind == "continuous" else 1
    axes = 3 if spaces.obs_kind == "image" else 1
    if (len(spaces.action_low), len(spaces.action_high), len(spaces.obs_shape)) != (bounds, bounds, axes):
        raise ValueError(f"the spaces, {spaces}, do not fit together")
    return spaces


def _told_parts(told: dict[str, Any]) -> CompositeSpaces:
    """Spaces of the parts that a file tells of; all else in it follows from them, and must be so."""
    sides = [[Part(**part) for part in told[side]] for side in ("obs_parts", "action_parts")]
    for part in (*sides[0], *sides[1]):
        _check_types(part)
    spaces = CompositeSpaces.of(*sides)
    if dataclasses.asdict(spaces) != told:
        raise ValueError("the spaces are not those of their parts")
    return spaces


def _tuples(told: Any) -> Any:
    """The same with tuples where files have lists."""
    if isinstance(told, dict):
        return {name: _tuples(value) for name, value in told.items()}
    return tuple(map(_tuples, told)) if isinstance(told, list | tuple) else told


def _check_types(described: Spaces | Part) -> None:
    """Raise ValueError unless each field is of the type that it is declared with."""
    for name, hint in get_type_hints(type(described)).items():
        if not _is_of(value := getattr(described, name), hint):
            raise ValueError(f"{name} is {value!r:.200}, and must be {hint}")


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value is of the type of a field of `Spaces` or `Part`."""
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if isinstance(hint, UnionType):
        return any(_is_of(value, one) for one in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_is_of(each, get_args(hint)[0]) for each in value)
    return type(value) is hint and (hint is not float or math.isfinite(value))
