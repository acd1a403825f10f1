"""The mutation gate: every mistake of the zoo, made alone, must be caught by the tests that claim to catch it.

    python tests/mutants.py                 every mistake
    python tests/mutants.py kl_reversed     some of them

Each mistake names its tests (`caught_by`). All of them must fail while it is out, by an assertion about numbers: an
exception, or a shape that does not fit, is no catch, because whoever makes the mistake sees neither. Without it they
must all pass.
"""

import argparse
import contextlib
import io
import json
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from wm_tutorial import zoo

TESTS = Path(__file__).parent
ROOT = TESTS.parent
RESULTS = ROOT / "book" / "results" / "mutants.json"


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="mistakes of the zoo; all of them if none is given")
    names = parser.parse_args().names or list(zoo.BUGS)
    started = time.perf_counter()
    wrong = zoo_gate(names)
    caught = len(names) - len({line.split(":")[0] for line in wrong})
    for line in wrong:
        print(line)
    print(f"{time.perf_counter() - started:.0f} s")
    print(f"zoo: {caught} of {len(names)} caught by a test on meaning")
    if len(names) == len(zoo.BUGS):
        RESULTS.write_text(json.dumps({"zoo": {"caught": caught, "mistakes": len(names)}}, indent=2) + "\n")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
