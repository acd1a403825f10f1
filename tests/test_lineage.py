"""The table of the presets: what it says is what the presets have, and every value has a source."""

import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from wm_tutorial import lineage
from wm_tutorial.config import PRESETS, SIZES, Config, make_config, section_options, sizes_of
from wm_tutorial.presets import DIFFERENCES, REPOSITORIES, TABLE, WIDTHS, Cell

LINEAGE = [name for name in PRESETS if name != "guide"]
PAGE = Path(__file__).parent.parent / "book" / "presets.md"
LINES = {line.option: line for line in lineage.side_by_side()}
ELSEWHERE = ("The run", "Reports and machine")  # sections whose options no source has, but for the length of the run


def reference(preset: str) -> dict[str, Any]:
    """A preset as large as its source has it."""
    return asdict(make_config(preset, "size1m" if preset == "dreamer_v3" else "paper"))


def cells(preset: str) -> dict[str, Cell]:
    return {option: cell for option, line in LINES.items() if (cell := line.cells[preset]) is not None}


# --- The data ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", LINEAGE)
def test_every_value_that_a_preset_sets_has_a_source(preset: str) -> None:
    found = cells(preset)
    assert set(found) == set(PRESETS[preset].options) | set(PRESETS[preset].paper or SIZES["size1m"])
    for option, cell in found.items():
        assert re.search(r"\w+\.(py|yaml)|^paper, table D\.1", cell.source), option
        assert cell.theirs != lineage.shown(cell.value), option


@pytest.mark.parametrize("preset", LINEAGE)
def test_the_values_of_the_table_are_those_of_the_preset(preset: str) -> None:
    config, usual = reference(preset), asdict(Config())
    found = cells(preset)
    assert {option: cell.value for option, cell in found.items()} == {option: config[option] for option in found}
    untouched = set(config) - set(found) - {"preset", "size"}
    assert all(config[option] == usual[option] for option in untouched)


def test_every_option_of_an_agent_is_in_the_table() -> None:
    sections = {section: options for section, options in section_options().items() if section not in ELSEWHERE}
    assert [option for option in LINES if option != "steps"] == [o for options in sections.values() for o in options]
    assert set(TABLE) == set(LINES) and set(WIDTHS) < set(LINES)
    assert all(any(line.cells.values()) for line in LINES.values())


def test_every_column_belongs_to_a_preset_and_says_what_is_not_in_its_numbers() -> None:
    assert list(REPOSITORIES) == list(DIFFERENCES) == LINEAGE
    for said in DIFFERENCES.values():
        assert len(set(said)) == len(said) >= 5 and all(line.endswith(".") for line in said)


def test_only_the_small_sizes_of_v3_mix_chance_into_the_policy() -> None:
    shares = {size: make_config("dreamer_v3", size).policy_unimix for size in sizes_of("dreamer_v3")}
    assert shares == dict.fromkeys(SIZES, 0.0) | {"nano": 0.01, "micro": 0.01}


# --- What is nano's own -----------------------------------------------------------------------------------------------


def test_every_value_that_is_nanos_own_is_marked_and_no_other() -> None:
    nano, theirs = asdict(make_config("dreamer_v3")), reference("dreamer_v3")
    own = {option for option in nano if nano[option] != theirs[option] and option != "size"}
    assert {option for option, line in LINES.items() if line.own} == own
    assert {option for option, line in LINES.items() if line.shown()[-1].endswith(" *")} == own
    assert lineage.own_values("dreamer_v3") == {option: (theirs[option], nano[option]) for option in own}
    widths = own & set(WIDTHS)
    counted = [int(number) for number in re.findall(r"\d+", lineage.summary())]
    assert counted == [len(own), len(widths), len(own - widths)]


@pytest.mark.parametrize("preset", LINEAGE)
def test_the_page_names_what_nano_changes_in_every_preset(preset: str) -> None:
    changed = {option for option in lineage.own_values(preset) if option not in WIDTHS}
    said = lineage.own_of(preset)
    assert set(re.findall(r"`(\w+)` ", said)) - {"nano"} == changed
    assert f"changes {len(changed)} of" in said


# --- What is printed --------------------------------------------------------------------------------------------------


def test_the_table_is_aligned_and_marks_what_the_source_has_otherwise() -> None:
    head, *rest = lineage.text().split("\n")
    starts = [found.start() for found in re.finditer(r"(?<=  )\S", head)]
    rows = {line.split()[0]: line for line in rest if re.match(r"[a-z_]+  ", line)}
    assert list(rows) == list(LINES)
    for option, row in rows.items():
        printed = [row[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
        assert printed == LINES[option].shown()
        for text, cell in zip(printed, LINES[option].cells.values(), strict=False):
            assert (text == "-") == (cell is None)
            assert text.endswith(" ~") == bool(cell and cell.theirs)


def test_values_are_shown_as_a_person_writes_them() -> None:
    shown = [lineage.shown(value) for value in (True, False, 1_000_000, 4e-5, float("inf"), 0.997002, "gru")]
    assert shown == ["yes", "no", "1,000,000", "4e-05", "inf", "0.997", "gru"]


def test_the_page_of_the_book_is_the_one_that_is_printed() -> None:
    assert PAGE.read_text() == lineage.page(), "older than the presets: wm-tutorial presets --form page > " + str(PAGE)


def test_the_page_shows_every_value_every_source_and_every_difference() -> None:
    page = PAGE.read_text()
    for preset, (repository, commit, _) in REPOSITORIES.items():
        (part,) = re.findall(rf"^## {preset}\n(.+?)(?=^## |\Z)", page, re.M | re.S)
        assert f"https://github.com/{repository}/tree/{commit}" in part
        assert re.findall(r"^- (.+)$", part, re.M) == list(DIFFERENCES[preset])
        rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", part, re.M)
        expected = [(o, lineage.shown(c.value), c.theirs or "the same", c.source) for o, c in cells(preset).items()]
        assert rows == expected
    assert len(fields(Config)) > len(LINES) > 40
