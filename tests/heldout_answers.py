"""Held-out answers: does a check blame somebody who is right, and does it name the mistake of somebody who is not?

    python tests/heldout_answers.py           what the checks say of them today
    python tests/heldout_answers.py --first   keep that as the first try

The answers stand in tests/heldout/answers.json: 180 right ones and 162 wrong ones, to 81 exercises. Who wrote them had
the students' edition of the chapters and neither checks nor tests, known mistakes or solutions; they were frozen before
any check had seen them. Each wrong one comes with what is wrong with it. A name that a check gave was compared with
that by reading, and fitted in each case; "unfit" in the outcome would hold the numbers of those that do not.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wm_tutorial.check.diagnosis import judge, problem_of
from wm_tutorial.grade.hidden import hidden_parts
from wm_tutorial.mistakes import PARTS

FOLDER = Path(__file__).parent / "heldout"
FIRST = FOLDER / "answers_first_try.json"
HEAD = "import itertools, math\nimport numpy as np\nimport torch\nfrom torch.nn import functional as F\n"
DRAWS = 3  # hidden variants of each exercise, as the grader has them
NAME = re.compile(r"Known mistake (\w+):")


def answers() -> dict[str, list[dict[str, str]]]:
    """ "right" and "wrong" -> answers: their part, source and, of a wrong one, what is wrong."""
    told: dict[str, list[dict[str, str]]] = json.loads((FOLDER / "answers.json").read_text(encoding="utf-8"))
    return told


def function_of(source: str) -> Callable[..., Any]:
    """The function `f` of the source of an answer."""
    space: dict[str, Any] = {}
    exec(HEAD + source, space)
    function: Callable[..., Any] = space["f"]
    return function


def said(answer: dict[str, str]) -> str:
    """What the check says; nothing if it finds the answer right."""
    return judge(PARTS[answer["part"]], function_of(answer["source"]))


def loses_points(answer: dict[str, str]) -> bool:
    """Whether the grader takes the exercise's points away: the check refuses, or two hidden variants do."""
    hidden = [hidden_parts(8, draw)[answer["part"]] for draw in range(DRAWS)]
    return bool(said(answer)) or sum(bool(problem_of(part, function_of(answer["source"]))) for part in hidden) > 1


def tried() -> dict[str, Any]:
    """The right ones that are refused, by their number, and for every wrong one its name, "" or "let through"."""
    every = answers()
    refused = {
        str(number): said(answer) or "by hidden variants"
        for number, answer in enumerate(every["right"])
        if loses_points(answer)
    }
    names = []
    for answer in every["wrong"]:
        words = said(answer)
        found = NAME.search(words)
        names.append("let through" if not words else found[1] if found else "")
    return {"refused": refused, "names": names, "unfit": []}


def line(outcome: dict[str, Any]) -> str:
    """The outcome in one line."""
    names, right = outcome["names"], len(answers()["right"])
    named = [n for n, name in enumerate(names) if name not in ("", "let through") and n not in outcome["unfit"]]
    return (
        f"held-out answers: {len(outcome['refused'])} of {right} right ones refused, "
        f"{len(names) - names.count('let through')} of {len(names)} wrong ones found, {len(named)} of them by name"
    )


if __name__ == "__main__":
    outcome = tried()
    print(line(outcome))
    if "--first" in sys.argv:
        FIRST.write_text(json.dumps(outcome, indent=1) + "\n", encoding="utf-8")
