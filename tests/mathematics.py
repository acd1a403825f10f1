"""Small changes in the modules of mathematics, made one at a time; some test must notice each of them.

    python tests/mathematics.py               every change in every module
    python tests/mathematics.py kl returns    in some modules

What is changed, one change at a time, is what mutmut changes: `a + b` becomes `a - b`, `<` becomes `<=`, a number one
more, an argument None or left out, an assigned value None, and so on. Unlike under mutmut, which tries each change in a
forked process, all of it happens in one process: torch that has computed gradients hangs in a fork. The code of the
changed function replaces that of the original one, wherever it has been imported to. This also reaches functions with a
decorator, which mutmut leaves alone: properties, class methods and what stands under `torch.no_grad`.

Left as they are: annotations, decorators, what stands outside of functions, and the wording of f-strings. A test that
does not come back in time has noticed something.

Changes that no test can notice stand in tests/equivalent_mutants.toml, with a reason each. The gate is shut if there is
another change that no test notices, if one that stands there is noticed or is gone, or if less than 90 % are noticed.
"""

import argparse
import contextlib
import difflib
import importlib
import inspect
import io
import json
import signal
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, TextIO

import libcst
import pytest
import torch
from mutants import MATHEMATICS
from mutmut.mutation.mutators import mutation_operators

TESTS = Path(__file__).parent
EQUIVALENT = TESTS / "equivalent_mutants.toml"
ENOUGH = 0.9  # of the changes have to be noticed
FILES = (*(f"test_{name}.py" for name in MATHEMATICS), "test_golden.py", "test_axes.py")
LONG = "test_every_combination"  # trains for minutes, and checks that training goes on after a stop
PATIENCE = 10.0  # CPU seconds: a test that takes so many more than ten times as many as otherwise has noticed something


@dataclass(frozen=True)
class Change:
    """One change in one function: the lines that it takes away and puts in, and the whole module with it."""

    function: str  # "replay.Replay.sample"
    was: str
    becomes: str
    source: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.function}\n  - {self.was}\n  + {self.becomes}"


class Finder(libcst.CSTVisitor):
    """Every node inside of a function, with what mutmut would put in its place."""

    def __init__(self) -> None:
        self.path: list[str] = []
        self.inside = 0
        self.found: list[tuple[str, libcst.CSTNode, libcst.CSTNode]] = []

    def on_visit(self, node: libcst.CSTNode) -> bool:
        if isinstance(node, libcst.Annotation | libcst.Decorator):
            return False
        if isinstance(node, libcst.Call) and isinstance(node.func, libcst.Name) and node.func.value == "len":
            return False  # as in mutmut: without its argument it only raises an error
        if self.inside:
            for kind, operator in mutation_operators:
                if isinstance(node, kind):
                    self.found += [(".".join(self.path), node, changed) for changed in operator(node)]
        if isinstance(node, libcst.FunctionDef | libcst.ClassDef):
            self.path.append(node.name.value)
            self.inside += isinstance(node, libcst.FunctionDef)
        return True

    def on_leave(self, node: libcst.CSTNode) -> None:
        if isinstance(node, libcst.FunctionDef | libcst.ClassDef):
            self.path.pop()
            self.inside -= isinstance(node, libcst.FunctionDef)


def changes(name: str, source: str) -> Iterator[Change]:
    """All changes in a module, each of them once."""
    module = libcst.parse_module(source)
    finder = Finder()
    module.visit(finder)
    seen = {source}
    for function, node, changed in finder.found:
        changed_source = module.deep_replace(node, changed).code
        if changed_source in seen:
            continue
        seen.add(changed_source)
        lines = list(difflib.ndiff(source.splitlines(), changed_source.splitlines()))
        was, becomes = (" ".join(line[2:].strip() for line in lines if line[:2] == sign) for sign in ("- ", "+ "))
        yield Change(f"{name}.{function}", was, becomes, changed_source)


def functions(namespace: dict[str, Any], file: str) -> dict[str, FunctionType]:
    """Every function and method that was written in `file`, below whatever decorates it, by its qualified name."""
    found = {}
    for value in list(namespace.values()):
        if isinstance(value, type) and value.__module__ == namespace["__name__"]:
            found |= functions({**vars(value), "__name__": None}, file)
            continue
        value = value.fget if isinstance(value, property) else value
        value = value.func if isinstance(value, cached_property) else value
        value = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        value = inspect.unwrap(value) if callable(value) else value
        if isinstance(value, FunctionType) and value.__code__.co_filename == file:
            found[value.__qualname__] = value
    return found


class Original:
    """A module whose functions can be changed and put back."""

    def __init__(self, name: str) -> None:
        module: ModuleType = importlib.import_module(f"wm_tutorial.{name}")
        self.name, self.module, self.file = name, module.__name__, str(module.__file__)
        self.functions = functions(vars(module), self.file)
        self.kept = {name: (one.__code__, one.__defaults__, one.__kwdefaults__) for name, one in self.functions.items()}

    @contextlib.contextmanager
    def changed(self, source: str) -> Iterator[None]:
        """The functions as `source` has them."""
        namespace = {"__name__": self.module, "__file__": self.file}
        exec(compile(source, self.file, "exec"), namespace)
        try:
            for name, function in functions(namespace, self.file).items():
                one = self.functions[name]
                one.__code__, one.__defaults__, one.__kwdefaults__ = (
                    function.__code__, function.__defaults__, function.__kwdefaults__
                )  # fmt: skip
            yield
        finally:
            for name, kept in self.kept.items():
                one = self.functions[name]
                one.__code__, one.__defaults__, one.__kwdefaults__ = kept


class TakesTooLong(BaseException):
    """Raised in a test that runs far longer than it does without a change."""


def stop(number: int, frame: FrameType | None) -> None:
    raise TakesTooLong


class Trial:
    """A pytest plugin that runs the collected tests again and again, with one change after the other."""

    def __init__(self, names: list[str], out: TextIO) -> None:
        self.names, self.out = names, out
        self.count = 0
        self.survived: list[Change] = []
        self.failed = False
        self.duration: dict[str, float] = {}  # of each test, in CPU seconds

    def say(self, text: str) -> None:
        print(text, file=self.out, flush=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self) -> None:
        from hypothesis import Phase, settings  # not earlier: pytest rewrites its assertions

        # Whether a test fails is enough to know: no search for a simpler example.
        settings.register_profile("once", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed |= report.failed

    def fails(self, item: pytest.Item, patience: float = 0.0) -> bool:
        """Whether a test fails, or does not come back within `patience` CPU seconds, if there are any."""
        self.failed = False
        signal.setitimer(signal.ITIMER_PROF, patience)
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        except TakesTooLong:  # between two of pytest's own steps
            self.failed = True
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
        return self.failed

    def must_pass(self, item: pytest.Item, when: str) -> None:
        if self.fails(item):
            pytest.exit(f"{item.nodeid} fails {when}", pytest.ExitCode.INTERNAL_ERROR)

    def callers(self, items: list[pytest.Item], originals: list[Original]) -> dict[str, list[pytest.Item]]:
        """Run all tests without a change: which of them call each function, the quickest first."""
        names = {one.__code__: f"{m.name}.{name}" for m in originals for name, one in m.functions.items()}
        callers: dict[str, list[pytest.Item]] = defaultdict(list)
        for item in items:
            called: set[CodeType] = set()
            started = time.process_time()
            sys.settrace(lambda frame, event, argument, called=called: called.add(frame.f_code))
            try:
                self.must_pass(item, "without any change")
            finally:
                sys.settrace(None)
            self.duration[item.nodeid] = time.process_time() - started
            for code in called & names.keys():
                callers[names[code]].append(item)
        for tests in callers.values():
            tests.sort(key=lambda item: self.duration[item.nodeid])
        return callers

    def noticed(self, original: Original, change: Change, tests: list[pytest.Item]) -> bool:
        """Whether one of the tests fails with a change; it must pass again without it."""
        for item in tests:
            with original.changed(change.source):
                failed = self.fails(item, PATIENCE + 10.0 * self.duration[item.nodeid])
            if failed:
                self.must_pass(item, f"after this has been taken back: {change}")
                return True
        return False

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        signal.signal(signal.SIGPROF, stop)
        originals = [Original(name) for name in self.names]
        callers = self.callers(session.items, originals)
        self.say(f"{len(session.items)} tests, {sum(self.duration.values()):.0f} s")
        for original in originals:
            started, before, survived = time.perf_counter(), self.count, len(self.survived)
            for change in changes(original.name, Path(original.file).read_text()):
                self.count += 1
                if not self.noticed(original, change, callers.get(change.function, [])):
                    self.survived.append(change)
            count, survived = self.count - before, len(self.survived) - survived
            self.say(
                f"{original.name:<12} {count - survived} of {count} noticed, {time.perf_counter() - started:.0f} s"
            )
        return True


def trial(names: list[str]) -> Trial:
    """Try every change in the modules of these names."""
    torch.set_num_threads(1)
    arguments = ["-q", "--tb=no", "-p", "no:cacheprovider", "--hypothesis-profile=once", "-k", f"not {LONG}"]
    found = Trial(names, sys.stdout)
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(printed):
        code = pytest.main([*arguments, *(str(TESTS / file) for file in FILES)], plugins=[found])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(printed.getvalue())
    return found


def judged(found: Trial) -> dict[str, Any]:
    """The score, and what is wrong: a line for each change that is not where it should be."""
    listed = [
        (entry["function"], entry["was"], becomes)
        for entry in tomllib.loads(EQUIVALENT.read_text())["equivalent"]
        for becomes in entry["becomes"]
        if entry["function"].split(".")[0] in found.names
    ]
    survived = {(change.function, change.was, change.becomes): change for change in found.survived}
    wrong = [f"no test notices this: {change}" for key, change in survived.items() if key not in listed]
    wrong += [
        f"{EQUIVALENT.name} lists what is noticed or is gone: {Change(*key, '')}"
        for key in listed
        if key not in survived
    ]
    killed = found.count - len(found.survived)
    if killed < ENOUGH * found.count:
        wrong.append(f"the tests notice less than {100 * ENOUGH:.0f} %: {killed} of {found.count} changes")
    equivalent = sum((change.function, change.was, change.becomes) in listed for change in found.survived)
    return {"killed": killed, "mutants": found.count, "equivalent": equivalent, "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", default=MATHEMATICS, help="modules; all of mathematics if none is given"
    )
    parser.add_argument("--score", type=Path, help="write the score into this file instead of judging it")
    arguments = parser.parse_args()
    result = judged(trial(list(arguments.names)))
    if arguments.score:
        arguments.score.write_text(json.dumps(result, allow_nan=False))
        return
    for line in result["wrong"]:
        print(line)
    print(f"{result['killed']} of {result['mutants']} noticed, {result['equivalent']} equivalent")
    raise SystemExit(bool(result["wrong"]))


if __name__ == "__main__":
    main()
