"""A chapter in small, with everything a chapter has, for tests of the tools and of the rules."""

from navigate import with_links
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

NAME = "07_sample"
LISTED = {NAME: "# 07 · Sample: squeezing numbers"}  # of all chapters in its folder

HEAD = """\
# 07 · Sample: squeezing numbers

What you will be able to do:

- squeeze large numbers
- stretch them again
- add up what is discounted

20 minutes of study · 5 seconds of compute on two CPU cores · builds on chapter 00 · ends in `wm_tutorial/transforms.py`
"""
BEGIN = 'from wm_tutorial.course import notebook\n\nnotebook.begin("0.2.0")'
FIGURE = """\
import math

with notebook.figure(height=2.0) as (figure, axes):
    axes.plot([math.log1p(x) for x in range(SIZE)])
notebook.show(
    figure,
    caption="It grows ever more slowly.",
    alt="A logarithm against 0 to 9, from 0 at 0 to 2.3 at 9.",
)
"""
PREDICT = "**Predict, then run.** Which one is larger? See [the room](../wm_tutorial/transforms.py)."
OPENED = "<details><summary>What happened</summary>\n\nIt is the first.\n\n</details>"
QUIZ = """\
from wm_tutorial.course.quiz import Question, quiz

quiz(
    Question("Is 1 less than 2?", right={"yes": "By one."}, wrong={"no": "Not so."}),
    Question("Is 2 less than 3?", right={"yes": "By one."}, wrong={"no": "Not so."}),
    Question("Is 3 less than 4?", right={"yes": "By one."}, wrong={"no": "Not so."}),
    Question("Is 4 less than 5?", right={"yes": "By one."}, wrong={"no": "Not so."}),
    Question("Is 5 less than 6?", right={"yes": "By one."}, wrong={"no": "Not so."}),
)
"""
LAST = "## What you built\n\nA chapter.\n\n## What it still cannot do\n\nMuch.\n\n## References"
COMPARE = """\
def halved(x):
    return x / STEPS[1]


print(halved(3.0))
"""
HELD = "# What the text says of this, held to\nassert halved(3.0) == 1.5 and SIZE == 10"
SYMLOG = '''\
import torch


def my_symlog(x):
    """Squeeze x, of any shape, on both sides of zero."""
    # a comment that says how
    squeezed_size = torch.log1p(x.abs())
    return torch.sign(x) * squeezed_size
'''
SYMEXP = '''\
@torch.no_grad()
def nothing():
    """Do nothing: (H,) to None."""
    return torch.zeros(1).mul(2.0)


def my_symexp(
    x,  # any shape
):
    """Stretch x.

    The inverse of my_symlog.
    """
    size = torch.expm1(x.abs())

    return torch.sign(x) * size
'''
RETURNS = '''\
def lambda_returns(reward, discount, value, lam):
    """Returns R_0..R_{H-1} of (B, H) arrays."""
    later, returns = value[:, -1], []
    for t in reversed(range(reward.shape[1])):
        mixed_future = (1 - lam) * value[:, t] + lam * later
        later = reward[:, t] + discount[:, t] * mixed_future
        returns.insert(0, later)
    return torch.stack(returns, dim=1)
'''


def task(number: int, name: str) -> NotebookNode:
    """What an exercise asks for."""
    return new_markdown_cell(
        f"### Exercise 7.{number}: {name}\n\n★★☆ · 5 minutes\n\nWrite it.\n\n```python\ndef {name}(x): ...\n```\n\n"
        "<details><summary>Hint 1</summary>\n\nThink.\n\n</details>\n\n"
        "<details><summary>Hint 2</summary>\n\nThink of `log1p`.\n\n</details>"
    )


def exercise(number: int, name: str, solution: str, check: str) -> list[NotebookNode]:
    """The four cells of an exercise."""
    hidden = {"tags": ["solution", "hide-cell", "nbval-check-output"], "jupyter": {"source_hidden": True}}
    solved = f"solved_{name.removeprefix('my_')}"
    ask = f"check.{check}({name})"
    stub = f'def {name}(*given):\n    """Of a number."""\n    raise NotImplementedError("Exercise 7.{number}")'
    return [
        task(number, name),
        new_code_cell(stub, metadata={"tags": ["exercise"]}),
        new_code_cell(f"from wm_tutorial import check\n\n{ask}", metadata={"tags": ["check", "nbval-check-output"]}),
        new_code_cell(f"{solution.replace(name, solved)}\n\ncheck.{check}({solved})", metadata=hidden),
    ]


def sample() -> NotebookNode:
    """The chapter, not yet executed; what an editor leaves behind is in its metadata."""
    closed = {"jupyter": {"outputs_hidden": True}}
    folded = {"tags": ["hide-input"], "jupyter": {"source_hidden": True}}
    checks = {"tags": ["hide-cell"], "jupyter": {"source_hidden": True}}
    cells = [
        new_markdown_cell(HEAD),
        new_code_cell(BEGIN, metadata={"lines_to_next_cell": 2}),
        new_markdown_cell("words of prose " * 500 + "\n\n```python\nnot prose\n```\n\n$$x^2$$"),
        new_code_cell("SIZE, STEPS = 10, [1, 2]"),
        new_code_cell(FIGURE.strip()),
        new_markdown_cell(PREDICT),
        new_code_cell(FIGURE.strip().replace("log1p", "sqrt"), metadata={"tags": ["hide-output"], **closed}),
        new_markdown_cell(f"{OPENED}\n\n{PREDICT}"),
        new_code_cell(COMPARE.strip(), metadata={"tags": ["nbval-check-output", "hide-output"], **closed}),
        new_code_cell(HELD, metadata=checks),
        new_markdown_cell(OPENED.replace("first", "second")),
        *exercise(1, "my_symlog", SYMLOG, "symlog"),
        *exercise(2, "my_symexp", SYMEXP, "symexp"),
        *exercise(3, "lambda_returns", RETURNS, "lambda_returns"),
        new_markdown_cell("## Quiz"),
        new_code_cell(QUIZ.strip(), metadata=folded),
        new_markdown_cell(with_links(LAST, NAME, LISTED)),
    ]
    return new_notebook(cells=cells, metadata={"language_info": {"name": "python", "version": "3.11.0"}})
