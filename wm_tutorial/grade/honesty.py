"""What does not count: the package's finished function as the answer, and what was done to package and checks.

Nothing that a submission changes in the package or in a check reaches the grader, which runs in another process. It is
reported, so that a teacher can ask.
"""

import ast
import importlib
import re
from collections.abc import Iterable, Iterator, Sequence

from wm_tutorial.grade.exercises import Exercise, tagged, text_of
from wm_tutorial.grade.extract import Notebook, Statement, name_of

# What the package has for a part: the same job, under the same or another name.
FINISHED: dict[str, tuple[str, ...]] = {
    "alignment": ("envs.Environments.step",),
    "block_linear": ("networks.BlockLinear.forward",),
    "bounded_normal": ("actor_critic.BoundedNormal.bounded",),
    "categorical_kl": ("kl.categorical_kl",),
    "categorical_sample": ("latents.OneHot.sample",),
    "clip_by_share": ("optim.clip_by_share",),
    "continue_loss": ("heads.Bernoulli.loss",),
    "critic_loss": ("actor_critic.critic_loss",),
    "candidate_returns": ("planner.imagined_returns",),
    "cross_entropy": ("planner.plan", "planner.search"),
    "dynamics_step": ("dynamics.FeedForward.prior",),
    "executed_action": ("dynamics.executed",),
    "gated_update": ("dynamics.BlockGRU.gated",),
    "gaussian_kl": ("kl.gaussian_kl", "latents.Gaussian.kl"),
    "image_loss": ("heads.Image.loss",),
    "imagination": ("imagination.imagine",),
    "imagined_weight": ("data.Trajectory.weight",),
    "kl_balance": ("kl.balanced_kl",),
    "lambda_returns": ("returns.lambda_returns",),
    "laprop": ("optim.laprop_direction",),
    "mixture_log_prob": ("world_models_2018.memory.Mixture.log_prob",),
    "normal_entropy": ("actor_critic.BoundedNormal.entropy",),
    "normal_log_prob": ("actor_critic.BoundedNormal.log_prob",),
    "observe_sequence": ("dynamics.RSSM.observe",),
    "pathwise_dream": ("imagination.imagine",),
    "policy_loss": ("actor_critic.actor_loss",),
    "refit": ("planner.GaussianPlan.refit",),
    "replay_returns": ("actor_critic.ActorCritic.replay_returns",),
    "replay_sample": ("replay.Replay.sample",),
    "return_range": ("returns.ReturnNormalizer.after",),
    "ring_all_reduce_seconds": ("runs.cost.ring_seconds",),
    "rssm_step": ("dynamics.RSSM.step",),
    "sample": ("latents.Gaussian.sample",),
    "scaled_action": ("spaces.Spaces.decode_action",),
    "scaled_advantage": ("actor_critic.ActorCritic.advantage",),
    "slow_update": ("actor_critic.ActorCritic.update_slow_critic",),
    "straight_through": ("latents.OneHot.rsample",),
    "symexp": ("transforms.symexp",),
    "symlog": ("transforms.symlog",),
    "tempered": ("world_models_2018.memory.Mixture.at",),
    "tolerant_divergence": ("world_models_2018.vision.bound",),
    "two_hot": ("transforms.TwoHot.loss",),
    "two_hot_mean": ("transforms.TwoHot.mean",),
    "unimix": ("latents.OneHot.mixed",),
    "updates_due": ("trainer.Trainer.updates_due",),
    "upsample_convolve": ("networks.UpsampleConv.forward",),
    "write_back": ("replay.Replay.write_back",),
}
LIBRARIES = ("torch", "numpy", "math", "random", "inspect", "builtins", "cloudpickle")  # nobody changes their functions
SOLUTIONS = ("wm_tutorial.mistakes.", "wm_tutorial.check.", "wm_tutorial.zoo.", "wm_tutorial.course.own.")


TOLD = "right, in all"  # what a check says of a right function


def finished(part: str) -> tuple[str, ...]:
    """The package's own functions for a part, in full."""
    return tuple(f"wm_tutorial.{name}" for name in FINISHED.get(part, ()))


def borrowed(needed: Iterable[Statement], exercise: Exercise, notebook: Notebook) -> str:
    """What an answer takes from the package or from the folded solutions in place of being written, or nothing."""
    needed = list(needed)
    aliases = aliases_of(needed)
    for one in needed:
        for dotted in _dotted(one.node, aliases):
            if f"{dotted}.".startswith(SOLUTIONS):
                return f"it takes {dotted} from the package"
            if dotted in finished(exercise.part):
                return f"{dotted} is the finished function of the package"
        if used := sorted((one.uses | one.binds) & notebook.solutions - _own(notebook)):
            return f"it calls the folded solution {used[0]}"
    return ""


def _own(notebook: Notebook) -> set[str]:
    return {name for one in notebook.statements if one.own for name in one.binds}


def aliases_of(statements: Iterable[Statement], packages: Sequence[str] = ("wm_tutorial",)) -> dict[str, str]:
    """Names that stand for modules or functions of the package, or of others, in full."""
    aliases = {}
    for one in statements:
        for node in ast.walk(one.node):
            match node:
                case ast.Import(names=names):
                    for alias in names:
                        if (package := alias.name.partition(".")[0]) in packages:
                            aliases[alias.asname or package] = alias.name if alias.asname else package
                case ast.ImportFrom(module=str(module), names=names) if module.partition(".")[0] in packages:
                    for alias in names:
                        aliases[alias.asname or alias.name] = f"{module}.{alias.name}"
    return aliases


def _dotted(node: ast.AST, aliases: dict[str, str]) -> Iterator[str]:
    """What of the package is named in a statement, imports included."""
    for inside in ast.walk(node):
        match inside:
            case ast.Name(id=name) | ast.alias(name=name, asname=None) | ast.alias(asname=str(name)) if name in aliases:
                yield aliases[name]
            case ast.Attribute() if full := _full(inside, aliases):
                yield full


def _full(node: ast.AST, aliases: dict[str, str]) -> str:
    """The full name of `kl.gaussian_kl`, if `kl` stands for something of the package."""
    words = []
    while isinstance(node, ast.Attribute):
        words.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name) and node.id in aliases:
        return ".".join([aliases[node.id], *reversed(words)])
    return ""


def flags(notebook: Notebook, brought: Sequence[str]) -> list[str]:
    """What a teacher may want to ask about: none of it has changed a point."""
    found = [f"brought along, and not used: {', '.join(brought)}"] if brought else []
    aliases, others = aliases_of(notebook.statements), aliases_of(notebook.statements, LIBRARIES)
    for one in notebook.statements:
        if one.own:
            changed = [*_patched(one.node, aliases), *filter(_is_function, _patched(one.node, others))]
            found += [f"{one.file}: it changes {what}" for what in dict.fromkeys(changed)]
    for place, cell in notebook.cells:
        text = text_of(cell)
        by_hand = any("print(" in line.partition(TOLD)[0] for line in text.split("\n") if TOLD in line)
        gone = tagged(cell, "check") and "print(" in text and not re.search(r"\bcheck\.\w+\(", text)
        if by_hand or gone:
            found.append(f"{name_of(place)}: what the check would say is printed without it")
    return list(dict.fromkeys(found))


def _patched(node: ast.AST, aliases: dict[str, str]) -> Iterator[str]:
    for inside in ast.walk(node):
        targets: list[ast.expr] = []
        match inside:
            case ast.Assign(targets=targets) | ast.Delete(targets=targets):
                pass
            case ast.AugAssign() | ast.AnnAssign():
                targets = [inside.target]
            case ast.Call(func=ast.Name(id="setattr"), args=[changed, name, *_]):
                if (full := _full(changed, aliases)) or (full := _module(changed)):
                    yield f"{full}.{name.value!s}" if isinstance(name, ast.Constant) else full
            case ast.FunctionDef(name="check") | ast.ClassDef(name="check"):
                yield "the name check"
        for target in targets:
            if isinstance(target, ast.Name) and target.id == "check":
                yield "the name check"
            elif isinstance(target, ast.Attribute) and (full := _full(target, aliases)):
                yield full
            elif isinstance(target, ast.Subscript) and ast.unparse(target.value) == "sys.modules":
                yield ast.unparse(target)


def _is_function(dotted: str) -> bool:
    """Whether this is a function or class of a library, as torch.allclose, and no setting of it."""
    if dotted.partition(".")[0] not in LIBRARIES:
        return False
    try:
        found = importlib.import_module(dotted.partition(".")[0])
        for word in dotted.split(".")[1:]:
            found = getattr(found, word)
    except AttributeError:
        return False
    return callable(found)


def _module(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if "wm_tutorial" in text else ""
