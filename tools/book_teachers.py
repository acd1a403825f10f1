"""For the pages for teachers: what the exercises and the checks know of themselves, so that no page repeats it by hand.

The environment of the book has neither torch nor the package, so the mistakes are read from the source of
`wm_tutorial/mistakes`. A few whose words are put together by code are not seen; a test counts them.
"""

import ast
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
MISTAKES = ROOT / "wm_tutorial" / "mistakes"


def _alone(path: Path) -> Any:
    """A module of the package that needs nothing of it, without importing the package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


exercises = _alone(ROOT / "wm_tutorial" / "course" / "exercises.py").exercises_of


@dataclass(frozen=True)
class Known:
    """A mistake that a check knows: its name, what is wrong, and why people make it."""

    name: str
    story: str
    why: str


def mistakes_by_check(folder: Path = MISTAKES) -> dict[str, list[Known]]:
    """What each check recognises, by the name of the check: first its own mistakes, then those of the bug zoo."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.py"))]
    names, found = {}, {}
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.Assign) and (keywords := _call_of("Part", node.value)) is not None:
                names[ast.unparse(node.targets[0])] = name = ast.literal_eval(keywords["name"])
                found[name] = [
                    Known(ast.literal_eval(key), *words)
                    for key, value in _items(keywords.get("mistakes"))
                    if (words := _words(value))
                ]
    for tree in trees:
        for node in ast.walk(tree):
            if (keywords := _call_of("Bug", node)) is not None:
                for part, value in _items(keywords.get("forms")):
                    if words := _words(value):
                        found[names[ast.unparse(part)]].append(Known(ast.literal_eval(keywords["name"]), *words))
    return found


def _call_of(name: str, node: ast.AST) -> dict[str, ast.expr] | None:
    """The keywords of a call of `name`, or None."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
        return {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    return None


def _items(node: ast.expr | None) -> list[tuple[ast.expr, ast.expr]]:
    """What is written out in a dict; what another expression brings into it is left out."""
    if not isinstance(node, ast.Dict):
        return []
    return [(key, value) for key, value in zip(node.keys, node.values, strict=True) if key is not None]


def _words(node: ast.expr) -> tuple[str, str] | None:
    """What a Mistake says of itself: what is wrong, and why; None if code puts these words together."""
    if not isinstance(node, ast.Call) or ast.unparse(node.func) != "Mistake":
        return None
    story, why, *_ = node.args
    if isinstance(story, ast.Constant) and isinstance(why, ast.Constant):
        return str(story.value), str(why.value)
    return None


# --- What is put into the pages ---------------------------------------------------------------------------------------


def blanks(chapters: list[Path], minutes: dict[str, int], cost: dict[str, dict[str, float]]) -> dict[str, str]:
    """For each chapter, by its number: facts-NN, exercises-NN and mistakes-NN.

    minutes  of study, by number
    cost     what book/results/chapters.json says of a chapter, by the name of its file
    """
    known, filled = mistakes_by_check(), {}
    for path in chapters:
        number, asked = path.name[:2], exercises(path)
        seconds = cost.get(path.stem, {}).get("cpu_seconds")
        times = [f"{minutes[number]} minutes of study"] + ([f"{seconds:.0f} CPU seconds"] if seconds else [])
        filled[f"exercises-{number}"] = told = _exercises(asked)
        filled[f"facts-{number}"] = f"{', '.join(times)}; exercises {told}."
        filled[f"mistakes-{number}"] = "\n\n".join(_dropdown(exercise, known[exercise.check]) for exercise in asked)
    return filled


def _exercises(asked: list[Any]) -> str:
    """Such as "6.1 to 6.4, 53 minutes"."""
    return f"{asked[0].number} to {asked[-1].number}, {sum(exercise.minutes for exercise in asked)} minutes"


def _dropdown(exercise: Any, known: list[Known]) -> str:
    """One exercise: what its check calls by its name, in a box that opens."""
    rows = "\n".join(f"| `{one.name}` | {_cell(one.story)} | {_cell(one.why)} |" for one in known)
    title = f"Exercise {exercise.number}, {exercise.title} ({exercise.stars}, {exercise.minutes} minutes)"
    return (
        f"::::{{dropdown}} {title}: {len(known)} mistakes\n\n"
        f"| name | what is wrong | why people make it |\n|---|---|---|\n{rows}\n\n::::"
    )


def _cell(text: str) -> str:
    """Words of a check inside of a table: no bar ends a cell, and outside of code no star or dollar begins anything."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(re.sub(r"[|]" if i % 2 else r"[|*$_<]", r"\\\g<0>", part) for i, part in enumerate(parts))
