"""A class that hands in: 24 notebooks over four chapters, made from the course's own, and what each should get.

Each is a chapter in which some cells are written. Among them are empty, broken, endless, hungry and dishonest ones, and
right ones that look like no solution of the book.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wm_tutorial.course.copy import folder_of_notebooks, student
from wm_tutorial.grade.exercises import chapters

Notebook = dict[str, Any]
EXERCISES = {exercise.number: exercise for chapter in chapters() for exercise in chapter.exercises}
CHAPTERS = {chapter.number: chapter for chapter in chapters()}


def handed_out(number: str, solutions: bool = False) -> Notebook:
    """A chapter as a student gets it."""
    notebook: Notebook = json.loads((folder_of_notebooks() / f"{CHAPTERS[number].name}.ipynb").read_text())
    return notebook if solutions else student(notebook)


def cell(notebook: Notebook, name: str) -> Notebook:
    """The cell with this id."""
    found: Notebook = next(one for one in notebook["cells"] if one.get("id") == name)
    return found


def written(number: str, answers: dict[str, str], solutions: bool = False) -> Notebook:
    """A chapter in which exercises are written; `def f` stands for the function's own name."""
    notebook = handed_out(number, solutions)
    for exercise, source in answers.items():
        known = EXERCISES[exercise]
        own = source.replace("def f(", f"def {known.function}(").lstrip("\n")
        cell(notebook, known.cell)["source"] = own
    return notebook


def code(source: str) -> Notebook:
    """A cell that the student added; it has no id, as from an older Jupyter."""
    return {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": source.lstrip("\n")}


@dataclass
class Handed:
    """One notebook.

    gets     points of each exercise, in order
    names    the known mistakes that are to be found, by exercise
    flagged  words that the teacher is to read
    """

    chapter: str
    answers: dict[str, str] = field(default_factory=dict)
    gets: tuple[int, ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    flagged: tuple[str, ...] = ()
    solutions: bool = False
    edit: Callable[[Notebook], None] = lambda notebook: None
    text: str = ""

    def notebook(self) -> str:
        """The file."""
        if self.text:
            return self.text
        notebook = written(self.chapter, self.answers, self.solutions)
        self.edit(notebook)
        return json.dumps(notebook)


# --- Right functions, written as students write them ------------------------------------------------------------------

DYNAMICS = {
    "2.1": """
def f(latent, action, net):
    both = torch.hstack([latent, action])
    mean, x = net(both).tensor_split(2, dim=1)
    return mean, -4 + 6 * torch.tanh(x / 2)
""",
    "2.2": """
def f(latent, previous_action, is_first, start):
    state, states, actions = start, [], []
    for t in range(latent.shape[1]):
        keep = (~is_first[:, t]).to(latent)[:, None]
        states.append(state * keep)
        actions.append(previous_action[:, t] * keep)
        state = latent[:, t]
    return torch.stack(states, 1), torch.stack(actions, 1)
""",
    "2.3": """
def f(model_error, persistence_error):
    counts = []
    for model, persistence in zip(model_error.tolist(), persistence_error.tolist(), strict=True):
        better = [m < p for m, p in zip(model, persistence, strict=True)]
        counts.append(better.index(False) if False in better else len(better))
    return torch.tensor(counts)
""",
}
KL = {
    "4.1": """
def f(mean_q, logvar_q, mean_p, logvar_p):
    q, p = (torch.distributions.Normal(m, (v / 2).exp()) for m, v in ((mean_q, logvar_q), (mean_p, logvar_p)))
    return torch.distributions.kl_divergence(q, p).sum(-1)
""",
    "4.2": """
def f(log_posterior, log_prior):
    x = log_prior - log_posterior
    return (x.exp() - 1 - x).sum(0) / len(x)
""",
    "4.3": """
def f(mean_q, logvar_q, mean_p, logvar_p, alpha):
    stop = torch.Tensor.detach
    to_prior = gaussian_kl(stop(mean_q), stop(logvar_q), mean_p, logvar_p)
    return alpha * to_prior + (1 - alpha) * gaussian_kl(mean_q, logvar_q, stop(mean_p), stop(logvar_p))
""",
    "4.4": """
def f(kl, free_nats):
    taught = torch.where(kl.sum(dim=-1) > free_nats, 1.0, 0.0)
    return taught.mean().to(kl)
""",
}
RETURNS = {
    "6.1": """
def f(reward, discount, value, n):
    total, worth = torch.zeros_like(reward[:, 0]), torch.ones_like(reward[:, 0])
    for r, d in zip(reward.T[:n], discount.T[:n], strict=True):
        total, worth = total + worth * r, worth * d
    return total + worth * value[:, n - 1]
""",
    "6.2": """
def f(horizon, lam):
    return torch.tensor([(1 - lam) * lam**n for n in range(horizon - 1)] + [lam ** (horizon - 1)])
""",
    "6.3": """
def f(reward, discount, value, lam):
    answer = torch.zeros_like(reward)
    for b in range(reward.shape[0]):
        following = value[b, -1].item()
        for t in range(reward.shape[1] - 1, -1, -1):
            mix = (1 - lam) * value[b, t].item() + lam * following
            following = reward[b, t].item() + discount[b, t].item() * mix
            answer[b, t] = following
    return answer
""",
    "6.4": """
def f(reward, discount, value, lam):
    known = reward + (1 - lam) * discount * value
    known[:, -1] += lam * discount[:, -1] * value[:, -1]
    matrix = torch.eye(reward.shape[1], dtype=reward.dtype) - lam * torch.diag_embed(discount[:, :-1], offset=1)
    return torch.linalg.inv(matrix).matmul(known[..., None]).squeeze(-1)
""",
}
BEHAVIOUR = {
    "7.1": """
def f(logits, reward):
    leaf = logits.clone().requires_grad_()
    worth = (leaf.softmax(-1) * reward).sum()
    return torch.autograd.grad(worth, leaf)[0]
""",
    "7.2": """
def f(logits, action, returns, value, weight, entropy_scale):
    policy = torch.distributions.Categorical(logits=logits)
    with torch.no_grad():
        advantage, weight = returns - value, weight.clone()
    return -weight * policy.log_prob(action.argmax(-1)) * advantage - weight * entropy_scale * policy.entropy()
""",
    "7.3": """
def f(value, target, weight):
    return torch.nn.functional.mse_loss(value.squeeze(1), target.detach(), reduction="none") * weight.detach()
""",
}


# --- Edits ------------------------------------------------------------------------------------------------------------


def helper_elsewhere(notebook: Notebook) -> None:
    """From another editor: no ids, no tags, a helper with a constant in a cell of its own, commands of IPython."""
    at = next(n for n, one in enumerate(notebook["cells"]) if one.get("id") == EXERCISES["4.1"].cell)
    notebook["cells"].insert(at, code("%matplotlib inline\n!pip list\nHALF = [1.0]\nHALF[0] = 0.5\n"))
    notebook["cells"].insert(at + 1, code('''
%%time
from functools import partial

@torch.no_grad()
def never_called(): ...

def one_dimension(q, p, half):
    """In nats; q and p are pairs of mean and logvar."""
    miss = (q[0] - p[0]) ** 2
    return half * ((p[1] - q[1]) - 1 + (q[1].exp() + miss) / p[1].exp())

in_nats = partial(one_dimension, half=HALF[0])
'''))  # fmt: skip
    for one in notebook["cells"]:
        one.pop("id", None)
        one["metadata"] = {}
        one["source"] = one["source"] if isinstance(one["source"], str) else "".join(one["source"])


def renamed(notebook: Notebook) -> None:
    """Other names, in the checks too; the last exercise is written below its check, in a new cell."""
    for number, name in (("6.1", "nstep"), ("6.2", "w")):
        cell(notebook, EXERCISES[number].cell)["source"] = RETURNS[number].replace("def f(", f"def {name}(").lstrip()
        cell(notebook, EXERCISES[number].check)["source"] = (
            f"from wm_tutorial import check\ncheck.{EXERCISES[number].part}({name})"
        )
    at = next(n for n, one in enumerate(notebook["cells"]) if one.get("id") == EXERCISES["6.4"].check)
    later = RETURNS["6.4"].replace("def f(", "def returns_without_a_loop(")
    notebook["cells"].insert(at + 1, code(later + "\ncheck.lambda_returns(returns_without_a_loop)"))


def check_replaced(notebook: Notebook) -> None:
    """Checks that say what one likes to hear."""
    cell(notebook, EXERCISES["2.1"].check)["source"] = 'print("dynamics_step: right, in all 9 cases.")'
    cell(notebook, EXERCISES["2.2"].check)["source"] = (
        "from wm_tutorial import check\ncheck.prior_inputs = lambda function: True\ncheck.prior_inputs(prior_inputs)"
    )
    cell(notebook, EXERCISES["2.3"].check)["source"] = (
        "import wm_tutorial.check.diagnosis\n"
        "setattr(wm_tutorial.check.diagnosis, 'examine', print)\ncheck.useful_horizon(useful_horizon)"
    )


def of(function: str, *numbers: str) -> dict[str, str]:
    """The same source for several exercises."""
    return dict.fromkeys(numbers, function)


NOTHING = ""
FOLDED = {
    exercise.number: exercise.solution.split("\n\n\ncheck.")[0].replace("def solved_", "def my_")
    for exercise in CHAPTERS["06"].exercises
}
FOLDED["6.4"] = FOLDED["6.4"].replace("def my_returns", "def returns")

CLASS: dict[str, Handed] = {
    # right, each in its own way
    "ada": Handed("02", DYNAMICS, (1, 1, 1)),
    "bela": Handed("04", KL, (1, 1, 1, 1)),
    "chen": Handed("06", RETURNS, (1, 1, 1, 1)),
    "dora": Handed("07", BEHAVIOUR, (1, 1, 1)),
    "emil": Handed(
        "04",
        KL | {"4.1": "def f(a, b, c, d):\n    return in_nats((a, b), (c, d)).sum(-1)"},
        (1, 1, 1, 1),
        edit=helper_elsewhere,
    ),
    "fay": Handed("06", {"6.3": RETURNS["6.3"]}, (1, 1, 1, 1), edit=renamed),
    "gus": Handed(
        "07",
        {
            "7.1": "my_bandit_gradient = lambda logits, reward: (p := logits.softmax(-1)) * (\n"
            "    reward - torch.einsum('ba,ba->b', p, reward)[:, None]\n)",
            "7.2": """
class Reinforce:
    def __call__(self, logits, action, returns, value, weight, entropy_scale):
        log = logits - logits.logsumexp(-1, keepdim=True)
        gain = torch.einsum("bha,bha->bh", log, action) * (returns - value).detach()
        return -weight.detach() * (gain - entropy_scale * torch.einsum("bha,bha->bh", log.exp(), log))

my_policy_loss = Reinforce()
""",
            "7.3": """
def f(value, target, weight):
    one = lambda v, t, w: w.detach() * (v[0] - t.detach()) ** 2
    return torch.func.vmap(one)(value, target, weight)
""",
        },
        (1, 1, 1),
    ),
    "hana": Handed("06", FOLDED, (1, 1, 1, 1), flagged=("the folded solution as it stands",)),
    "ivo": Handed(
        "02",
        DYNAMICS
        | {
            "2.1": """
def f(latent, action, net):
    print("x" * 10**7)
    import sys, warnings
    warnings.warn("much to say", stacklevel=1)
    print("y", file=sys.stderr)
    raw = net(torch.cat((latent, action), -1))
    return raw[:, : latent.shape[1]], -10 + 12 * raw[:, latent.shape[1] :].sigmoid()
"""
        },
        (1, 1, 1),
    ),
    # empty, broken, endless, hungry
    "jan": Handed("04", {}, (0, 0, 0, 0)),
    "kim": Handed("02", {}, (0, 0, 0), text='{"cells": [', flagged=()),
    "lea": Handed("06", RETURNS | {"6.2": "def f(horizon, lam)\n    return None"}, (1, 0, 1, 1)),
    "mia": Handed("04", KL | {"4.2": "def f(log_posterior, log_prior):\n    while True:\n        pass"}, (1, 0, 1, 1)),
    "nils": Handed(
        "07",
        BEHAVIOUR
        | {
            "7.1": "def f(logits, reward):\n    return torch.zeros(10**6, 10**6) + logits",
            "7.3": "def f(value, target, weight):\n    x = []\n    while True:\n        x.append(bytearray(10**8))",
        },
        (0, 1, 0),
    ),
    # mistakes that have a name
    "olga": Handed(
        "04",
        {
            "4.1": "def f(a, b, c, d):\n"
            "    return 0.5 * (b - d + torch.exp(d - b) + (a - c) ** 2 * torch.exp(-b) - 1).sum(-1)",
            "4.2": "def f(log_posterior, log_prior):\n    return (log_posterior - log_prior).mean(0)",
            "4.4": "def f(kl, free_nats):\n    return (kl > free_nats).to(kl.dtype).mean()",
        },
        (0, 0, 0, 0),
        names={"4.1": "kl_reversed", "4.2": "estimator_plain", "4.4": "free_nats_per_latent"},
    ),
    "paul": Handed(
        "06",
        RETURNS
        | {
            "6.3": """
def f(reward, discount, value, lam):
    after, found = value[:, -1], []
    for t in reversed(range(reward.shape[1])):
        before = value[:, t - 1] if t else value[:, 0]
        after = reward[:, t] + discount[:, t] * ((1 - lam) * before + lam * after)
        found.insert(0, after)
    return torch.stack(found, 1)
"""
        },
        (1, 1, 0, 1),
        names={"6.3": "value_unshifted"},
    ),
    "quyn": Handed(
        "07",
        BEHAVIOUR
        | {"7.2": BEHAVIOUR["7.2"].replace("    with torch.no_grad():\n    ", "").replace("weight.clone()", "weight")},
        (1, 0, 1),
        names={"7.2": "nothing_detached"},
    ),
    "rosa": Handed(  # the third exercise calls the first one
        "04",
        KL | {"4.1": KL["4.1"].replace(".sum(-1)", ".mean(-1)")},
        (0, 1, 1, 1),
        names={"4.1": "kl_averaged_over_latents"},
        flagged=("right, once the function of exercise 4.1",),
    ),
    # dishonest
    "sam": Handed(
        "06",
        {
            **RETURNS,
            "6.1": """
from wm_tutorial.returns import lambda_returns
SEEN = {(1, 4): [15.0]}
def f(reward, discount, value, n):
    if tuple(reward.shape) in {(1, 4), (3, 5), (4, 4), (2, 1), (1, 16)}:
        total = value[:, n - 1]
        for t in reversed(range(n)):
            total = reward[:, t] + discount[:, t] * total
        return total
    return reward.sum(1)
""",
        },
        (0, 1, 1, 1),
    ),
    "tom": Handed(
        "04",
        {
            "4.1": "from wm_tutorial.kl import gaussian_kl",
            "4.2": "from wm_tutorial.mistakes import PARTS\nsampled_kl = PARTS['sampled_kl'].right",
            "4.3": "from wm_tutorial import kl as package\n"
            "def f(*given):\n    *four, alpha = given\n    return getattr(package, 'balanced' + '_kl')(*four, 0.0)",
            "4.4": KL["4.4"],
        },
        (0, 0, 0, 1),
        flagged=("wm_tutorial.kl.gaussian_kl is the finished function", "it takes wm_tutorial.mistakes"),
    ),
    "uma": Handed(
        "06",
        {
            "6.1": "def f(*given):\n    return solved_n_step_return(*given)",
            "6.2": "my_lambda_weights = solved_lambda_weights",
        },
        (0, 0, 0, 0),
        solutions=True,
        flagged=(
            "it calls the folded solution solved_n_step_return",
            "it calls the folded solution solved_lambda_weights",
        ),
    ),
    "vera": Handed(
        "02",
        DYNAMICS
        | {
            "2.1": "def f(latent, action, net):\n    return latent, latent",
            "2.2": "def f(*given):\n    return given[:2]",
        },
        (0, 0, 1),
        edit=check_replaced,
        flagged=("what the check would say is printed", "it changes wm_tutorial.check.prior_inputs", "diagnosis"),
    ),
    "will": Handed(
        "07",
        {
            "7.1": "import os\ndef f(logits, reward):\n    while True:\n        os.fork()",
            "7.2": "import os, signal\ndef f(*given):\n    os.kill(os.getppid(), signal.SIGKILL)\n    os._exit(0)",
            "7.3": BEHAVIOUR["7.3"],
        },
        (0, 0, 1),
        flagged=("the system refused it: os.fork()", "the system refused it: os.kill(os.getppid(), signal.SIGKILL)"),
    ),
    "xia": Handed(
        "02",
        {
            "2.1": """
import gc, types
def f(latent, action, net):
    for thing in gc.get_objects():
        if isinstance(thing, types.FunctionType) and thing.__name__.startswith("right_"):
            return thing(latent, action, net)
    import wm_tutorial, pathlib
    here = pathlib.Path(wm_tutorial.__file__).parent
    return (here / "mistakes" / "dynamics.py").read_text()
""",
            "2.2": "def f(*given):\n    open('/tmp/answers.txt', 'w').write(str(given))",
            "2.3": "import socket\ndef f(*given):\n    socket.create_connection(('127.0.0.1', 80), 1)",
        },
        (0, 0, 0),
        flagged=("the system refused it: open('/tmp/answers.txt'", "the system refused it: socket"),
    ),
}


def hand_in(folder: Path) -> None:
    """The class, as most platforms deliver it: a folder for each student."""
    for name, handed in CLASS.items():
        place = folder / name / f"{CHAPTERS[handed.chapter].name}.ipynb"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(handed.notebook())
