"""What of a notebook an exercise needs: its function, and the statements that this one depends on, in order."""

import ast
import builtins
import json
import re
import symtable
from collections.abc import Iterator
from dataclasses import dataclass, field

from wm_tutorial.grade.exercises import Cell, Chapter, Exercise, shape_of, tagged, text_of

MAGIC = re.compile(r"^(\s*)(?:[%!?].*|[^#'\"\n]*\?\??)$", re.MULTILINE)  # %matplotlib, !pip, ?help, help?
CELL_MAGIC = re.compile(r"%%(time|timeit|capture)\b")  # around a cell that is Python all the same


@dataclass(frozen=True)
class Statement:
    """A statement on the top level of a cell.

    place  number of the cell among all cells, from 0
    file   the cell's name in tracebacks
    line   its first line in the cell, from 1
    binds  the names it gives a value
    uses   the names of the notebook it needs, by then or when its functions are called
    own    whether the student wrote the cell
    """

    place: int
    file: str
    line: int
    source: str
    node: ast.stmt
    binds: frozenset[str]
    uses: frozenset[str]
    own: bool

    @property
    def stub(self) -> bool:
        """Whether it is a function that only says that it is to be written: a docstring at most, and the raise."""
        body = self.node.body if isinstance(self.node, ast.FunctionDef) else []
        return 0 < len(body) <= 2 and isinstance(body[-1], ast.Raise) and "NotImplementedError" in self.source


@dataclass
class Notebook:
    """A handed-in notebook, taken apart.

    cells       its code cells, with their place among all cells
    statements  of the cells that are Python
    broken      what is wrong with the others, by place
    solutions   names bound by the folded solutions, if they are in it
    """

    chapter: Chapter
    cells: list[tuple[int, Cell]] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)
    solutions: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, text: str, chapter: Chapter) -> "Notebook":
        """Take a notebook apart; raises ValueError if the file is none."""
        whole = json.loads(text)
        if not isinstance(whole, dict) or not isinstance(whole.get("cells"), list):
            raise ValueError("it has no cells")
        return cls.of_cells([pair for pair in enumerate(whole["cells"]) if isinstance(pair[1], dict)], chapter)

    @classmethod
    def of_cells(cls, cells: list[tuple[int, Cell]], chapter: Chapter) -> "Notebook":
        """Take cells apart, each with its place."""
        notebook = cls(chapter)
        for stub in chapter.stubs:  # its imports were there when it was run, also if the student has written over them
            found = statements({"source": stub}, -1, own=False)
            notebook.statements += [one for one in found if _is_import(one.node)]
        folded = {exercise.solution.strip() for exercise in chapter.exercises}
        for place, cell in cells:
            if cell.get("cell_type") != "code":
                continue
            notebook.cells.append((place, cell))
            source = text_of(cell).strip()
            solution = tagged(cell, "solution") or source in folded
            try:
                parts = list(statements(cell, place, source not in chapter.given and not solution))
            except (SyntaxError, ValueError, RecursionError) as error:
                line = getattr(error, "lineno", 0) or 0
                notebook.broken[place] = f"line {line}: {getattr(error, 'msg', error)}"
                continue
            if solution:
                notebook.solutions |= {name for one in parts for name in one.binds if not _is_import(one.node)}
            notebook.statements += parts
        return notebook

    def text(self, file: str) -> str:
        """A cell by its name in tracebacks."""
        return next((plain(text_of(cell)) for place, cell in self.cells if name_of(place) == file), "")

    def with_solution(self, exercise: Exercise, before: Statement) -> "Notebook | None":
        """The same with the folded solution of an exercise, under the student's name for it, before a statement."""
        if (own := self.answer(exercise)) is None:
            return None
        name = next(name for name in self.names(exercise) if name in own.binds)
        function, _, _ = exercise.solution.partition("\n\n\ncheck.")
        solved = {"cell_type": "code", "source": re.sub(r"\bsolved_\w+(?=\()", name, function, count=1)}
        cells = [pair for pair in self.cells if pair[0] < before.place and pair[0] != own.place]
        return self.of_cells(
            [*cells, (before.place, solved), *(p for p in self.cells if p[0] >= before.place)], self.chapter
        )

    # --- The function of an exercise ----------------------------------------------------------------------------------

    def answer(self, exercise: Exercise) -> Statement | None:
        """What gives the exercise's function: what the student wrote last before the check; a stub if nothing else."""
        limit = self.checked(exercise)
        names = self.names(exercise)
        for stub in (False, True):
            for name in names:
                there = [one for one in self.statements if one.own and name in one.binds and one.stub == stub]
                there = there or [
                    one for one in self.statements if stub and one.stub and name in one.binds
                ]  # untouched, in a copy without ids
                if there:
                    return ([one for one in there if one.place <= limit] or there)[-1]
        return None

    def names(self, exercise: Exercise) -> list[str]:
        """Names that its function may have: as handed out, or as the student calls the check."""
        asked = [name for _, name in self._calls(exercise)]
        others = {other.function for other in self.chapter.exercises if other.number != exercise.number}
        renamed = [name for name in asked if name not in others and name not in self.solutions]
        return list(dict.fromkeys([exercise.function, *renamed]))

    def checked(self, exercise: Exercise) -> int:
        """The place of the last cell in which the check is called, or the last place of all."""
        return max((place for place, _ in self._calls(exercise)), default=10**9)

    def _calls(self, exercise: Exercise) -> Iterator[tuple[int, str]]:
        """Where the check of this exercise is called, and for which name; not those for another exercise's function."""
        others = [other for other in self.chapter.exercises if other.number != exercise.number]
        functions, checks = {other.function for other in others}, {other.check for other in others}
        for place, cell in self.cells:
            if tagged(cell, "solution") or cell.get("id") in checks:
                continue
            for name in re.findall(rf"\bcheck\.{exercise.part}\((\w+)\)", text_of(cell)):
                if name not in functions:
                    yield place, name

    # --- What it depends on -------------------------------------------------------------------------------------------

    def needed(self, answer: Statement, exercise: Exercise) -> list[Statement]:
        """The answer, and the statements it depends on, in the order of the notebook."""
        checked = self.checked(exercise)
        limit = max(answer.place, checked if checked < 10**9 else answer.place)
        taken: dict[int, Statement] = {id(answer): answer}
        wanted, known = [(name, answer) for name in answer.uses], set(answer.binds)
        while wanted:
            name, user = wanted.pop()
            if name in known and name not in user.binds:
                continue
            known.add(name)
            for one in self._binders(name, limit, user):
                if id(one) not in taken:
                    taken[id(one)] = one
                    wanted += [(other, one) for other in one.uses]
        kept = {name for one in taken.values() for name in one.uses} | answer.binds
        order = {id(one): number for number, one in enumerate(self.statements)}
        return [_narrowed(one, kept) for one in sorted(taken.values(), key=lambda one: order[id(one)])]

    def _binders(self, name: str, limit: int, user: Statement) -> list[Statement]:
        """The statement that gives `name` its value at the check, and those of the student that change it."""
        binding = [one for one in self.statements if name in one.binds and one is not user]
        if not binding:
            if hasattr(builtins, name):
                return []
            return [one for one in self.statements if "*" in one.binds]
        written = [one for one in binding if not one.stub] or binding
        last = ([one for one in written if one.place <= limit] or written[:1])[-1]
        changes = [
            one
            for one in self.statements
            if one.own and not _is_import(last.node) and _changes(one.node) == name and one.place <= limit
        ]
        earlier = self._binders(name, limit, last) if name in last.uses and not _is_definition(last.node) else []
        return [*earlier, last, *changes]


def name_of(place: int) -> str:
    """What a cell is called in messages, counted from 1."""
    return f"cell {place + 1}"


def plain(source: str) -> str:
    """A cell as Python alone: what only IPython understands does nothing, and lines keep their numbers."""
    if source.startswith("%%") and not CELL_MAGIC.match(source):
        return ""
    return MAGIC.sub(r"\1pass", source)


def statements(cell: Cell, place: int, own: bool) -> Iterator[Statement]:
    """The statements of a cell; raises SyntaxError if it is not Python."""
    source = plain(text_of(cell))
    for node in ast.parse(source).body:
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
        text = "\n".join(source.splitlines()[first - 1 : node.end_lineno])
        if node.col_offset or (node.end_col_offset or 0) < len(text.splitlines()[-1].encode()):
            text = ast.unparse(node)  # several on a line
        binds, uses = names_in(text)
        yield Statement(place, name_of(place), first, text, node, binds, uses, own)


def names_in(source: str) -> tuple[frozenset[str], frozenset[str]]:
    """Names that a statement binds, and names that it and its functions take from around it."""
    table = symtable.symtable(source, "<cell>", "exec")
    binds = {one.get_name() for one in table.get_symbols() if one.is_assigned() or one.is_imported()}
    uses = {one.get_name() for one in table.get_symbols() if one.is_referenced()}
    inside = list(table.get_children())
    while inside:
        scope = inside.pop()
        uses |= {one.get_name() for one in scope.get_symbols() if one.is_global() and one.is_referenced()}
        inside += scope.get_children()
    if re.search(r"^from \S+ import \*", source):
        binds.add("*")
    return frozenset(binds), frozenset(uses)


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _is_definition(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.ClassDef)


def _changes(node: ast.stmt) -> str:
    """The name whose value a statement changes in place: x[0] = .., x.a = .., x.append(..)."""
    target: ast.expr | None = None
    match node:
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute() as target]):
            pass
        case ast.Expr(value=ast.Call(func=ast.Attribute() as target)):
            pass
    while isinstance(target, ast.Subscript | ast.Attribute):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""


def _narrowed(one: Statement, kept: set[str]) -> Statement:
    """Of an import only the names that are needed: the rest may not be there."""
    node = one.node
    if not isinstance(node, ast.Import | ast.ImportFrom) or len(node.names) < 2:
        return one
    aliases = [alias for alias in node.names if (alias.asname or alias.name).partition(".")[0] in kept]
    if isinstance(node, ast.ImportFrom):
        fewer: ast.stmt = ast.ImportFrom(node.module, aliases, node.level)
    else:
        fewer = ast.Import(aliases)
    binds = frozenset((alias.asname or alias.name).partition(".")[0] for alias in aliases)
    return Statement(one.place, one.file, one.line, ast.unparse(fewer), fewer, binds, one.uses, one.own)


def folded(answer: Statement, exercise: Exercise) -> bool:
    """Whether the function is the folded solution, under whatever name."""
    if not isinstance(answer.node, ast.FunctionDef):
        return False
    return shape_of(answer.source, answer.node.name) == shape_of(exercise.solution, f"solved_{_root(exercise)}")


def _root(exercise: Exercise) -> str:
    """How the solution is called without solved_."""
    found = re.search(r"^def solved_(\w+)\(", exercise.solution, re.MULTILINE)
    return found[1] if found else exercise.function
