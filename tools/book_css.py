"""Styles without what no page can use: `make book` does it last.

The theme brings all of Bootstrap to every page. A rule stays if each class and each id of its selector is said
somewhere: by a page, or by a script, which may put it there later.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import tinycss2
from tinycss2.ast import FunctionBlock, HashToken, IdentToken, LiteralToken, Node

WITH_RULES = ("media", "supports", "layer", "container")
PUT_TOGETHER = re.compile(r"bs-(?:tooltip|popover)-\w+")  # by a script, out of parts of a word
ATTRIBUTE = re.compile(r'\b(?:class|id)="([^"]*)"')
WORD = re.compile(r"[\w-]+")
SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script>", re.DOTALL)


def words(pages: Iterable[str], scripts: Iterable[str]) -> set[str]:
    """Every class and id of the pages, and every word of the scripts, those within the pages, too."""
    found = set[str]()
    within = list[str]()
    for page in pages:
        found.update(*map(str.split, ATTRIBUTE.findall(page)))
        within += SCRIPT.findall(page)
    for script in chain(within, scripts):
        found.update(WORD.findall(script))
    return found


def slim(style: str, known: set[str]) -> str:
    """A style sheet without the selectors that ask for a class or an id which is not known."""
    rules = tinycss2.parse_stylesheet(style, skip_comments=True, skip_whitespace=True)
    return "".join(_kept(rules, known))


def _kept(rules: Iterable[Node], known: set[str]) -> Iterator[str]:
    for rule in rules:
        if rule.type == "qualified-rule":
            selectors = [part for part in _split(rule.prelude) if not _missing(part, known)]
            if selectors:
                told = ",".join(tinycss2.serialize(part).strip() for part in selectors)
                yield f"{told}{{{tinycss2.serialize(rule.content)}}}"
        elif rule.type == "at-rule" and rule.at_keyword in WITH_RULES and rule.content is not None:
            inside = "".join(_kept(tinycss2.parse_rule_list(rule.content, True, True), known))
            if inside:
                yield f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{inside}}}"
        else:
            yield rule.serialize()


def _split(prelude: list[Node]) -> Iterator[list[Node]]:
    """The selectors between the commas."""
    part: list[Node] = []
    for token in prelude:
        if isinstance(token, LiteralToken) and token.value == ",":
            yield part
            part = []
        else:
            part.append(token)
    yield part


def _missing(selector: list[Node], known: set[str]) -> bool:
    """Whether a selector asks for a class or an id that nothing has; of :is(a, b) one is enough, of :not() none."""
    before = None
    for token in selector:
        is_class = isinstance(token, IdentToken) and isinstance(before, LiteralToken) and before.value == "."
        if is_class or isinstance(token, HashToken):
            missing = token.value not in known and not PUT_TOGETHER.fullmatch(token.value)
        else:
            choices = isinstance(token, FunctionBlock) and token.lower_name in ("is", "where", "has")
            missing = choices and all(_missing(part, known) for part in _split(token.arguments))
        if missing:
            return True
        before = token
    return False


def slim_all(folder: Path, pages: list[Path], styles: Iterable[str]) -> None:
    """Write these style sheets of a built book anew, each without what it does not need."""
    scripts = (path.read_text() for path in sorted((folder / "_static").rglob("*.js")))
    known = words((path.read_text() for path in pages), scripts)
    for name in styles:
        path = folder / "_static" / name
        path.write_text(slim(path.read_text(), known))
