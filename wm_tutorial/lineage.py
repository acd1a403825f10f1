"""The presets side by side: value by value, what is as in the source, what is not, and what is nano's own.

    print(text())

`wm-tutorial presets --form table` prints it, and `--form page` the page of the book.
"""

from dataclasses import asdict, dataclass
from typing import Any

from wm_tutorial.config import make_config, section_options
from wm_tutorial.presets import DIFFERENCES, REPOSITORIES, TABLE, WIDTHS, Cell

REFERENCE_SIZES = {"planet": "paper", "dreamer_v1": "paper", "dreamer_v2": "paper", "dreamer_v3": "size1m"}


@dataclass(frozen=True)
class Line:
    """One option.

    option   its name
    section  of `Config` it stands in
    cells    its value in each preset, and the source; None where it plays no part
    nano     its value in `dreamer_v3`, size `nano`
    own      whether that is nano's own, and not the reference's
    """

    option: str
    section: str
    cells: dict[str, Cell | None]
    nano: Any
    own: bool

    def shown(self) -> list[str]:
        """The values as they are printed: ~ where the source has another, * where it is nano's own, - for no part."""
        marks = {name: "-" if cell is None else shown(cell.value) for name, cell in self.cells.items()}
        for name, cell in self.cells.items():
            if cell is not None and cell.theirs:
                marks[name] += " ~"
        return [*marks.values(), shown(self.nano) + (" *" if self.own else "")]


def shown(value: Any) -> str:
    """A value as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def own_values(preset: str, size: str = "nano") -> dict[str, tuple[Any, Any]]:
    """What `size` changes: each option with the value of the reference's size and its own; its name is left out."""
    theirs, ours = (asdict(make_config(preset, other)) for other in (REFERENCE_SIZES[preset], size))
    return {name: (theirs[name], ours[name]) for name in ours if name != "size" and theirs[name] != ours[name]}


def side_by_side() -> list[Line]:
    """Every option that some preset sets, in the order of `Config`."""
    nano, own = asdict(make_config("dreamer_v3", "nano")), own_values("dreamer_v3")
    return [
        Line(option, section, dict(zip(REPOSITORIES, TABLE[option], strict=True)), nano[option], option in own)
        for section, options in section_options().items()
        for option in options
        if option in TABLE
    ]


def summary() -> str:
    """What the marks mean, and how many values are nano's own."""
    own = own_values("dreamer_v3")
    beyond = [name for name in own if name not in WIDTHS]
    return (
        f"~ the source has something else, - plays no part, * nano's own: {len(own)} values differ from those of "
        f"the reference's smallest size, {len(own) - len(beyond)} of them widths and {len(beyond)} not."
    )


def text() -> str:
    """The table for a terminal, aligned."""
    lines = side_by_side()
    head = ["", *(f"{name} {size}" for name, size in REFERENCE_SIZES.items()), "nano"]
    rows = [[line.option, *line.shown()] for line in lines]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    printed = ["  ".join(cell.ljust(width) for cell, width in zip(head, widths, strict=True)).rstrip()]
    section = ""
    for line, row in zip(lines, rows, strict=True):
        if line.section != section:
            section = line.section
            printed += ["", section]
        printed.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return "\n".join([*printed, "", summary()])


def page() -> str:
    """The page of the book: the table, the source of every value, and what is not in the numbers."""
    parts = [PAGE.format(summary=summary().replace("*", "\\*").replace("~", "\\~"))]
    for section in section_options():
        lines = [line for line in side_by_side() if line.section == section]
        if lines:
            parts.append(f"### {section}\n\n{table_of(lines)}")
    for name, (repository, commit, paper) in REPOSITORIES.items():
        address = f"https://github.com/{repository}/tree/{commit}"
        parts.append(
            f"## {name}\n\n{paper}; a file is one of [{repository}]({address}) at {commit}.\n\n"
            "Not in the numbers:\n\n"
            + "\n".join(f"- {said}" for said in DIFFERENCES[name])
            + f"\n\nWhere each value comes from:\n\n{sources_of(name)}\n\n{own_of(name)}"
        )
    return "\n\n".join(parts) + "\n"


def table_of(lines: list[Line]) -> str:
    """Some options side by side, as Markdown."""
    head = " | ".join(f"{name}<br>{size}" for name, size in REFERENCE_SIZES.items())
    rows = [
        f"| `{line.option}` | "
        + " | ".join(cell.replace("*", "\\*").replace("~", "\\~") for cell in line.shown())
        + " |"
        for line in lines
    ]
    return "\n".join([f"| | {head} | dreamer_v3<br>nano |", "|---|" + "---|" * (len(REFERENCE_SIZES) + 1), *rows])


def sources_of(preset: str) -> str:
    """Every value of one preset with its source, as Markdown."""
    cells = {line.option: line.cells[preset] for line in side_by_side()}
    rows = [
        f"| `{option}` | {shown(cell.value)} | {cell.theirs or 'the same'} | {cell.source} |"
        for option, cell in cells.items()
        if cell is not None
    ]
    return "\n".join(["| option | here | in the source | where |", "|---|---|---|---|", *rows])


def own_of(preset: str) -> str:
    """What the size `nano` changes beyond the widths, as a sentence."""
    changed = {name: values for name, values in own_values(preset).items() if name not in WIDTHS}
    told = ", ".join(f"`{name}` {shown(ours)} ({shown(theirs)})" for name, (theirs, ours) in changed.items())
    return f"Beyond the widths, `nano` changes {len(changed)} of these values; in parentheses what they were: {told}."


PAGE = """# The presets and their sources

Written by `wm-tutorial presets --form page`. The presets are the world models and agents of their papers in the layers
of this package. This table says value by value what is as in the source and what is not; the lists below it say what
differs besides. PlaNet, V1 and V2 have the widths of their papers, V3 those of the reference's smallest size; `nano` is
the size for a laptop that the course trains. Numbers are counted per action, as Gymnasium does: an update for every 10
frames of an environment that repeats each action twice is one for every 5 actions.

{summary}

## Side by side"""
