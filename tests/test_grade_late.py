"""Eight notebooks of two late chapters, written without a look at the solutions: four right ones, four with mistakes.

The mistakes were made up first, as students make them, and looked up afterwards: all thirteen have a name in the
course. None of the right functions may lose its point.
"""

import json

import pytest
from classroom import CHAPTERS, code, written

from wm_tutorial.grade import run
from wm_tutorial.grade.judge import Graded, Verdict

LIKE_A_HISTOGRAM = {  # chapter 11: sums and loops in double precision, numpy, and a helper in a cell of its own
    "11.1": """
def f(x, bins):
    distance = (x[:, None] - bins).abs()
    gaps = bins.diff()
    left = torch.cat([gaps[:1], gaps])
    right = torch.cat([gaps, gaps[-1:]])
    x = torch.minimum(torch.maximum(x, bins[0]), bins[-1])
    below, above = (bins - x[:, None]), (x[:, None] - bins)
    hat = torch.where(above >= 0, 1 - above / right, 1 - below / left)
    return hat.clamp(min=0)
""",
    "11.2": "def f(probabilities, bins):\n    return (probabilities.double() @ bins.double()).to(probabilities.dtype)",
    "11.3": """
def f(logits, x, bins):
    with torch.enable_grad():
        free = logits.detach().clone().requires_grad_(True)
        loss = -(my_two_hot(x, bins) * free.log_softmax(-1)).sum()
        loss.backward()
    return free.grad
""",
    "11.4": """
def f(range_, returns, decay):
    heap = np.quantile(returns.detach().double().numpy().ravel(), [0.05, 0.95])
    return torch.as_tensor(decay * range_.double().numpy() + (1 - decay) * heap).to(range_)
""",
    "11.5": """
def f(returns, value, range_, floor):
    width = range_[1] - range_[0]
    return (returns - value) / (width if width > floor else floor)
""",
}
BY_HAND = {  # chapter 11: number by number
    "11.1": """
def f(x, bins):
    rows = []
    for number in x.tolist():
        row = [0.0] * len(bins)
        edges = bins.tolist()
        if number <= edges[0]:
            row[0] = 1.0
        elif number >= edges[-1]:
            row[-1] = 1.0
        else:
            k = max(i for i in range(len(edges)) if edges[i] <= number)
            row[k + 1] = (number - edges[k]) / (edges[k + 1] - edges[k])
            row[k] = 1 - row[k + 1]
        rows.append(row)
    return torch.tensor(rows, dtype=x.dtype)
""",
    "11.2": "my_two_hot_mean = lambda p, b: sum(p[:, k] * b[k] for k in range(len(b)))",
    "11.3": "def f(logits, x, bins):\n    e = (logits - logits.amax(1, True)).exp()\n"
    "    return e / e.sum(1, keepdim=True) - my_two_hot(x, bins)",
    "11.4": """
def f(range_, returns, decay):
    values, _ = returns.detach().reshape(-1).sort()
    ends = []
    for share in (0.05, 0.95):
        place = share * (len(values) - 1)
        low = int(place)
        high = min(low + 1, len(values) - 1)
        ends.append(values[low] + (place - low) * (values[high] - values[low]))
    return range_ + (1 - decay) * (torch.stack(ends) - range_)
""",
    "11.5": """
def f(returns, value, range_, floor):
    return torch.stack([(r - v) / max(floor, (range_[1] - range_[0]).item()) for r, v in zip(returns, value)])
""",
}
AS_MATRICES = {  # chapter 13: unfold, a product with a matrix of copies, a probe by the normal equations
    "13.1": "def f(obs):\n    return torch.einsum('bhwc->bchw', (obs.double() * 2 - 255) / 510).float()",
    "13.2": """
def f(size, kernel, stride, padding):
    rows = torch.stack((size, kernel, stride, padding), 1).tolist()
    return torch.tensor([len(range(0, n + 2 * p - k + 1, s)) for n, k, s, p in rows])
""",
    "13.3": """
def f(x, weight, bias):
    b, c, h, w = x.shape
    big = torch.kron(x, torch.ones(2, 2, dtype=x.dtype))
    k = weight.shape[-1]
    patches = torch.nn.functional.unfold(big, k, padding=k // 2)
    return (weight.flatten(1) @ patches + bias[:, None]).reshape(b, -1, 2 * h, 2 * w)
""",
    "13.4": """
def f(mean, target):
    off = 255 * mean - target
    return torch.einsum("bhwc,bhwc->b", off, off) / 255**2
""",
    "13.5": """
def f(known, column, episode):
    x = np.concatenate([known.double().numpy(), np.ones((len(known), 1))], 1)
    even = (episode % 2 == 0).numpy()
    y = np.eye(int(column.max()) + 1)[column.numpy()]
    fit = np.linalg.pinv(x[even]) @ y[even]
    named = (x[~even] @ fit).argmax(1)
    return torch.tensor((named == column.numpy()[~even]).mean(), dtype=known.dtype)
""",
}
WITH_LAYERS = {  # chapter 13: torch's own layers, slices, permutations
    "13.1": "def f(obs):\n    x = obs.transpose(1, 3).transpose(2, 3)\n    return x.float() / 255 - 0.5",
    "13.2": """
def f(size, kernel, stride, padding):
    room = size + 2 * padding - kernel
    return torch.div(room - room % stride, stride, rounding_mode="trunc") + 1
""",
    "13.3": """
def f(x, weight, bias):
    layer = torch.nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2)
    larger = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (larger,))
""",
    "13.4": "def f(mean, target):\n    return torch.linalg.vector_norm(mean - target / 255, dim=(1, 2, 3)) ** 2",
    "13.5": """
def f(known, column, episode):
    def with_one(x):
        return torch.nn.functional.pad(x.double(), (0, 1), value=1.0)

    fit, judge = episode % 2 == 0, episode % 2 != 0
    wanted = torch.nn.functional.one_hot(column, int(column.max()) + 1).double()
    weights = torch.linalg.lstsq(with_one(known[fit]), wanted[fit], driver="gelsd").solution
    return (with_one(known[judge]).matmul(weights).max(1).indices == column[judge]).to(known.dtype).mean()
""",
}
WRONG: dict[str, dict[str, tuple[str, str]]] = {  # by exercise: the name of the mistake, and the function
    "eva": {
        "11.1": ("two_hot_nearest", """
def f(x, bins):
    return torch.eye(len(bins))[(x[:, None] - bins).abs().argmin(1)].to(x)
"""),
        "11.2": ("two_hot_mode", "def f(probabilities, bins):\n    return bins[probabilities.argmax(-1)]"),
        "11.4": ("range_max_min", """
def f(range_, returns, decay):
    returns = returns.detach()
    return decay * range_ + (1 - decay) * torch.stack((returns.min(), returns.max()))
"""),
        "11.5": ("floor_added", "def f(r, v, g, floor):\n    return (r - v) / (floor + g[1] - g[0])"),
    },
    "fritz": {
        "11.3": ("slope_reversed", "def f(logits, x, bins):\n    return my_two_hot(x, bins) - logits.softmax(-1)"),
        "11.4": ("decay_reversed", """
def f(range_, returns, decay):
    ends = torch.quantile(returns.detach().flatten(), torch.tensor([0.05, 0.95]).to(returns))
    return (1 - decay) * range_ + decay * ends
"""),
        "11.5": ("returns_alone_divided", "def f(r, v, g, floor):\n    return r / (g[1] - g[0]).clamp(min=floor) - v"),
    },
    "gina": {
        "13.1": ("planes_reshaped", """
def f(obs):
    return obs.reshape(len(obs), obs.shape[3], *obs.shape[1:3]).float() / 255 - 0.5
"""),
        "13.2": ("size_padded_once", "def f(n, k, s, p):\n    return (n + p - k) // s + 1"),
        "13.4": ("image_target_centred", """
def f(mean, target):
    return (mean - (target / 255 - 0.5)).square().sum((1, 2, 3))
"""),
    },
    "hugo": {
        "13.3": ("upsampled_by_tiling", """
def f(x, weight, bias):
    return torch.nn.functional.conv2d(x.repeat(1, 1, 2, 2), weight, bias, padding="same")
"""),
        "13.4": ("image_loss_mean_of_pixels", "def f(m, t):\n    return (m - t / 255).square().mean((1, 2, 3))"),
        "13.5": ("columns_fitted_everywhere", """
def f(known, column, episode):
    x = torch.cat([known, torch.ones(len(known), 1).to(known)], 1).double()
    y = torch.nn.functional.one_hot(column).double()
    weights = torch.linalg.lstsq(x, y, driver="gelsd").solution
    return ((x @ weights).argmax(1) == column).to(known).mean()
"""),
    },
}  # fmt: skip
RIGHT = {"ann": LIKE_A_HISTOGRAM, "ben": BY_HAND, "cleo": AS_MATRICES, "dirk": WITH_LAYERS}


def notebook(student: str) -> str:
    answers = RIGHT.get(student) or {number: source for number, (_, source) in WRONG[student].items()}
    chapter = next(iter(answers)).partition(".")[0]
    rest = LIKE_A_HISTOGRAM if chapter == "11" else AS_MATRICES
    made = written(chapter, rest | answers)
    made["cells"].insert(1, code("import numpy as np\nimport torch\n"))
    return json.dumps(made)


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Graded]:
    folder = tmp_path_factory.mktemp("late")
    for student in (*RIGHT, *WRONG):
        (folder / "in" / student).mkdir(parents=True)
        (folder / "in" / student / "homework.ipynb").write_text(notebook(student))
    (folder / "grade.toml").write_text("seed = 11\n[limits]\nseconds = 60\nwait = 600\n")
    found = run.grade(folder / "in", folder / "out", folder / "grade.toml", jobs=1)
    return {one.student: one for one in found if one.verdicts[0].state != "missing"}


def told(verdicts: list[Verdict]) -> str:
    return "\n".join(f"{one.number} {one.state} {one.mistake}: {one.words} {one.mark}" for one in verdicts)


@pytest.mark.parametrize("student", RIGHT)
def test_a_right_function_of_a_late_chapter_has_its_point_however_it_is_written(
    student: str, graded: dict[str, Graded]
) -> None:
    verdicts = graded[student].verdicts
    assert {one.state for one in verdicts} == {"right"}, told(verdicts)
    assert len(verdicts) == len(CHAPTERS[verdicts[0].number[:2]].exercises)
    assert not graded[student].flags


@pytest.mark.parametrize("student", WRONG)
def test_a_mistake_of_a_late_chapter_costs_its_own_exercise_and_has_the_right_name(
    student: str, graded: dict[str, Graded]
) -> None:
    made = WRONG[student]
    verdicts = graded[student].verdicts
    assert {one.number for one in verdicts if one.state != "right"} == set(made), told(verdicts)
    assert {one.number: one.mistake for one in verdicts if one.number in made} == {
        number: name for number, (name, _) in made.items()
    }, told(verdicts)
