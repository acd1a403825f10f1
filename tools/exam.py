"""Questions of teaching/exam_bank.md for an exam, as Markdown on the screen.

python tools/exam.py 04 06 > exam.md       the questions of chapters 04 and 06, numbered through
python tools/exam.py 04 --answers          with their answers, and what each rests on
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

BANK = Path(__file__).parent.parent / "teaching" / "exam_bank.md"
QUESTION = re.compile(
    r"^## (\d+)\.([A-Z]) · ([^\n]+) · (\d+) points\n\n(.+?)\n\n"
    r"\*\*Answer\.\*\* (.+?)\n\n\*\*Rests on\*\* (.+?)\s*(?=^## |\Z)",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Question:
    """One question: its chapter ("04"), its title and points, what is asked, answered, and what it rests on."""

    chapter: str
    letter: str
    title: str
    points: int
    asked: str
    answer: str
    rests_on: str


def bank(path: Path = BANK) -> list[Question]:
    """All questions in their order."""
    found = QUESTION.findall(path.read_text(encoding="utf-8"))
    return [Question(f"{int(n):02d}", letter, title, int(points), *rest) for n, letter, title, points, *rest in found]


def paper(questions: list[Question], answers: bool) -> str:
    """An exam of these questions, numbered through."""
    parts = [f"# {sum(question.points for question in questions)} points"]
    for number, one in enumerate(questions, 1):
        parts += [f"## {number}. {one.title} ({one.points} points)", one.asked]
        parts += [f"**Answer.** {one.answer}", f"Rests on {one.rests_on}"] if answers else []
    return "\n\n".join(parts)


if __name__ == "__main__":
    wanted = [word for word in sys.argv[1:] if word != "--answers"]
    chosen = [question for question in bank() if not wanted or question.chapter in wanted]
    if not chosen:
        raise SystemExit(f"No question of these chapters: {' '.join(wanted)}. Give numbers such as 04.")
    print(paper(chosen, answers="--answers" in sys.argv))
