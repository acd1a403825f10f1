"""What a submission may try, and what comes of it: nothing, and the next one is graded as if nothing had been."""

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from wm_tutorial.check.diagnosis import problem_of
from wm_tutorial.course.copy import folder_of_notebooks
from wm_tutorial.grade import calls, wire
from wm_tutorial.grade.hidden import hidden_parts
from wm_tutorial.grade.remote import Remote, Stable, Task
from wm_tutorial.grade.sandbox import Limits, Walls
from wm_tutorial.grade.wire import Garbled, Message
from wm_tutorial.mistakes import PARTS

# On a busy machine the same work costs more computing time, and far more time on the clock: tests are far from either.
LIMITS = Limits(seconds=30, wait=600, memory=500)
SHORT = Limits(seconds=1, wait=600, memory=500)  # for those that are to use it up
SYMLOG = "import torch\ndef f(x):\n    return x.sign() * torch.log1p(x.abs())\n"


@pytest.fixture(scope="module")
def stable() -> Iterator[Stable]:
    with Stable() as warm:
        yield warm
        assert said(warm, SYMLOG) == "", "after all that, a right function is right"


def said(stable: Stable, source: str, part: str = "symlog", limits: Limits = LIMITS) -> str:
    """What the check says of a function `f`."""
    with Remote(stable, limits) as function:
        statement = {"file": "cell 1", "line": 1, "source": source}
        task = Task("f", len(PARTS[part].cases[0]), [statement], {"cell 1": source})
        return function.load(task) or problem_of(PARTS[part], function)


def tried(stable: Stable, statement: str, limits: Limits = LIMITS) -> str:
    """The error that one statement meets inside of the function."""
    return said(stable, f"def f(*given):\n    {statement}\n", limits=limits)


def needs(stable: Stable, *names: str) -> None:
    if missing := [name for name in names if not getattr(stable.walls, name)]:
        pytest.skip(f"this machine does not offer that: {stable.walls.why_not} ({missing})")


# --- Reading ----------------------------------------------------------------------------------------------------------


def test_neither_solutions_nor_submissions_nor_seed_can_be_read(stable: Stable, tmp_path: Path) -> None:
    needs(stable, "apart")
    (tmp_path / "grade.toml").write_text("seed = 1")
    package = Path(wire.__file__).parents[1]
    for path in (
        tmp_path / "grade.toml",
        folder_of_notebooks(),
        package / "mistakes" / "kl.py",
        Path("/proc/self/maps"),
    ):
        assert path.exists()
        assert "FileNotFoundError" in tried(stable, f"import os; os.stat({str(path)!r})"), path
    assert "it raised ImportError" in tried(stable, "from wm_tutorial.mistakes import PARTS")
    assert "it raised ModuleNotFoundError" in tried(stable, "import wm_tutorial.check.asking")


def test_the_process_has_neither_solutions_nor_hidden_inputs_in_its_memory(stable: Stable) -> None:
    source = """
import gc, sys
def f(x):
    functions = [one for one in gc.get_objects() if type(one).__name__ == "function"]
    known = [f"{one.__module__}.{one.__name__}" for one in functions] + list(sys.modules)
    hidden = tuple(f"wm_tutorial.{name}" for name in ("mistakes", "check.", "grade.hidden", "grade.settings"))
    found = [name for name in known if name.startswith(hidden)]
    raise ValueError(f"found {found}")
"""
    assert "found []" in said(stable, source)


def test_inputs_come_one_at_a_time(stable: Stable) -> None:
    """What a function has seen so far is all there is: the inputs of its first call."""
    source = """
import gc, torch
def f(x):
    others = [y for y in gc.get_objects() if isinstance(y, torch.Tensor) and y.shape == (3, 5) and x.shape != (3, 5)]
    if x.dim() == 1:
        raise ValueError(f"{len(others)} others")
"""
    assert "0 others" in said(stable, source)


def test_nothing_is_imported_from_the_folder_in_which_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "json", "wm_tutorial"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from here')")
    monkeypatch.chdir(tmp_path)
    with Stable() as here:
        assert said(here, SYMLOG) == ""


# --- Writing, network, processes --------------------------------------------------------------------------------------


def test_nothing_is_written(stable: Stable, tmp_path: Path) -> None:
    needs(stable, "filtered")
    kept = tmp_path / "kept.txt"
    kept.write_text("as it was")
    for statement in (
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"open({str(kept)!r}, 'r+')",
        "open('here.txt', 'a')",
        f"import os; os.unlink({str(kept)!r})",
        f"import os; os.mkdir({str(tmp_path / 'folder')!r})",
        f"import os; os.rename({str(kept)!r}, {str(tmp_path / 'moved')!r})",
        f"import os; os.chmod({str(kept)!r}, 0o777)",
    ):
        assert "it raised PermissionError" in tried(stable, statement), statement
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"] and kept.read_text() == "as it was"


def test_no_socket_is_opened(stable: Stable) -> None:
    needs(stable, "filtered")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for statement in (
            f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)",
            "import socket; socket.socket()",
        ):
            assert "it raised PermissionError" in tried(stable, statement)
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    "statement",
    [
        "while True: os.fork()",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.execv('/bin/true', ['true'])",
        "os.system('true') == 0 or (_ for _ in ()).throw(PermissionError())",
        "__import__('subprocess').run(['true'])",
        "__import__('multiprocessing').Process(target=print).start()",
    ],
)
def test_no_process_is_begun(stable: Stable, statement: str) -> None:
    needs(stable, "filtered")
    assert "it raised PermissionError" in tried(
        stable, f"import os; {statement}" if "while" not in statement else f"import os\n    {statement}"
    )


def test_threads_without_end_take_no_other_down(stable: Stable) -> None:
    source = """
import threading, time
def f(x):
    while True:
        threading.Thread(target=time.sleep, args=(1000,)).start()
"""
    assert said(stable, source) and said(stable, SYMLOG) == ""


@pytest.mark.parametrize(
    "target",
    ["os.getppid()", "0", "-1", f"{os.getpid()}", "-os.getppid()"],
    ids=["parent", "group", "all", "grader", "its group"],
)
def test_nobody_else_is_signalled(stable: Stable, target: str) -> None:
    needs(stable, "filtered")
    assert "it raised PermissionError" in tried(stable, f"import os; os.kill({target}, 9)")
    assert stable.process.poll() is None and said(stable, SYMLOG) == ""


def test_other_processes_are_neither_looked_into_nor_limited(stable: Stable) -> None:
    needs(stable, "filtered")
    assert "Error" in tried(stable, "import os; open(f'/proc/{os.getppid()}/mem', 'rb')")
    assert "it raised PermissionError" in tried(
        stable, "import os, resource; resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))"
    )
    traced = "import ctypes, os; x = ctypes.CDLL(None, use_errno=True); x.ptrace(16, os.getppid(), 0, 0)"
    assert "it raised ValueError: 1\n" in tried(stable, f"{traced}; raise ValueError(ctypes.get_errno())")


# --- Too much ---------------------------------------------------------------------------------------------------------


def test_who_prints_a_gigabyte_fills_nothing_and_is_right_all_the_same(stable: Stable) -> None:
    noisy = """
import os, sys, torch
def f(x):
    for _ in range(100):
        os.write(1, b"x" * 10**6)
        os.write(2, b"y" * 10**6)
    print("z" * 10**6)
    return x.sign() * torch.log1p(x.abs())
"""
    assert said(stable, noisy) == ""


def test_an_endless_loop_ends_by_computing_time(stable: Stable) -> None:
    assert "it had not answered after 1 seconds of computing" in tried(stable, "while True: pass", SHORT)


def test_who_ignores_that_signal_ends_too(stable: Stable) -> None:
    source = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\ndef f(x):\n    while True:\n        pass\n"
    assert "stopped by the system" in said(stable, source, limits=SHORT)


def test_who_sleeps_is_waited_for_so_long(stable: Stable) -> None:
    began = time.monotonic()
    why = said(stable, "import time\ndef f(x):\n    time.sleep(1000)\n", limits=Limits(wait=1))
    assert "it had not answered after 1 seconds" in why and time.monotonic() - began < 30


def test_memory_has_an_end(stable: Stable) -> None:
    assert "MemoryError" in tried(stable, "bytearray(10**10)")
    assert "allocate" in tried(stable, "import torch; torch.ones(10**10)")


def test_an_answer_without_end_is_none(stable: Stable) -> None:
    assert said(stable, "import torch\ndef f(x):\n    return torch.zeros(1).expand(10**6, 10**6)\n", limits=SHORT)
    assert "of 1000" in said(stable, "def f(x):\n    return list(range(10**6))\n")
    deep = "def f(x):\n    x = []\n    for _ in range(9**4):\n        x = [x]\n    return x\n"
    assert "it raised RecursionError" in said(stable, deep)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("import os; os._exit(0)", "it ended the whole process"),
        ("import sys; sys.exit(0)", "it raised SystemExit"),
        ("import os; os.abort()", "SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("f()", "RecursionError"),
        ("raise KeyboardInterrupt", "it raised KeyboardInterrupt"),
        ("import os; os.close(3)", "it ended the whole process"),
        ("import os, time; os.close(3); time.sleep(0.5)", "it ended the whole process"),  # as on a busy machine
    ],
)
def test_who_ends_its_process_ends_only_that(statement: str, words: str, stable: Stable) -> None:
    if statement == "f()":
        assert words in said(stable, "def f(*x):\n    return f(*x)\n")
    else:
        assert words in tried(stable, statement)
    assert said(stable, SYMLOG) == ""


# --- Answers that are none --------------------------------------------------------------------------------------------

FORGED = """
import json, os, struct
def f(x):
    header, rest = json.dumps({header}).encode(), {rest}
    os.write(3, struct.pack("!QQQ", {sizes}) + header + rest)
    os._exit(0)
"""


@pytest.mark.parametrize(
    ("header", "rest", "sizes"),
    [
        ("{'answer': {'plain': True}, 'tensors': []}", "b''", "len(header), 0, 0"),
        ("{'right': True, 'tensors': []}", "b''", "len(header), 0, 0"),
        ("{}", "b''", "len(header), 0, 0"),
        ("{}", "b''", "2**62, 0, 0"),
        ("{'tensors': []}", "b'cos\\nsystem\\n(S\"true\"\\ntR.'", "len(header), 0, len(rest)"),
        ("{'answer': {'tensor': 5}, 'tensors': []}", "b''", "len(header), 0, 0"),
        ("{'answer': {'tensor': 0}, 'tensors': [{'dtype': 'float32', 'shape': [2**40]}]}", "b''", "len(header), 0, 0"),
        ("{'answer': {'tensor': 0}, 'tensors': [{'dtype': 'float32', 'shape': [-1]}]}", "b''", "len(header), 0, 0"),
        ("[1]", "b''", "len(header), 0, 0"),
        ("{'answer': {'odd': ['x']}, 'tensors': []}", "b''", "len(header), 0, 0"),
        ("{'raised': {'kind': [1], 'line': 'x'}, 'tensors': []}", "b''", "len(header), 0, 0"),
    ],
)
def test_a_message_of_its_own_making_is_no_answer(header: str, rest: str, sizes: str, stable: Stable) -> None:
    source = FORGED.replace("{header}", header).replace("{rest}", rest).replace("{sizes}", sizes)
    assert said(stable, source)


def test_only_numbers_that_are_right_are_right() -> None:
    """The reader of messages gives plain values, tensors and arrays, and nothing of another kind."""
    assert wire.rebuild({"other": "Right", "repr": "right, in all 9 cases."}, []) is not None
    for told in ({"other": 1}, {"plain": []}, {"call": "print"}, [], None, {"dict": {"a": {"tensor": 3}}}):
        with pytest.raises(Garbled):
            wire.rebuild(told, [])


def test_who_drips_is_not_waited_for_longer_than_anyone() -> None:
    mine, theirs = socket.socketpair()

    def drip() -> None:
        for _ in range(30):
            try:
                theirs.send(b"\0")
            except OSError:
                return
            time.sleep(0.05)

    thread = threading.Thread(target=drip)
    thread.start()
    with mine, pytest.raises(TimeoutError):
        wire.receive(mine, seconds=0.3)
    theirs.close()
    thread.join()


def test_messages_arrive_as_they_were_sent() -> None:
    mine, theirs = socket.socketpair()
    given = [
        torch.tensor(3.0),
        torch.zeros(0, 2),
        torch.arange(6).reshape(2, 3).T,
        torch.tensor([True]),
        torch.ones(2).bfloat16(),
    ]
    with mine, theirs:
        wire.send(mine, Message({"a": [1, None, 0.5]}, given))
        got = wire.receive(theirs)
    assert got.header == {"a": [1, None, 0.5]} and not got.pickled
    for sent, came in zip(given, got.tensors, strict=True):
        assert sent.dtype == came.dtype and torch.equal(sent, came)


# --- The other side of the wall looks like a function -----------------------------------------------------------------

# Right and wrong functions of parts that need gradients, functions, arrays or chance.
FUNCTIONS = {
    "without gradient to some": ("gaussian_kl", "return ((x[1] - x[3]).exp() * 0.5).sum(-1)"),
    "a list": ("gaussian_kl", "return [x[0], x[1]]"),
    "NumPy": ("gaussian_kl", "return x[0].detach().numpy().sum(-1)"),
    "in place": ("gaussian_kl", "x[0][0] = 1\nreturn x[0].sum(-1)"),
    "an input": ("gaussian_kl", "return x[0]"),
    "nothing": ("gaussian_kl", "return None"),
    "a number": ("gaussian_kl", "return float('nan')"),
    "sparse": ("gaussian_kl", "return x[0].to_sparse()"),
    "an error": ("gaussian_kl", "return nothing(x[0])"),
    "a net": ("dynamics_step", "m, s = x[2](torch.cat(x[:2], 1)).chunk(2, 1)\nreturn m, -10 + 12 * s.sigmoid()"),
    "a net, cut off": (
        "dynamics_step", "m, s = x[2](torch.cat(x[:2], 1)).chunk(2, 1)\nreturn m.detach(), -10 + 12 * s.sigmoid()",
    ),
    "a dream, cut off": ("pathwise_dream", """
s, states, actions = x[0], [x[0]], []
for e in x[3].unbind(1):
    mean, std = x[1](s)
    actions.append((mean + std * e).detach())
    s = x[2](s, actions[-1])
    states.append(s)
return {"latent": torch.stack(states, 1), "action": torch.stack(actions, 1)}
"""),
    "a dream, asked twice": ("imagination", """
s, states, actions, rewards = x[0], [x[0]], [], []
for _ in range(x[4]):
    actions.append(x[1](s))
    s = x[2](s, x[1](s))
    states.append(s)
    rewards.append(x[3](s))
columns = {"latent": states, "action": actions, "reward": rewards}
return {name: torch.stack(column, 1) for name, column in columns.items()}
"""),
    "rows that are gone": (
        "replay_sample",
        "first = x[4].integers(0, x[1] - x[3] + 1, x[2])\nreturn (first[:, None] + np.arange(x[3])) % len(x[0])",
    ),
    "another generator": (
        "replay_sample", "first = np.random.randint(0, 3, x[2])\nreturn first[:, None] + np.arange(x[3])",
    ),
    "a wrong sample": ("sample", "return x[0] + x[1] * torch.randn_like(x[0])"),
    "a right sample": ("sample", "return torch.distributions.Normal(x[0], (x[1] / 2).exp()).rsample()"),
    "whole numbers": ("updates_due", "return ((x[0] - x[1]) * x[2] // (x[3] * x[4])).long()"),
}  # fmt: skip


def function_of(name: str) -> tuple[str, str]:
    """Part and source of one of them."""
    part, body = FUNCTIONS[name]
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return part, f"import numpy as np\nimport torch\ndef f(*x):\n{lines}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_check_says_the_same_of_a_function_in_another_process(name: str, stable: Stable) -> None:
    part, source = function_of(name)
    space: dict[str, Any] = {}
    exec(source, space)
    here, there = problem_of(PARTS[part], space["f"]), said(stable, source, part)
    assert bool(here) == bool(there)
    if name == "in place":
        assert "in place" in there
    elif part != "sample":  # other draws, the same verdict
        assert there.splitlines()[:1] == here.splitlines()[:1]
        known = [[line for line in said.splitlines() if "Known" in line] for said in (here, there)]
        assert known[0] == known[1]


def test_a_function_that_does_not_take_the_arguments_is_told_so(stable: Stable) -> None:
    assert "it is called with 1 arguments, and does not take that" in said(stable, "def f(x, y):\n    return x")
    assert said(stable, "f = 3") == "f is 3 (int); it must be a function."
    assert said(stable, "g = 3") == "after its cells have run there is no f."


def test_hidden_variants_reach_a_function_with_its_rules(stable: Stable) -> None:
    part, source = function_of("a net")
    with Remote(stable, LIMITS) as function:
        assert not function.load(Task("f", 3, [{"file": "cell 1", "line": 1, "source": source}], {"cell 1": source}))
        assert problem_of(hidden_parts(1, 0)[part], function) == ""


# --- Said plainly -----------------------------------------------------------------------------------------------------


def test_what_a_machine_does_not_offer_is_said() -> None:
    assert "Grade strangers on another one" in str(Walls(False, False, "unshare: Operation not permitted"))
    assert "Grade strangers" not in str(Walls(True, True))


@pytest.mark.parametrize("machine", calls.NUMBERS)
def test_a_filter_answers_whatever_is_called(machine: str) -> None:
    """Run as the kernel runs it: every path ends in an answer, and the calls that a function needs are allowed."""
    code = calls.program(machine, pid=77)
    numbers = calls.NUMBERS[machine]

    def answer(number: int, *arguments: int, architecture: int = calls.ARCHITECTURES[machine]) -> int:
        data = struct.pack("IIQ6Q", number, architecture, 0, *(*arguments, *[0] * (6 - len(arguments))))
        at, value = 0, 0
        while True:
            operation, yes, no, operand = code[at]
            at += 1
            if operation == calls.LOAD:
                (value,) = struct.unpack_from("I", data, operand)
            elif operation == calls.RETURN:
                return operand
            else:
                holds = {
                    calls.EQUAL: value == operand,
                    calls.ANY_BIT: bool(value & operand),
                    calls.AT_LEAST: value >= operand,
                }
                at += yes if holds[operation] else no

    for name in numbers.keys() - calls.BY_ARGUMENT:
        assert answer(numbers[name]) != calls.ALLOW, name
    assert answer(numbers["socket"], architecture=1) != calls.ALLOW
    assert answer(0x40000000) != calls.ALLOW and answer(500) == calls.ALLOW
    assert answer(numbers["kill"], 77, 9) == calls.ALLOW and answer(numbers["kill"], 78, 9) != calls.ALLOW
    assert answer(numbers["clone"], calls.CLONE_THREAD) == calls.ALLOW and answer(numbers["clone"], 17) != calls.ALLOW
    assert answer(numbers["openat"], 0, 0, os.O_RDONLY | os.O_CLOEXEC) == calls.ALLOW
    assert answer(numbers["openat"], 0, 0, os.O_RDWR) != calls.ALLOW
    assert answer(numbers["prlimit64"], 0) == calls.ALLOW and answer(numbers["prlimit64"], 1) != calls.ALLOW
