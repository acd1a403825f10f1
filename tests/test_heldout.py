"""The held-out mistakes can be made, are counted once, and a test that fails anyway does not count."""

import ast
import json
import re
from functools import partial
from pathlib import Path

import heldout
import pytest
from heldout import FIRST, ROOT, Copy, Mistake, batch, kept, line

BATCHES = (1, 2, 3)
EVERY = [mistake for number in BATCHES for mistake in batch(number)]


@pytest.mark.parametrize("mistake", EVERY, ids=lambda mistake: mistake.name)
def test_each_can_be_made(mistake: Mistake) -> None:
    source = (ROOT / mistake.file).read_text()
    assert source.count(mistake.was) == 1, f"{mistake.file} was rewritten: say the mistake in its new words"
    changed = source.replace(mistake.was, mistake.becomes)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))  # more than a comment or the layout


def test_there_are_sixty_and_no_two_of_a_name() -> None:
    assert len({mistake.name for mistake in EVERY}) == len(EVERY) >= 60
    assert len({mistake.file for mistake in EVERY}) > 20


def test_the_readme_says_what_was_found_at_the_first_try() -> None:
    assert f"`{line(kept(FIRST))}`" in (ROOT / "README.md").read_text()
    for number, found in kept(FIRST).items():
        assert found.keys() == {mistake.name for mistake in batch(int(number))}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    """A repository of one module and three tests, of which one always fails and one reads texts."""
    root = tmp_path / "repository"
    for folder in ("wm_tutorial", "tests", "tools"):
        (root / folder).mkdir(parents=True)
    (root / "wm_tutorial" / "__init__.py").touch()
    (root / "wm_tutorial" / "half.py").write_text("def half(x: float) -> float:\n    return x / 2\n")
    use = "from wm_tutorial.half import half\n\n"
    (root / "tests" / "test_half.py").write_text(f"{use}def test_broken():\n    assert half(2) == 7\n")
    (root / "tests" / "test_other.py").write_text(f"{use}def test_zero():\n    assert half(0) == 0\n")
    (root / "tests" / "test_book.py").write_text(f"{use}def test_text():\n    assert half(4) == 2\n")
    monkeypatch.setattr(heldout, "ROOT", root)
    monkeypatch.setattr(heldout, "COPIED", ("wm_tutorial", "tests", "tools"))
    (tmp_path / "copy").mkdir()
    return Copy(tmp_path / "copy")


@pytest.mark.parametrize(("becomes", "test"), [("x / 2 + 1", "tests/test_other.py::test_zero"), ("x / 3", "")])
def test_a_mistake_is_noticed_by_a_test_that_passes_without_it_and_is_about_the_code(
    small: Copy, becomes: str, test: str
) -> None:
    slip = Mistake("slip", "wm_tutorial/half.py", "x / 2", becomes, "", "", 1)
    assert small.noticed(slip)["test"] == test
    assert "x / 2" in (small.root / "wm_tutorial" / "half.py").read_text()


def test_tests_that_name_what_is_changed_come_first() -> None:
    source = "def one():\n    return 1\n\nclass Two:\n    def __init__(self):\n        self.x = 2\n\nLAST = 3\n"
    for was, around in (("return 1", "one"), ("= 2", "Two"), ("= 3", "")):
        assert Mistake("slip", "", was, "", "", "", 1).around(source) == around


def test_mistakes_that_change_nothing_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    slip = partial(Mistake, file="", was="", becomes="", wrong="", matters="", subtlety=1)
    monkeypatch.setattr(heldout, "batch", lambda number: [slip("one"), slip("two"), slip("three", equivalent="dead")])
    found = {"one": {"test": "tests/a.py"}, "two": {"test": ""}, "three": {"test": ""}}
    assert line({"1": found}).endswith("first try: 1 of 2 in batch 1 (1 left out that changes nothing)")


def test_what_stands_there_twice_cannot_be_made(small: Copy) -> None:
    with (
        pytest.raises(SystemExit, match="stands 2 times"),
        Mistake("m", "wm_tutorial/half.py", "x", "", "", "", 1).made(small.root),
    ):
        pass


def test_a_first_try_is_of_a_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["heldout.py", "1", "--first", "--only", batch(1)[0].name])
    with pytest.raises(SystemExit, match="whole batch"):
        heldout.main()


def test_batches_that_are_not_there_are_named() -> None:
    with pytest.raises(SystemExit, match=re.escape("no batch 9; there are: 1, 2, 3")):
        batch(9)


def test_the_files_are_json_lists() -> None:
    assert all(isinstance(json.loads(path.read_text()), list) for path in heldout.FOLDER.glob("batch_*.json"))
