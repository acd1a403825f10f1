"""Parts that a reader wrote drive the agent.

from wm_tutorial.course import own

with own.parts(lambda_returns=my_lambda_returns, sample=my_sample):
    trainer.run()

A function takes the place of the package's once its check has passed, with the signature that the check asks for. The
agent then takes its readable path, so that what was written is what runs.
"""

import ast
import contextlib
import io
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wm_tutorial import actor_critic, imagination, kl, returns, transforms
from wm_tutorial.actor_critic import ActorCritic
from wm_tutorial.check.diagnosis import judge
from wm_tutorial.config import Config
from wm_tutorial.course import assembly, continuous, pixels, planner
from wm_tutorial.data import Array, Batch, Row, State, Trajectory, stack
from wm_tutorial.dynamics import RSSM, BlockGRU, FeedForward, executed
from wm_tutorial.envs import Environments
from wm_tutorial.errors import InputError
from wm_tutorial.heads import Bernoulli, SquaredError
from wm_tutorial.latents import Distribution, Gaussian, GaussianLatent, OneHot
from wm_tutorial.mistakes import PARTS
from wm_tutorial.mistakes.part import Function
from wm_tutorial.networks import BlockLinear, flatten_leading
from wm_tutorial.parts import Replacement, replaced
from wm_tutorial.replay import Replay
from wm_tutorial.returns import ReturnNormalizer
from wm_tutorial.trainer import Trainer
from wm_tutorial.transforms import TwoHot
from wm_tutorial.world_model import WorldModel


@contextmanager
def parts(**functions: Function) -> Iterator[None]:
    """Inside, the agent uses these functions, each named after its check, in place of the package's.

    Says at the end which of them no agent has asked for: `kl_balance` has no place in one with categorical latents.

    Raises:
        InputError: for a part that has no place in the agent, or a function that its check does not accept; the
            message is what the check says.
    """
    used = {name: Counted(function) for name, function in functions.items()}
    replacements = []
    if unknown := [name for name in functions if name not in PLACES]:
        raise InputError(f"{unknown[0]!r} has no place in the agent; these parts have one: {', '.join(PLACES)}.")
    for name in (name for name in PLACES if name in functions):  # a sequence stands over the step that it takes
        function = functions[name]
        with contextlib.redirect_stdout(io.StringIO()):
            problem = judge(PARTS[name], function)
        if problem:
            raise InputError(f"Only what its check accepts can drive the agent. {name}: {problem}")
        replacements += PLACES[name](used[name])
    with replaced(*replacements):
        yield
    if idle := [name for name, function in used.items() if not function.calls]:
        print(f"Not asked for by this agent: {', '.join(idle)}.")


def finished(mine: Mapping[str, Function] | None = None) -> dict[str, Function]:
    """Every part that has a place: the reader's own where there is one, else the finished one."""
    return {name: (mine or {}).get(name, PARTS[name].right) for name in PLACES}


def compare(mine: Mapping[str, Function], source: str, config: Config) -> float:
    """The largest difference between the first gradients with these parts and with the finished ones, clipped.

    Zero means bit for bit; sums in another order round otherwise, by less than 1e-5. What draws at random (`DRAWS`) is
    that of `mine` on both sides: in which order a right function draws its numbers is its own affair. It has its check.
    """
    drawn = {name: mine[name] for name in DRAWS if name in mine}
    ours, theirs = (_first_gradients(finished(functions), source, config) for functions in (mine, drawn))
    return float((ours - theirs).abs().max())


def _first_gradients(functions: Mapping[str, Function], source: str, config: Config) -> Tensor:
    with contextlib.redirect_stdout(io.StringIO()), parts(**functions):  # which parts idle is said elsewhere
        trainer = Trainer(source, config)
        while not trainer.updates_due:
            trainer.collect()
        numbers = torch.Generator().manual_seed(0)
        with torch.no_grad():  # last layers begin at zero, where every dreamed reward and value is zero, too
            for parameter in trainer.agent.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=numbers))
        trainer.train_step()
    return torch.cat([p.grad.flatten() for p in trainer.agent.parameters() if p.grad is not None])


def written(folder: str | Path = ".") -> dict[str, Function]:
    """What a reader has written into the exercises of the notebooks in `folder`, by the name of its check.

    A notebook must have been saved. Of its other cells only the imports are run. What still raises NotImplementedError
    is left out. Raises InputError if a cell that was written in does not run.
    """
    found: dict[str, Function] = {}
    for path in sorted(Path(folder).expanduser().glob("[0-9][0-9]_*.ipynb")):
        cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
        imports = "\n".join(_imports("".join(cell["source"])) for cell in cells)
        for exercise, check in itertools.pairwise(cells):
            asked = re.search(r"^check\.(\w+)\((\w+)\)$", "".join(check["source"]), re.MULTILINE)
            source = "".join(exercise["source"])
            if "exercise" in exercise["metadata"].get("tags", []) and asked and "NotImplementedError" not in source:
                space: dict[str, Any] = {}
                try:
                    exec(compile(f"{imports}\n{source}", f"<{path.name}>", "exec"), space)
                    found[asked[1]] = space[asked[2]]
                except Exception as error:
                    raise InputError(
                        f"{path.name}: the cell before check.{asked[1]} does not give {asked[2]}: {error!r}. Finish "
                        "it and save, or leave the raise NotImplementedError in it."
                    ) from error
    return found


def _imports(source: str) -> str:
    try:
        nodes = ast.parse(source).body
    except SyntaxError:  # a cell that a reader has begun
        return ""
    return "\n".join(ast.unparse(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom))


@dataclass
class Counted:
    """A function that knows how often it was called."""

    function: Function
    calls: int = 0

    def __call__(self, *given: Any) -> Any:
        """Its answer."""
        self.calls += 1
        return self.function(*given)


# --- Where each part belongs: from the reader's signature to the package's --------------------------------------------


def _lambda_returns(mine: Function) -> list[Replacement]:
    def lambda_returns(reward: Tensor, discount: Tensor, value: Tensor, lam: float | Tensor) -> Any:
        if not isinstance(lam, Tensor):
            return mine(reward, discount, value, lam)
        # one lambda for each step: step by step from the end, with what follows mixed into the value
        following, columns = value[:, -1:], []
        for t in reversed(range(reward.shape[1])):
            now = slice(t, t + 1)
            mixed = (1.0 - lam[:, now]) * value[:, now] + lam[:, now] * following
            following = mine(reward[:, now], discount[:, now], mixed, 1.0)
            columns.append(following)
        return torch.cat(columns[::-1], dim=1)

    return [Replacement(returns, "lambda_returns", lambda_returns)]


def _two_hot(mine: Function) -> list[Replacement]:
    def loss(self: TwoHot, target: Tensor) -> Tensor:
        weights: Tensor = mine(target.detach().reshape(-1), self.bins).reshape(*target.shape, -1)
        return -(weights * self.log_probabilities).sum(-1)

    return [Replacement(TwoHot, "loss", loss)]


def _two_hot_mean(mine: Function) -> list[Replacement]:
    def mean(self: TwoHot) -> Any:
        probabilities, leading = flatten_leading(torch.softmax(self.logits, -1), keep=1)
        return mine(probabilities, self.bins).reshape(leading)

    return [Replacement(TwoHot, "mean", property(mean))]


def _sample(mine: Function) -> list[Replacement]:
    def sample(self: Gaussian) -> Any:
        (mean, _), (logvar, _) = (flatten_leading(x, keep=1) for x in (self.mean, self.logvar))
        return mine(mean, logvar).reshape(self.mean.shape)

    return [Replacement(Gaussian, "sample", sample)]


def _categorical_kl(mine: Function) -> list[Replacement]:
    def categorical_kl(log_posterior: Tensor, log_prior: Tensor) -> Any:
        # the uniform distribution is in both already; logarithms of probabilities are logits, too
        (posterior, leading), (prior, _) = (flatten_leading(x, keep=2) for x in (log_posterior, log_prior))
        return mine(posterior, prior, 0.0).reshape(leading)

    return [Replacement(kl, "categorical_kl", categorical_kl)]


def _categorical_sample(mine: Function) -> list[Replacement]:
    def sample(self: OneHot) -> Any:
        probabilities, _ = flatten_leading(self.probabilities.detach(), keep=2)
        numbers = torch.rand_like(self.probabilities[..., :1])  # as many as the package draws
        return mine(probabilities, numbers.reshape(probabilities.shape[:2])).reshape(self.probabilities.shape)

    return [Replacement(OneHot, "sample", sample)]


def _straight_through(mine: Function) -> list[Replacement]:
    def rsample(self: OneHot) -> Any:
        (probabilities, _), (drawn, _) = (flatten_leading(x, keep=2) for x in (self.probabilities, self.sample()))
        return mine(probabilities, drawn).reshape(self.probabilities.shape)

    return [Replacement(OneHot, "rsample", rsample)]


def _unimix(mine: Function) -> list[Replacement]:
    def mixed(cls: type[OneHot], logits: Tensor, unimix: float) -> OneHot:
        given, _ = flatten_leading(logits, keep=2)
        return cls(mine(given, unimix).reshape(logits.shape))

    return [Replacement(OneHot, "mixed", classmethod(mixed))]


def _kl_balance(mine: Function) -> list[Replacement]:
    package = kl.balanced_kl

    def balanced_kl(posterior: Any, prior: Any, free_nats: float, of_mean: bool = False) -> Any:
        if not isinstance(posterior, Gaussian):
            return package(posterior, prior, free_nats, of_mean)
        given = posterior.mean, posterior.logvar, prior.mean, prior.logvar
        both = [mine(*given, alpha) for alpha in (1.0, 0.0)]  # all for the prior, then all for the posterior
        if of_mean:
            both = [one.mean().expand_as(one) for one in both]
        return both[0].clamp(min=free_nats), both[1].clamp(min=free_nats)

    return [Replacement(kl, "balanced_kl", balanced_kl)]


def _dynamics_step(mine: Function) -> list[Replacement]:
    package = FeedForward.prior

    def prior(self: FeedForward, state: State, action: Tensor) -> Distribution:
        if not isinstance(self.latent, GaussianLatent):
            return package(self, state, action)
        shape = state.latent.shape
        (latent, _), (taken, _) = (flatten_leading(x, keep=1) for x in (state.latent, executed(action)))
        mean, logvar = mine(latent, taken, self.prior_net)
        return Gaussian(mean.reshape(shape), logvar.reshape(shape))

    return [Replacement(FeedForward, "prior", prior)]


def _prior_inputs(mine: Function) -> list[Replacement]:
    def observe(
        self: FeedForward, embedding: Tensor, action: Tensor, is_first: Tensor, start: State
    ) -> tuple[State, Distribution, Distribution]:
        posterior = self.posterior(embedding)
        latent = posterior.sample()
        memory = latent.new_zeros(*latent.shape[:2], 0)
        before, taken = mine(latent, action, is_first, start.latent)
        return State(memory, latent), posterior, self.prior(State(memory, before), taken)

    return [Replacement(FeedForward, "observe", observe)]


def _imagination(mine: Function) -> list[Replacement]:
    package = imagination.imagine

    def imagine(model: WorldModel, policy: Any, start: State, horizon: int, differentiable: bool = False) -> Trajectory:
        if differentiable:
            return package(model, policy, start, horizon, differentiable)
        memory = start.memory.shape[-1]
        with torch.no_grad():
            dreamed = mine(
                start.feature,
                lambda feature: policy(feature).sample(),
                lambda feature, action: model.imagine(State.split(feature, memory), action).feature,
                lambda feature: model.reward(feature).mean,
                horizon,
            )
            continue_ = model.continues(dreamed["latent"]).mean
        return Trajectory(State.split(dreamed["latent"], memory), dreamed["action"], dreamed["reward"], continue_)

    return [Replacement(imagination, "imagine", imagine)]


def _imagined_weight(mine: Function) -> list[Replacement]:
    return [Replacement(Trajectory, "weight", lambda self, gamma: mine(self.continue_, gamma))]


def _return_range(mine: Function) -> list[Replacement]:
    def after(self: ReturnNormalizer, given: Tensor) -> Any:
        return mine(self.range, given.to(self.low), self.decay)

    return [Replacement(ReturnNormalizer, "after", after)]


def _scaled_advantage(mine: Function) -> list[Replacement]:
    package = ActorCritic.advantage

    def advantage(self: ActorCritic, given: Tensor, value: Tensor, range_: Tensor) -> Any:
        if not self.config.return_normalization:
            return package(self, given, value, range_)
        return mine(given, value, range_, self.normalizer.floor)

    return [Replacement(ActorCritic, "advantage", advantage)]


def _policy_loss(mine: Function) -> list[Replacement]:
    package = ActorCritic.policy_loss

    def policy_loss(
        self: ActorCritic, policy: Any, action: Tensor, advantage: Tensor, entropy: Tensor, weight: Tensor
    ) -> Any:
        if not isinstance(policy, OneHot):
            return package(self, policy, action, advantage, entropy, weight)
        # the advantage is a difference already, in units of the range of returns
        return mine(policy.logits, action, advantage, torch.zeros_like(advantage), weight, self.config.entropy_scale)

    return [Replacement(ActorCritic, "policy_loss", policy_loss)]


def _critic_loss(mine: Function) -> list[Replacement]:
    package = actor_critic.critic_loss

    def critic_loss(value: Any, target: Tensor, slow_value: Tensor, weight: Tensor, slow_scale: float) -> Any:
        if not isinstance(value, SquaredError):
            return package(value, target, slow_value, weight, slow_scale)

        def pull(to: Tensor) -> Any:
            one = mine((value.mean / value.unit).reshape(-1, 1), (to / value.unit).reshape(-1), weight.reshape(-1))
            return one.reshape(weight.shape)

        return pull(target) + slow_scale * pull(slow_value)

    return [Replacement(actor_critic, "critic_loss", critic_loss)]


def _continue_target(mine: Function) -> list[Replacement]:
    def continue_target(self: WorldModel, batch: Batch) -> Any:
        discount = self.config.discount if self.config.discount_in_continue else 1.0
        return mine(batch.is_last, batch.is_terminal, discount)

    return [Replacement(WorldModel, "continue_target", continue_target)]


def _continue_loss(mine: Function) -> list[Replacement]:
    return [Replacement(Bernoulli, "loss", lambda self, target: mine(self.logit, target))]


def _alignment(mine: Function) -> list[Replacement]:
    package = Environments.step

    def step(self: Environments, row: Row, action: Array) -> Row:
        after = package(self, row, action)
        columns: dict[str, list[Any]] = {name: [] for name in ("obs", "reward", "is_last", "is_terminal")}
        for i in range(len(self)):
            if row.is_last[i]:  # no transition: another episode begins
                now = {name: getattr(after, name)[i] for name in columns}
            else:
                given = row.obs[i], action[i], after.reward[i], after.obs[i]
                tensors = [torch.from_numpy(np.asarray(x, np.float32)).unsqueeze(0) for x in given]
                ends = [
                    torch.tensor([x]) for x in (after.is_terminal[i], after.is_last[i] and not after.is_terminal[i])
                ]
                now = {name: column[1].numpy() for name, column in mine(*tensors, *ends).items() if name in columns}
            for name, column in columns.items():
                column.append(now[name])
        made = {name: np.stack(column).astype(getattr(after, name).dtype) for name, column in columns.items()}
        return Row(is_first=after.is_first, **made)

    return [Replacement(Environments, "step", step)]


def _replay_sample(mine: Function) -> list[Replacement]:
    def anywhere(self: Replay, batch: int, length: int, rng: np.random.Generator) -> Array:
        positions = mine(self.columns["is_first"][0], self.added, batch, length + 1, rng)
        oldest = self.added - min(self.added, self.length)
        first: Array = oldest + (np.asarray(positions)[:, 0] - oldest) % self.length
        return first

    return [Replacement(Replay, "_anywhere", anywhere)]


def _updates_due(mine: Function) -> list[Replacement]:
    enough: Callable[[Trainer], int] = Trainer.updates_due.fget  # type: ignore[attr-defined]

    def updates_due(self: Trainer) -> int:
        config = self.config
        rows = config.batch_size * config.sequence_length
        steps = torch.tensor([self.steps])
        due = mine(steps, config.prefill, config.updates_per_step * rows, config.batch_size, config.sequence_length)
        return int(due) if enough(self) else 0

    return [Replacement(Trainer, "updates_due", property(updates_due))]


def _gated_update(mine: Function) -> list[Replacement]:
    def gated(self: BlockGRU, memory: Tensor, mixed: Tensor) -> Any:
        told = self.gates(self.split(mixed)).chunk(3, dim=-1)  # each (B, blocks, D / blocks)
        return mine(memory, *(gate.flatten(-2) for gate in told))

    return [Replacement(BlockGRU, "gated", gated)]


def _block_linear(mine: Function) -> list[Replacement]:
    def forward(self: BlockLinear, x: Tensor) -> Any:
        flat, leading = flatten_leading(x, keep=2)
        return mine(flat.flatten(-2), self.weight, self.bias).reshape(*leading, *self.bias.shape)

    return [Replacement(BlockLinear, "forward", forward)]


def _rssm_step(mine: Function) -> list[Replacement]:
    def step(
        self: RSSM, state: State, action: Tensor, is_first: Tensor, embedding: Tensor, greedy: bool = False
    ) -> State:
        def remember(memory: Tensor, latent: Tensor, action: Tensor) -> Tensor:
            return self.remember(State(memory, latent), action)

        def infer(memory: Tensor, embedding: Tensor) -> Tensor:
            posterior = self.posterior_given(memory, embedding)
            return posterior.mode if greedy else posterior.sample()

        return State(*mine(state.memory, state.latent, action, is_first, embedding, remember, infer))

    def observe(
        self: RSSM, embedding: Tensor, action: Tensor, is_first: Tensor, start: State
    ) -> tuple[State, Distribution, Distribution]:
        state, states = start, []
        for t in range(embedding.shape[1]):
            state = self.step(state, action[:, t], is_first[:, t], embedding[:, t])
            states.append(state)
        return _with_beliefs(self, stack(states, dim=1), embedding)

    return [Replacement(RSSM, "step", step), Replacement(RSSM, "observe", observe)]


def _with_beliefs(self: RSSM, states: State, embedding: Tensor) -> tuple[State, Distribution, Distribution]:
    """States (B, T) with the posterior and the prior of each."""
    return states, self.posterior_given(states.memory, embedding), self.prior_given(states.memory)


def _observe_sequence(mine: Function) -> list[Replacement]:
    def observe(
        self: RSSM, embedding: Tensor, action: Tensor, is_first: Tensor, start: State
    ) -> tuple[State, Distribution, Distribution]:
        def step(feature: Tensor, previous: Tensor, first: Tensor, embedded: Tensor) -> Tensor:
            return self.step(State.split(feature, self.memory_size), previous, first, embedded).feature

        # column t of `action` is a_{t-1}; what was chosen in the last row has not led anywhere yet
        chosen = torch.cat([action[:, 1:], torch.zeros_like(action[:, :1])], 1)
        features = mine(embedding, chosen, is_first, start.feature, action[:, 0], step)
        return _with_beliefs(self, State.split(features, self.memory_size), embedding)

    return [Replacement(RSSM, "observe", observe)]


PLACES: dict[str, Callable[[Function], list[Replacement]]] = {
    "symlog": lambda mine: [Replacement(transforms, "symlog", mine)],
    "symexp": lambda mine: [Replacement(transforms, "symexp", mine)],
    "sample": _sample,
    "dynamics_step": _dynamics_step,
    "prior_inputs": _prior_inputs,
    "continue_loss": _continue_loss,
    "continue_target": _continue_target,
    "two_hot": _two_hot,
    "two_hot_mean": _two_hot_mean,
    "gaussian_kl": lambda mine: [Replacement(kl, "gaussian_kl", mine)],
    "categorical_kl": _categorical_kl,
    "categorical_sample": _categorical_sample,
    "straight_through": _straight_through,
    "unimix": _unimix,
    "kl_balance": _kl_balance,
    "imagination": _imagination,
    "imagined_weight": _imagined_weight,
    "lambda_returns": _lambda_returns,
    "return_range": _return_range,
    "scaled_advantage": _scaled_advantage,
    "policy_loss": _policy_loss,
    "critic_loss": _critic_loss,
    "alignment": _alignment,
    "replay_sample": _replay_sample,
    "updates_due": _updates_due,
    "gated_update": _gated_update,
    "block_linear": _block_linear,
    "rssm_step": _rssm_step,
    "observe_sequence": _observe_sequence,
    **continuous.PLACES,
    **pixels.PLACES,
    **assembly.PLACES,
    **planner.PLACES,
}
DRAWS = ("replay_sample", "sample", "imagination", *continuous.DRAWS, *planner.DRAWS)
