"""Answers that nobody here chose: who is right loses nothing, and who is wrong is told so."""

import json
from pathlib import Path

import heldout_answers
import pytest
from heldout_answers import FIRST, answers, line, loses_points, said

ROOT = Path(__file__).parent.parent
EVERY = answers()
FIRST_TRY = json.loads(FIRST.read_text(encoding="utf-8"))
BY_PART = {part: [a for a in EVERY["right"] if a["part"] == part] for part in {a["part"] for a in EVERY["right"]}}


def test_there_are_enough_of_them_and_no_two_are_alike() -> None:
    for kind, least in (("right", 100), ("wrong", 60)):
        assert len(EVERY[kind]) >= least
        assert len({(a["part"], a["source"]) for a in EVERY[kind]}) == len(EVERY[kind])
        assert len({a["part"] for a in EVERY[kind]}) > 80  # all but the class of chapter 19


@pytest.mark.parametrize("part", sorted(BY_PART))
def test_nobody_who_is_right_loses_points(part: str) -> None:
    assert not [answer["source"] for answer in BY_PART[part] if loses_points(answer)]


@pytest.mark.parametrize("number", range(len(EVERY["wrong"])), ids=lambda n: f"{n}-{EVERY['wrong'][n]['part']}")
def test_a_mistake_is_found_and_keeps_the_name_of_the_first_try(number: int) -> None:
    words, name = said(EVERY["wrong"][number]), FIRST_TRY["names"][number]
    assert words
    assert name in ("", "let through") or f"Known mistake {name}:" in words


def test_the_readme_says_what_was_found_at_the_first_try() -> None:
    assert f"`{line(FIRST_TRY)}`" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_line_counts_what_was_refused_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"right": [{}] * 5, "wrong": [{}] * 4}
    monkeypatch.setattr(heldout_answers, "answers", lambda: few)
    told = {"refused": {"3": "no"}, "names": ["let through", "", "kl_reversed", "lam_swapped"], "unfit": [3]}
    assert line(told) == "held-out answers: 1 of 5 right ones refused, 3 of 4 wrong ones found, 1 of them by name"
