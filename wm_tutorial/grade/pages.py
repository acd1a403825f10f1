"""The look of the pages: plain HTML that needs nothing else, in which whatever students wrote is text."""

import html
import unicodedata
from collections.abc import Iterable, Sequence

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}
table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #8888;padding:.3rem .6rem;text-align:left;
vertical-align:top}td.n{text-align:right}pre{background:#8881;padding:.6rem;overflow-x:auto;white-space:pre-wrap}
.right{border-left:.3rem solid #2a7;padding-left:.8rem}.other{border-left:.3rem solid #d80;padding-left:.8rem}
mark{background:#fd06;color:inherit}.quiet{opacity:.75}
"""


def page(title: str, *parts: str) -> str:
    """A whole page."""
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{text(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n<h1>{text(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def text(told: object) -> str:
    """As it is, for people."""
    return html.escape(readable(str(told)))


def readable(told: str) -> str:
    """The same, with a mark in the place of what no page can show: halves of characters, bells, turned directions."""
    return "".join(one if one in "\n\t" or unicodedata.category(one)[0] != "C" else "\ufffd" for one in told)


class Written(str):
    """HTML already, and not text."""


def link(told: object, address: str) -> Written:
    """To another page."""
    return Written(f'<a href="{text(address)}">{text(told)}</a>')


def paragraph(told: object, kind: str = "") -> str:
    """A paragraph of text."""
    return f'<p class="{kind}">{text(told)}</p>' if kind else f"<p>{text(told)}</p>"


def items(told: Iterable[object]) -> str:
    """A list."""
    lines = "".join(f"<li>{text(one)}</li>" for one in told)
    return f"<ul>{lines}</ul>" if lines else ""


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; numbers stand at the right."""
    head = "".join(f"<th>{text(one)}</th>" for one in header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(told: object) -> str:
    if isinstance(told, int | float):
        return f'<td class="n">{told:g}</td>'
    return f"<td>{told if isinstance(told, Written) else text(told)}</td>"


def code(source: str, first: int, marked: int) -> str:
    """Lines with their numbers in the cell; one of them is marked."""
    lines = []
    for number, line in enumerate(source.splitlines(), first):
        shown = f"{number:3d}  {text(line)}"
        lines.append(f"<mark>{shown}</mark>" if number == marked else shown)
    return "<pre>" + "\n".join(lines) + "</pre>"
