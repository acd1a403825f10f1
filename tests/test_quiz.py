"""A quiz says of each answer whether it is right; it needs no script, and its order gives nothing away."""

import re

import pytest

from wm_tutorial.course.quiz import Question, quiz
from wm_tutorial.errors import InputError

TWO = Question("Is `1 < 2`?", right={"yes": "It is less."}, wrong={"no": "Count again."})


def test_each_answer_opens_with_what_is_said_about_it() -> None:
    page = quiz(TWO, Question("And 3?", {"b": "Because."}, {"a": "Not so.", "c": "Nor so."})).as_html
    opened = re.findall(
        r"<details><summary>(.*?)</summary><div[^>]*><strong>(.*?)</strong> (.*?)</div></details>", page
    )
    assert opened == [
        ("no", "No.", "Count again."), ("yes", "Right.", "It is less."),
        ("a", "No.", "Not so."), ("b", "Right.", "Because."), ("c", "No.", "Nor so."),
    ]  # fmt: skip
    assert "<strong>1.</strong> Is <code>1 &lt; 2</code>?" in page
    assert "<script" not in page and "http" not in page and "<details open" not in page


def test_a_terminal_shows_questions_and_answers_and_not_which_is_right() -> None:
    assert quiz(TWO).as_text == "1. Is `1 < 2`?\n   - no\n   - yes"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({}, {"a": "b"}),
        ({"a": "b", "c": "d"}, {"e": "f"}),
        ({"a": "b"}, {}),
        ({"a": ""}, {"b": "c"}),
        ({"a": "b"},) * 2,
    ],
)
def test_questions_that_are_none_are_refused(right: dict[str, str], wrong: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"'Why\?' has"):
        Question("Why?", right, wrong)


def test_no_quiz_without_a_question() -> None:
    with pytest.raises(InputError, match="no questions"):
        quiz()
