"""`make check`: the tests of what changed, the nearest first, until the time is up.

    python tools/changed.py            since the last commit, or in it if nothing has changed since
    python tools/changed.py -x -k kl   the same, with options for pytest

A changed test runs itself. A changed module runs the tests that import it, its namesake first and those that import
much of the package last. A changed chapter runs from top to bottom, and so do the tests of its functions. Any other
file runs the tests that name it. What is not run is said at the end: this is no substitute for `make test`.
"""

import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import monotonic

import pytest

ROOT = Path(__file__).parent.parent
SECONDS = 40  # for the tests, before the last of them begins; with lint and types that is less than a minute
EVERYTHING = "`make test` runs everything, in about 20 minutes on two cores"
PACKAGE = "wm_tutorial"
WHOLE_FOLDERS = {"book": "test_book.py", "notebooks": "test_chapters.py"}  # their tests read whatever lies in there


# --- What changed -----------------------------------------------------------------------------------------------------


def changed_files(root: Path = ROOT) -> list[Path]:
    """What differs from the last commit, new files included; if nothing does, what the last commit changed."""
    since = _git(root, "diff", "--name-only", "HEAD") | _git(root, "ls-files", "--others", "--exclude-standard")
    return sorted(since or _git(root, "show", "--name-only", "--format=", "-m", "HEAD"))


def _git(root: Path, *words: str) -> set[Path]:
    try:
        answer = subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"What changed is asked of git, and it does not know ({error}). {EVERYTHING}.") from error
    return {Path(line) for line in answer.stdout.splitlines()}


# --- Which tests there are for it -------------------------------------------------------------------------------------


def imported(path: Path) -> set[str]:
    """Every name that a file imports, anywhere in it, in full: `from wm_tutorial import kl` is "wm_tutorial.kl"."""
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names}
    return names


def modules(root: Path = ROOT) -> dict[str, Path]:
    """The modules of the package under their full names; those of the tools and of the tests as they are imported."""
    found = {path.stem: path for folder in ("tools", "tests") for path in sorted((root / folder).glob("*.py"))}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def module_of(name: str, known: Mapping[str, Path]) -> str | None:
    """The module that `name` is, or that it lies in: "wm_tutorial.kl" for "wm_tutorial.kl.gaussian_kl"."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


def origins(name: str, known: Mapping[str, Path]) -> set[str]:
    """The modules that an imported name comes from, followed through the packages that hand it on.

    A package imported whole counts as all that its own __init__ imports from it.
    """
    module = module_of(name, known)
    if module is None or known[module].name != "__init__.py":
        return {module} if module else set()
    offered = {other for other in imported(known[module]) if other.startswith(f"{module}.")}
    if name != module:
        offered = {other for other in offered if other.rpartition(".")[2] == name.rpartition(".")[2]}
    return {module}.union(*(origins(other, known) for other in offered))


def tests_of(changed: Iterable[Path], root: Path = ROOT) -> list[Path]:
    """The tests and chapters to run for files that changed, all relative to `root`, the nearest first.

    How far a test is from a change: 0 if it is there for just this, or else the number of modules that it uses.
    """
    known = modules(root)
    name_of = {path.relative_to(root): name for name, path in known.items()}
    tests = [path.relative_to(root) for path in sorted((root / "tests").glob("test_*.py"))]
    uses = {test: set[str]().union(*(origins(name, known) for name in imported(root / test))) for test in tests}
    found: dict[Path, int] = {}
    for path in changed:
        if path in uses or (path.match("notebooks/[0-9][0-9]_*.ipynb") and (root / path).exists()):
            found[path] = 0
        namesakes = (f"test_{path.stem}", f"test_{path.parent.name}", f"test_chapter_{path.stem[:2]}")
        for test in tests:
            if test.stem in namesakes:
                found[test] = 0
            elif (
                name_of[path] in uses[test]
                if path in name_of
                else path.name in (root / test).read_text() or test.name == WHOLE_FOLDERS.get(path.parts[0])
            ):
                found.setdefault(test, len(uses[test]))
    return sorted(found, key=lambda test: (found[test], test.suffix == ".ipynb", test))


# --- Running them -----------------------------------------------------------------------------------------------------


class Deadline:
    """A pytest plugin: tests whose turn comes after the time is up are left out, and counted by file."""

    def __init__(self, seconds: float) -> None:
        self.end = monotonic() + seconds
        self.left_out = Counter[str]()

    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """True says to pytest that this test is taken care of."""
        if monotonic() < self.end:
            return None
        self.left_out[item.nodeid.partition("::")[0]] += 1
        return True


def too_long(test: Path, root: Path = ROOT) -> bool:
    """Whether a chapter took longer than there is time when `make notebooks` last ran it."""
    measured = json.loads((root / "book" / "results" / "chapters.json").read_text())
    return test.suffix == ".ipynb" and measured.get(test.stem, {}).get("cpu_seconds", 0) > SECONDS


def main(options: list[str]) -> int:
    """Run what belongs to the change, say what was left out, and return the status of pytest."""
    changed = changed_files()
    tests = tests_of(changed)
    print("Changed:", *changed)
    later = [test for test in tests if too_long(test)]
    tests = [test for test in tests if test not in later]
    if not tests:
        print(f"No short test belongs to it. {EVERYTHING}.")
        return 0
    print("Its tests, the nearest first:", *(test.name for test in tests))
    deadline = Deadline(SECONDS)
    status = pytest.main(["-q", *options, *map(str, tests)], plugins=[deadline])
    if left_out := [*deadline.left_out, *map(str, later)]:
        print(f"What takes longer than {SECONDS} seconds was left out, in whole or in part. To run it:")
        print(f'  make test ARGS="{" ".join(left_out)}"')
    print(f"Only tests near the change were run. {EVERYTHING}.")
    return 0 if status == pytest.ExitCode.NO_TESTS_COLLECTED else int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
