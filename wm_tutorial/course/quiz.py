"""Questions at the end of a chapter, answered in the page: each answer opens, and says why it is right or wrong.

from wm_tutorial.course.quiz import Question, quiz

quiz(
    Question(
        "Whose value enters the lambda return R_t?",
        right={"v of the state arrived in": "It stands for what comes after that state."},
        wrong={"v of the state left": "That one is what R_t is a better guess of."},
    ),
)

Nothing but HTML that every page can show, without a script and without a network: in JupyterLab, in the book and in an
exported file. Answers stand in the order of the alphabet, so their place says nothing.
"""

import html
from collections.abc import Mapping
from dataclasses import dataclass

from wm_tutorial.course.notebook import Shown, with_subscripts
from wm_tutorial.errors import InputError

STYLE = (
    "<style>.wm-quiz details{border:1px solid #8886;border-radius:6px;margin:.35em 0;padding:.3em .8em}"
    ".wm-quiz summary{cursor:pointer}.wm-quiz .said{margin:.4em 0 .2em 1.1em}"
    ".wm-quiz>p{margin:1.6em 0 .5em}.wm-quiz>p:first-child{margin-top:.2em}</style>"
)


@dataclass(frozen=True)
class Question:
    """A question with its answers. `code` in backticks is set as code, and v_t or v_{t+1} with a small t.

    asked  the question
    right  the right answer, and why it is: one of them
    wrong  the others, each with what it overlooks
    """

    asked: str
    right: Mapping[str, str]
    wrong: Mapping[str, str]

    def __post_init__(self) -> None:
        everything = [self.asked, *self.right, *self.right.values(), *self.wrong, *self.wrong.values()]
        if len(self.right) != 1 or not self.wrong or not all(text.strip() for text in everything):
            raise InputError(
                f"{self.asked!r} has {len(self.right)} right and {len(self.wrong)} wrong answers; give one right one "
                "and at least one wrong one, each with what is said about it."
            )
        if both := set(self.right) & set(self.wrong):
            raise InputError(f"{self.asked!r} has the answer {both.pop()!r} as a right one and as a wrong one.")


def quiz(*questions: Question) -> Shown:
    """The questions of a chapter, as the last expression of a cell.

    Raises:
        InputError: if there are none.
    """
    if not questions:
        raise InputError("A quiz has no questions; give at least one Question(...).")
    asked = "".join(_html(number, question) for number, question in enumerate(questions, 1))
    told = "\n".join(f"{number}. {_plain(question)}" for number, question in enumerate(questions, 1))
    return Shown(f'{STYLE}<div class="wm-quiz">{asked}</div>', told)


def _html(number: int, question: Question) -> str:
    answers = "".join(
        f"<details><summary>{_text(answer)}</summary>"
        f'<div class="said"><strong>{"Right." if answer in question.right else "No."}</strong> {_text(said)}</div>'
        "</details>"
        for answer, said in _answers(question)
    )
    return f"<p><strong>{number}.</strong> {_text(question.asked)}</p>{answers}"


def _plain(question: Question) -> str:
    return "\n".join([question.asked, *(f"   - {answer}" for answer, _ in _answers(question))])


def _answers(question: Question) -> list[tuple[str, str]]:
    return sorted({**question.right, **question.wrong}.items())


def _text(text: str) -> str:
    pieces = html.escape(text).split("`")  # every other one stands between backticks
    return "".join(f"<code>{piece}</code>" if n % 2 else with_subscripts(piece) for n, piece in enumerate(pieces))
