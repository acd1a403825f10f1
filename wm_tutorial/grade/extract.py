"""What of a notebook an exercise needs: its function, and the statements that this one depends on, in order."""

import ast
import builtins
import json
import re
import symtable
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from wm_tutorial.grade.exercises import Cell, Chapter, Exercise, shape_of, tagged, text_of

MAGIC = re.compile(  # %matplotlib, !pip, ?help, t = %timeit -o f(x), help?
    r"^([^\S\n]*)(?:[%!?].*|[\w, ]+=[^\S\n]*[%!].*|[^#'\"\n]*\?\??)$", re.MULTILINE
)
CELL_MAGIC = re.compile(r"%%(time|timeit|capture)\b")  # around a cell that is Python all the same
INDENTED = re.compile(r"(?:[^\S\n]*\n)*([^\S\n]+)(?=\S)")  # a cell that does not begin at the left
MAYBE = (ast.If, ast.Try, ast.While, ast.For, ast.Match)  # statements that bind a name or do not

CELLS, CHARACTERS, STATEMENTS = 5000, 1_000_000, 5000  # of one notebook: more is no work of a student


@dataclass(frozen=True)
class Statement:
    """A statement on the top level of a cell.

    place  number of the cell among all cells, from 0
    file   the cell's name in tracebacks
    line   its first line in the cell, from 1
    binds  the names it gives a value
    now    the names of the notebook it needs when it is run
    later  those that its functions need when they are called
    own    whether the student wrote the cell
    """

    place: int
    file: str
    line: int
    source: str
    node: ast.stmt
    binds: frozenset[str]
    now: frozenset[str]
    later: frozenset[str]
    own: bool

    @property
    def uses(self) -> frozenset[str]:
        """The names of the notebook it needs, at whatever time."""
        return self.now | self.later

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
        """Take a notebook apart; raises ValueError if the file is none, or larger than anybody writes one."""
        whole = json.loads(text)
        if not isinstance(whole, dict) or not isinstance(whole.get("cells"), list):
            raise ValueError("it has no cells")
        if (count := len(whole["cells"])) > CELLS:
            raise ValueError(f"it has {count} cells; a notebook may have {CELLS}")
        if sum(len(text_of(cell)) for cell in whole["cells"] if isinstance(cell, dict)) > CHARACTERS:
            raise ValueError(f"its cells hold more than {CHARACTERS} characters")
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
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                line = getattr(error, "lineno", 0) or 0
                notebook.broken[place] = f"line {line}: {str(getattr(error, 'msg', error)) or 'too deep for Python'}"
                continue
            if solution:
                notebook.solutions |= {name for one in parts for name in one.binds if not _is_import(one.node)}
            notebook.statements += parts
        if len(notebook.statements) > STATEMENTS:
            raise ValueError(f"it has more than {STATEMENTS} statements")
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
        """The answer, and the statements it depends on, in the order of the notebook.

        A statement takes the values that names have when it is run; a function, those they have when it is called: at
        the check, and wherever a statement on the way calls it.
        """
        checked = self.checked(exercise)
        limit = max(answer.place, checked if checked < 10**9 else answer.place)
        end = sum(one.place <= limit for one in self.statements)
        order = {id(one): number for number, one in enumerate(self.statements)}
        todo, taken = [(order[id(answer)], end)], set()
        while todo:
            number, called = pair = todo.pop()
            if pair in taken:
                continue
            taken.add(pair)
            one = self.statements[number]
            # whoever takes a change of a value in place takes those before it, too
            for name in one.now if one.binds else one.now - _changes(one.node):
                for other in self._binders(name, number, number):
                    todo += [(other, number), (other, end)]
            for name in one.later:
                todo += [(other, called) for other in self._binders(name, called, -1)]
        numbers = {number for number, _ in taken}
        numbers |= {number for number, one in enumerate(self.statements) if one.own and _of_the_future(one.node)}
        kept = {name for number in numbers for name in self.statements[number].uses} | answer.binds
        return [_narrowed(self.statements[number], kept) for number in sorted(numbers)]

    def _binders(self, name: str, before: int, but: int) -> list[int]:
        """The statements that give `name` the value it has before a statement, by number; not the statement `but`."""
        written = self._binding[name]
        known = bisect_left(written, before)
        if not known and written[:1] == [but]:
            written = written[1:2]
        if not written:
            return [] if hasattr(builtins, name) else self._binding["*"]
        found = [written[max(known - 1, 0)]]
        while isinstance(self.statements[found[-1]].node, MAYBE) and len(found) < known:
            found.append(written[known - 1 - len(found)])
        if _is_import(self.statements[found[-1]].node):
            return found  # a student's torch.set_printoptions() is not part of an answer
        changes = self._changing[name]
        between = changes[bisect_right(changes, found[-1]) : bisect_left(changes, before)]
        return found + [number for number in between if number != but]

    @cached_property
    def _binding(self) -> dict[str, list[int]]:
        """The numbers of the statements that bind a name; those that only say "to be written" if there is no other."""
        every = self._numbers(lambda one: one.binds)
        for name, numbers in every.items():
            every[name] = [number for number in numbers if not self.statements[number].stub] or numbers
        return every

    @cached_property
    def _changing(self) -> dict[str, list[int]]:
        """The numbers of the student's statements that change the value of a name in place."""
        return self._numbers(lambda one: _changes(one.node) if one.own else frozenset())

    def _numbers(self, names: Callable[[Statement], frozenset[str]]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for number, one in enumerate(self.statements):
            for name in names(one):
                found[name].append(number)
        return found


def name_of(place: int) -> str:
    """What a cell is called in messages, counted from 1."""
    return f"cell {place + 1}"


def plain(source: str) -> str:
    """A cell as Python alone: what only IPython understands does nothing, and lines keep their numbers."""
    if source.startswith("%%") and not CELL_MAGIC.match(source):
        return ""
    if (first := INDENTED.match(source)) and (indent := first[1]):  # IPython takes it away, too
        source = re.sub(f"^{indent}", "", source, flags=re.MULTILINE)
    lines = source.split("\n")
    for _ in range(20):  # a line that begins with % may as well go on with a sum: only those are changed that must be
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:
            number = (error.lineno or 0) - 1
            if not 0 <= number < len(lines) or not MAGIC.match(lines[number]):
                break
            lines[number] = MAGIC.sub(r"\1pass", lines[number])
        except (ValueError, RecursionError, MemoryError):
            break
        else:
            return "\n".join(lines)
    return MAGIC.sub(r"\1pass", source)


def statements(cell: Cell, place: int, own: bool) -> Iterator[Statement]:
    """The statements of a cell; raises SyntaxError if it is not Python."""
    source = plain(text_of(cell))
    lines = source.splitlines()
    for node in ast.parse(source).body:
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
        mine = lines[first - 1 : node.end_lineno]
        text = "\n".join(mine)
        if node.col_offset or (node.end_col_offset or 0) < len(mine[-1].encode()):
            text = ast.unparse(node)  # several on a line
        yield Statement(place, name_of(place), first, text, node, *names_in(text), own)


def names_in(source: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Names that a statement binds, that it takes from around it, and that its functions do when they are called."""
    table = symtable.symtable(source, "<cell>", "exec")
    binds = {one.get_name() for one in table.get_symbols() if one.is_assigned() or one.is_imported()}
    now = {one.get_name() for one in table.get_symbols() if one.is_referenced()}
    added = [node.target for node in ast.walk(ast.parse(source)) if isinstance(node, ast.AugAssign)]
    grown = {target.id for target in added if isinstance(target, ast.Name)}  # x += 1 needs the x of before
    now |= grown & binds
    later: set[str] = set()
    inside = [(scope, _runs_at_once(scope)) for scope in table.get_children()]
    while inside:
        scope, at_once = inside.pop()
        symbols = [one for one in scope.get_symbols() if one.is_global()]
        found = {one.get_name() for one in symbols if one.is_referenced() or one.get_name() in grown}
        now, later = (now | found, later) if at_once else (now, later | found)
        inside += [(child, at_once and _runs_at_once(child)) for child in scope.get_children()]
    if re.search(r"^from \S+ import \*", source):
        binds.add("*")
    return frozenset(binds), frozenset(now), frozenset(later)


def _runs_at_once(scope: symtable.SymbolTable) -> bool:
    """The body of a class, and what stands in [x for x in y], are run with the statement; functions are not."""
    return scope.get_type() == "class" or scope.get_name() in ("listcomp", "setcomp", "dictcomp", "genexpr")


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _of_the_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _changes(node: ast.AST) -> frozenset[str]:
    """The names whose values a statement changes in place: x[0] = .., x.a += .., del x[0], x.append(..)."""
    targets: list[ast.expr] = []
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
            return frozenset()
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            pass
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target) | ast.Expr(value=ast.Call(func=target)):
            targets = [target]
    names = set()
    for one in targets:
        inner = one
        while isinstance(inner, ast.Subscript | ast.Attribute):
            inner = inner.value
        if isinstance(inner, ast.Name) and inner is not one:
            names.add(inner.id)
    for child in ast.iter_child_nodes(node):  # also in a loop
        if isinstance(child, ast.stmt | ast.ExceptHandler):
            names |= _changes(child)
    return frozenset(names)


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
    return Statement(one.place, one.file, one.line, ast.unparse(fewer), fewer, binds, one.now, one.later, one.own)


def folded(answer: Statement, exercise: Exercise) -> bool:
    """Whether the function is the folded solution, under whatever name."""
    if not isinstance(answer.node, ast.FunctionDef):
        return False
    return shape_of(answer.source, answer.node.name) == shape_of(exercise.solution, f"solved_{_root(exercise)}")


def _root(exercise: Exercise) -> str:
    """How the solution is called without solved_."""
    found = re.search(r"^def solved_(\w+)\(", exercise.solution, re.MULTILINE)
    return found[1] if found else exercise.function
