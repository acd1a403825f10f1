"""Held-out mistakes: what share of mistakes that nobody here chose do the tests notice?

    python tests/heldout.py 1                  every mistake of the first batch
    python tests/heldout.py 1 --only NAME ...  some of them; nothing is written down
    python tests/heldout.py 1 --first          keep the outcome as that of the first try

The mistakes stand in tests/heldout. Who wrote them had the package, and neither its tests nor the bug zoo; they were
frozen before any test was touched for them. Each is made alone, in a copy of the repository, and the tests that use the
changed module run on the copy until one fails: those that name the changed function first, then the nearest. Tests of
the repository itself (texts, tables, notebooks) do not count, and neither does a test that fails without the mistake.

A batch counts once, at its first try; what turns out to change nothing is then left out, and the batch says why.
Afterwards the holes are closed, by kind, and the next batch is tried.
"""

import argparse
import ast
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from tqdm import tqdm

TESTS = Path(__file__).parent
ROOT = TESTS.parent
sys.path.append(str(ROOT / "tools"))
FOLDER = TESTS / "heldout"
FIRST, LAST = FOLDER / "first_try.json", FOLDER / "last_try.json"
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- make heldout writes this -->\n).*?(\n<!-- to here -->)", re.DOTALL)
COPIED = ("wm_tutorial", "tests", "tools", "benchmarks", "notebooks", "book", "teaching", "README.md", "pyproject.toml")
OF_THE_REPOSITORY = {
    *("test_book", "test_chapters", "test_mutants", "test_project", "test_results", "test_slides", "test_teachers"),
    *("test_tools", "test_architecture", "test_shipped", "test_story", "test_heldout", "test_jupyter"),
}
SAID = "what_the_tests_said.txt"
FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/\S+?\.py(?:::.+?)?)(?: - (.*))?$", re.MULTILINE)
SECONDS = 200  # of CPU time, for the tests of one mistake: on a busy machine it is noticed, too
# Every try is a process of its own. All of them are forks of one that has read the slow libraries, and nothing of ours.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch", "gymnasium", "matplotlib.pyplot", "pytest", "hypothesis", "nbval.plugin"])


@dataclass(frozen=True)
class Mistake:
    """One slip: in `file` the text `was`, which stands there once, `becomes` another."""

    name: str
    file: str
    was: str
    becomes: str
    wrong: str
    matters: str
    subtlety: int  # 1 plain once looked for, 3 nearly invisible
    equivalent: str = ""  # why it changes nothing that anybody could see; added afterwards, and then it does not count

    def around(self, source: str) -> str:
        """The innermost function or class of `source` that it is in, __init__ and the like aside; "" if in none."""
        line = source[: source.index(self.was)].count("\n") + 1
        found = [
            node.name
            for node in ast.walk(ast.parse(source))  # the inner ones later
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.lineno <= line <= (node.end_lineno or line)
        ]
        return next((name for name in reversed(found) if not name.startswith("__")), "")

    @contextmanager
    def made(self, root: Path) -> Iterator[None]:
        """The mistake in the copy at `root`, and afterwards no longer."""
        path = root / self.file
        right = path.read_text()
        if right.count(self.was) != 1:
            raise SystemExit(
                f"{self.name}: what it changes stands {right.count(self.was)} times in {self.file}, not once"
            )
        path.write_text(right.replace(self.was, self.becomes))
        try:
            yield
        finally:
            path.write_text(right)


def batch(number: int) -> list[Mistake]:
    """The frozen mistakes of a batch.

    Raises:
        SystemExit: if there is no such batch.
    """
    path = FOLDER / f"batch_{number}.json"
    if not path.exists():
        there = ", ".join(sorted(one.stem.removeprefix("batch_") for one in FOLDER.glob("batch_*.json")))
        raise SystemExit(f"There is no batch {number}; there are: {there}.")
    return [Mistake(**told) for told in json.loads(path.read_text())]


def in_fork(root: Path, words: list[str]) -> None:
    """Run pytest as if it had been started in `root`, and write there what it says; the end of a forked process."""
    os.chdir(root)
    os.environ |= {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "400"}
    sys.dont_write_bytecode = True  # two mistakes of the same length in the same second would look the same
    ours = {str(ROOT), *(str(ROOT / folder) for folder in ("tests", "tools"))}
    sys.path[:] = [str(root), *(path for path in sys.path if path not in ours)]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which the background of a script ignores
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, resource.RLIM_INFINITY))
    with (root / SAID).open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    sys.exit(pytest.main(words))


class Copy:
    """A copy of the repository in which mistakes are made, and its tests run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        ignored = shutil.ignore_patterns("_build", "build", ".ipynb_checkpoints")  # what is compiled is copied, too
        for name in COPIED:
            source = ROOT / name
            (shutil.copytree(source, root / name, ignore=ignored) if source.is_dir() else shutil.copy(source, root))

    def failure(self, tests: Iterable[str], without: Iterable[str] = ()) -> tuple[str, str]:
        """The first test that fails, and what it says; empty if none does in `SECONDS` of CPU time.

        Raises:
            RuntimeError: if pytest itself fails.
        """
        left_out = [word for test in without for word in ("--deselect", test)]
        words = ["-x", "-q", "--tb=line", "-p", "no:cacheprovider", *left_out, *tests]
        words += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of plugins that were read before the fork
        process = FORKS.Process(target=in_fork, args=(self.root, words))
        process.start()
        process.join()
        said = (self.root / SAID).read_text()
        if process.exitcode == -signal.SIGXCPU:
            return "", f"none of the tests that ran within {SECONDS} s"
        if found := FAILED.search(said):
            return found[1], found[2] or ""
        if process.exitcode not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            raise RuntimeError(f"pytest ended with {process.exitcode} and no failed test:\n{said[-3000:]}")
        return "", ""

    def noticed(self, mistake: Mistake) -> dict[str, str]:
        """By which test a mistake is noticed, and what that test says; `test` is empty if by none."""
        from changed import tests_of

        near = [path for path in tests_of([Path(mistake.file)], self.root) if path.suffix == ".py"]
        named = re.compile(rf"\b{mistake.around((self.root / mistake.file).read_text()) or '(?!)'}\b")
        near.sort(key=lambda path: named.search((self.root / path).read_text()) is None)
        tests = [str(path) for path in near if path.stem not in OF_THE_REPOSITORY]
        broken: list[str] = []
        while True:
            with mistake.made(self.root):
                test, said = self.failure(tests, broken)
            if not test or not self.failure([test])[0]:
                return {"test": test, "says": said}
            broken.append(test)  # without the mistake, too


def tried(mistakes: list[Mistake], jobs: int) -> dict[str, dict[str, str]]:
    """What became of each mistake, by name."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        copies = SimpleQueue[Copy]()
        for n in range(jobs):
            (place := Path(folder) / str(n)).mkdir()
            copies.put(Copy(place))

        def one(mistake: Mistake) -> dict[str, str]:
            copy = copies.get()
            try:
                return copy.noticed(mistake)
            finally:
                copies.put(copy)

        found = {}
        for mistake, outcome in zip(mistakes, tqdm(pool.map(one, mistakes), total=len(mistakes)), strict=True):
            found[mistake.name] = outcome
            tqdm.write(f"{mistake.name:<56} {outcome['test'] or 'NOT NOTICED'}")
        return found


def line(kept: dict[str, Any]) -> str:
    """The first tries of all batches in one line."""
    counts = []
    for number, found in sorted(kept.items()):
        left_out = {mistake.name for mistake in batch(int(number)) if mistake.equivalent}
        counted = [bool(one["test"]) for name, one in found.items() if name not in left_out]
        why = f" ({len(left_out)} left out that {'change' if len(left_out) > 1 else 'changes'} nothing)"
        counts.append(f"{sum(counted)} of {len(counted)} in batch {number}{why if left_out else ''}")
    return f"held-out mistakes noticed at the first try: {', '.join(counts) or 'not yet measured'}"


def kept(path: Path) -> dict[str, Any]:
    """What was written down of earlier tries, by batch."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("batch", type=int, help="1, 2 or 3")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these mistakes; nothing is written down")
    parser.add_argument("--first", action="store_true", help="this is the first try, the one that counts")
    parser.add_argument("--jobs", type=int, default=2, help="mistakes side by side")
    arguments = parser.parse_args()
    mistakes, number = batch(arguments.batch), str(arguments.batch)
    if unknown := set(arguments.only or ()) - {one.name for one in mistakes}:
        raise SystemExit(f"No mistake of batch {number}: {', '.join(sorted(unknown))}.")
    if arguments.first and (arguments.only or number in kept(FIRST)):
        raise SystemExit("A first try is of a whole batch, and there is only one of each.")
    found = tried([one for one in mistakes if not arguments.only or one.name in arguments.only], arguments.jobs)
    print(f"{sum(bool(one['test']) for one in found.values())} of {len(found)} noticed")
    if not arguments.only:
        path = FIRST if arguments.first else LAST
        path.write_text(json.dumps(kept(path) | {number: found}, indent=2) + "\n")
        README.write_text(BLOCK.sub(lambda block: f"{block[1]}`{line(kept(FIRST))}`{block[2]}", README.read_text()))


if __name__ == "__main__":
    main()
