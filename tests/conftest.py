"""`pytest --bug NAME` runs the tests while a mistake of the zoo is out: whoever imports the package imports it, too."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import torch

from wm_tutorial import zoo


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bug", choices=list(zoo.BUGS), help="let this mistake of the bug zoo out while the tests run")


def pytest_configure() -> None:
    torch.set_num_threads(1)  # tests that compare numbers to the last bit need one, however pytest is started
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in the background of a script; tests of Ctrl-C need it
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Iterator[None]:
    with ExitStack() as stack:
        if name := config.getoption("--bug"):
            stack.enter_context(zoo.bug(name))
        return (yield)
