"""The mutation gate: every mistake of the zoo, made alone, must be caught by the tests that claim to catch it.

    python tests/mutants.py                 every mistake
    python tests/mutants.py kl_reversed     some of them
    python tests/mutants.py --mathematics   and afterwards every small change in the mathematics: tests/mathematics.py

Each mistake names its tests (`caught_by`). All of them must fail while it is out, by an assertion about numbers: an
exception, or a shape that does not fit, is no catch, because whoever makes the mistake sees neither. Without it they
must all pass.

Both scores go to book/results/mutants.json and into the README. That of the mathematics is kept from its last run, and
the README says if its modules have changed since.
"""

import argparse
import contextlib
import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from wm_tutorial import zoo

TESTS = Path(__file__).parent
ROOT = TESTS.parent
RESULTS = ROOT / "book" / "results" / "mutants.json"
MATHEMATICS = ("transforms", "kl", "returns", "latents", "optim", "replay")
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- make mutants writes this -->\n).*?(\n<!-- to here -->)", re.DOTALL)


class Outcomes:
    """A pytest plugin that keeps how each test ended: "passed", "failed", or what else happened."""

    def __init__(self) -> None:
        self.of: dict[str, set[str]] = defaultdict(set)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
        report = yield
        if call.excinfo is not None:
            self.of[item.nodeid].add(verdict(call.excinfo) if report.when == "call" else f"error in {report.when}")
        elif report.when == "call":
            self.of[item.nodeid].add("passed")
        return report


def verdict(raised: pytest.ExceptionInfo[BaseException]) -> str:
    """ "failed" if a test found a wrong number; anything else in words."""
    last = raised.traceback[-1]
    if not raised.errisinstance(AssertionError):
        return f"{raised.typename}: {raised.value}".splitlines()[0]
    if ROOT / "wm_tutorial" in Path(last.path).parents:
        return f"an assertion of the package itself: {last.statement}"
    if ".shape" in str(last.statement) or "'shape' do not match" in str(raised.value):
        return f"a shape that does not fit: {last.statement}"
    return "failed"


def run(tests: list[str], bug: str | None = None) -> dict[str, set[str]]:
    """How each of `tests` ends, all of its parameters together, with a mistake out or none."""
    outcomes = Outcomes()
    for name in [path.stem for path in TESTS.glob("*.py")]:  # so that they are imported while the mistake is out
        sys.modules.pop(name, None)
    arguments = ["-q", "-p", "no:cacheprovider", *([f"--bug={bug}"] if bug else [])]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = pytest.main([*arguments, *(str(TESTS / test) for test in tests)], plugins=[outcomes])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(printed.getvalue())
    ended: dict[str, set[str]] = {test: set() for test in tests}
    for node, verdicts in outcomes.of.items():
        for test in tests:
            if node.removeprefix("tests/") == test or node.removeprefix("tests/").startswith(test + "["):
                ended[test] |= verdicts
    return ended


def zoo_gate(names: list[str]) -> list[str]:
    """What is wrong: one line for each test that does not catch the mistake it should catch."""
    every = sorted({test for name in names for test in zoo.BUGS[name].caught_by})
    wrong = [f"{test} fails without any mistake: {v}" for test, v in run(every).items() if v != {"passed"}]
    for name in names:
        tests = list(zoo.BUGS[name].caught_by)
        ended = run(tests, name)
        for test, verdicts in ended.items():
            if crashes := verdicts - {"passed", "failed"}:
                wrong.append(f"{name}: {test} ends by {'; '.join(sorted(crashes))}")
            elif "failed" not in verdicts:
                wrong.append(f"{name}: {test} passes")
        print(f"{name:<32} {'caught' if not any(line.startswith(f'{name}:') for line in wrong) else 'NOT CAUGHT'}")
    return wrong


def mathematics_gate() -> tuple[dict[str, Any], list[str]]:
    """The score of the mathematics, and what is wrong. In a process of its own, in which no mistake has been out."""
    with tempfile.TemporaryDirectory() as folder:
        score = Path(folder) / "score.json"
        subprocess.run([sys.executable, TESTS / "mathematics.py", "--score", score], check=True)
        found = json.loads(score.read_text())
    wrong = found.pop("wrong")
    return {**found, "of": fingerprint()}, wrong


def fingerprint() -> str:
    """Of the modules of mathematics: whether their score is still that of this code."""
    sources = [(ROOT / "wm_tutorial" / f"{name}.py").read_bytes() for name in MATHEMATICS]
    return hashlib.sha256(b"".join(sources)).hexdigest()[:12]


def scores(results: dict[str, Any]) -> str:
    """Both scores in one line."""
    found = results["zoo"]
    line = f"zoo: {found['caught']} of {found['mistakes']} caught by a test on meaning"
    if not (found := results.get("mathematics")):
        return f"{line}; mathematics: not yet measured"
    share = found["killed"] / found["mutants"]
    line += f"; mathematics: {found['killed']} of {found['mutants']} mutants killed ({100 * share:.1f} %), "
    line += f"{found['equivalent']} equivalent"
    return line + ("" if found["of"] == fingerprint() else ", before the latest changes to its modules")


def publish(results: dict[str, Any]) -> None:
    """Write the scores down, where programs look and where people do."""
    RESULTS.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")
    README.write_text(BLOCK.sub(lambda block: f"{block[1]}`{scores(results)}`{block[2]}", README.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="mistakes of the zoo; all of them if none is given")
    parser.add_argument("--mathematics", action="store_true", help="change the mathematics, too (minutes)")
    arguments = parser.parse_args()
    names = arguments.names or list(zoo.BUGS)
    started = time.perf_counter()
    wrong = zoo_gate(names)
    caught = len(names) - len({line.split(":")[0] for line in wrong} & set(names))
    for line in wrong:
        print(line)
    print(f"{time.perf_counter() - started:.0f} s")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results["zoo"] = {"caught": caught, "mistakes": len(names)}
    if arguments.mathematics:
        results["mathematics"], more = mathematics_gate()
        print(*more, sep="\n", end="\n" if more else "")
        wrong += more
    if not arguments.names:
        publish(results)
    print(scores(results))
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
