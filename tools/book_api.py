"""The reference of the package as Markdown pages, one for each room, from its docstrings.

Read from the source and not from the imported package, so that a machine that builds the book needs no torch.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

Definition = ast.FunctionDef | ast.ClassDef
SECTIONS = ("Args", "Returns", "Raises", "Yields", "Shapes", "Attributes")
SHOWN_MARKS = ("property", "dataclass", "staticmethod", "classmethod", "contextmanager")

GROUPS = {
    "The convention": ["data", "replay"],
    "The mathematics, as pure functions": ["transforms", "latents", "kl", "returns"],
    "The model: see, expect, explain": ["networks", "encoder", "dynamics", "scan", "heads", "composite", "world_model"],
    "The behaviour learned inside it": ["imagination", "actor_critic", "planner", "agent"],
    "Every number that can be turned, and how a step is taken": ["config", "presets", "lineage", "optim", "learner"],
    "The loop, around Gymnasium environments": [
        "spaces",
        "envs",
        "vector",
        "trainer",
        "evaluation",
        "checkpoint",
        "chunks",
    ],
    "The ancestor in stages: V, M and C": ["world_models_2018"],
    "What a run shares with its process": ["randomness", "process", "ambient", "pace"],
    "Another part in the place of one of these": ["parts", "errors"],
    "What a person does and looks at": ["worlds", "runs", "figures", "cli"],
    "What a learner needs": ["course", "check", "zoo", "mistakes"],
    "What a teacher needs": ["grade"],
}


@dataclass
class Module:
    """A module, or a package whose modules share one page."""

    name: str
    files: list[Path] = field(default_factory=list)


def modules(package: Path) -> list[Module]:
    """The rooms, in the order of the alphabet."""
    rooms = [Module(path.stem, [path]) for path in package.glob("*.py") if not path.stem.startswith("__")]
    for folder in (path.parent for path in package.glob("*/__init__.py")):
        rest = sorted(path for path in folder.glob("*.py") if path.stem != "__init__")
        rooms.append(Module(folder.name, [folder / "__init__.py", *rest]))
    return sorted(rooms, key=lambda room: room.name)


def grouped(rooms: list[str]) -> dict[str, list[str]]:
    """The rooms that are there in their GROUPS, and the ones that no group has yet after them."""
    named = {room for listed in GROUPS.values() for room in listed}
    groups = {title: [room for room in listed if room in rooms] for title, listed in GROUPS.items()}
    return groups | ({"Beside them": rest} if (rest := [room for room in rooms if room not in named]) else {})


def label(*path: str) -> str:
    """The anchor of a name."""
    return "-".join(path).lower().replace("_", "-")


def names(room: Module) -> Iterator[tuple[str, ...]]:
    """Every public function and class of a room that has a docstring; in a package, after the name of its module."""
    for file in room.files:
        for node in shown(room, ast.parse(file.read_text())):
            yield (*place(room, file)[1:], node.name)


def place(room: Module, file: Path) -> tuple[str, ...]:
    """Where names of a file stand: ("kl",), or ("zoo", "returns") in a package."""
    return (room.name,) if file.stem in ("__init__", room.name) else (room.name, file.stem)


def shown(room: Module, tree: ast.Module) -> list[Definition]:
    """What a module of a room shows: nothing where the package has an `__all__` without any of its names."""
    listed, definitions = public(room), documented(tree.body)
    return definitions if not listed or any(node.name in listed for node in definitions) else []


def public(room: Module) -> list[str]:
    """The names in `__all__` of a package, and none where it has no such list or the room is one module."""
    for node in ast.parse(room.files[0].read_text()).body if len(room.files) > 1 else ():
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=names):
                return list(ast.literal_eval(names))
    return []


def documented(body: list[ast.stmt]) -> list[Definition]:
    """The public functions and classes of a body that say what they do."""
    return [
        node
        for node in body
        if isinstance(node, Definition) and not node.name.startswith("_") and ast.get_docstring(node)
    ]


# --- Pages ------------------------------------------------------------------------------------------------------------


def pages(package: Path) -> dict[str, str]:
    """File names and texts: one page for each room, and index.md, which groups them as the README does."""
    rooms = {room.name: room for room in modules(package)}
    index = [
        "# The package, room by room\n",
        "One module is one room, and each begins with the simple version. This reference is made from the docstrings "
        "of version {version}. Shapes in parentheses use one set of letters everywhere: **B** batch, **T** sequence "
        "length, **H** horizon, **N** environments or imagined starts, **A** action size, **D** deterministic size, "
        "**Z** latent size, **F** feature size, **E** embedding size, **O** observation size, **S** categorical "
        "latents of **K** classes.\n",
    ]
    for title, listed in grouped(list(rooms)).items():
        index += [f"\n## {title}\n", "| room | what it is |", "|---|---|"]
        index += [f"| [`{name}`]({name}.md) | {summary(rooms[name])} |" for name in listed if name in rooms]
    version = re.search(r'^version = "(.+)"$', (package.parent / "pyproject.toml").read_text(), re.M)
    texts = {"index.md": "\n".join(index).replace("{version}", version[1] if version else "") + "\n"}
    for name, room in rooms.items():
        texts[f"{name}.md"] = page(room, {own[-1]: label(name, *own) for own in names(room)})
    return texts


def summary(room: Module) -> str:
    """The first sentence of a room's docstring, for a cell of a table."""
    doc = ast.get_docstring(ast.parse(room.files[0].read_text())) or ""
    first = doc.split("\n\n")[0].replace("\n", " ")
    return escape(first.rstrip(":.")).replace("|", "\\|")


def page(room: Module, known: dict[str, str]) -> str:
    """The page of one room."""
    lines = [f"# `{room.name}`\n"]
    for file in room.files:
        tree = ast.parse(file.read_text())
        definitions = shown(room, tree)
        if len(room.files) > 1 and file.stem != "__init__":
            if public(room) and not definitions:
                continue
            lines.append(f"\n## `{room.name}.{file.stem}`\n")
        lines.append(prose(ast.get_docstring(tree) or "", known) + "\n")
        level = "##" if file.stem in ("__init__", room.name) else "###"
        at = place(room, file)
        for node in definitions:
            lines += described(node, level, at, known)
            if isinstance(node, ast.ClassDef):
                lines += fields(node, known, sections(tree) if node.name == "Config" else {}, level)
                for member in documented(node.body):
                    lines += described(member, f"{level}#", at, known, node.name)
    return "\n".join(lines)


def described(node: Definition, level: str, at: tuple[str, ...], known: dict[str, str], owner: str = "") -> list[str]:
    """Heading, signature and docstring of a function, a class or a method."""
    path = [owner, node.name] if owner else [node.name]
    return [
        f"\n({label(*at, *path)})=",
        f"{level} `{'.'.join(path)}`\n",
        f"```python\n{signature(node)}\n```\n",
        prose(ast.get_docstring(node) or "", known) + "\n",
    ]


def signature(node: Definition) -> str:
    """How it is called; for a class, its fields or what its constructor takes."""
    written = [ast.unparse(mark) for mark in node.decorator_list]
    marks = "".join(f"@{mark}\n" for mark in written if mark.startswith(SHOWN_MARKS))
    if isinstance(node, ast.FunctionDef):
        result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return marks + call(f"def {node.name}", node.args) + result
    bases = ", ".join(map(ast.unparse, node.bases))
    head = f"{marks}class {node.name}" + (f"({bases})" if bases else "")
    made = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
    if made:
        return f"{head}\n\n{call(node.name, made[0].args, bound=True)}"
    if "dataclass" in marks and not described_fields(node):
        parts = [ast.unparse(part) for part in node.body if isinstance(part, ast.AnnAssign)]
        return head + ":" + "".join(f"\n    {part}" for part in parts if not part.startswith("_"))
    return head


def call(head: str, arguments: ast.arguments, bound: bool = False) -> str:
    """A signature on one line, or on one for each argument."""
    arguments = ast.parse(f"def f({ast.unparse(arguments)}): 0").body[0].args  # type: ignore[attr-defined]
    if bound:
        (arguments.posonlyargs or arguments.args).pop(0)
    listed = re.sub(r"(: [^,=]+)=", r"\1 = ", ast.unparse(arguments))
    if len(head) + len(listed) < 84:
        return f"{head}({listed})"
    parts = re.split(r", (?![^\[\(]*[\]\)])", listed)
    return f"{head}(\n    " + ",\n    ".join(parts) + ",\n)"


def described_fields(node: ast.ClassDef) -> list[tuple[ast.AnnAssign, str]]:
    """Fields that a string below them describes."""
    return [
        (part, after.value.value)
        for part, after in zip(node.body, node.body[1:], strict=False)
        if isinstance(part, ast.AnnAssign)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    ]


def sections(tree: ast.Module) -> dict[str, str]:
    """The fields that a section of `Config` begins with, and its title, as the module has them in SECTIONS."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="SECTIONS")], value=value):
                return {first: title for title, first in ast.literal_eval(value).items()}
    return {}


def fields(node: ast.ClassDef, known: dict[str, str], begins: dict[str, str], level: str) -> list[str]:
    """A list of the fields that are described one by one, with a heading where a section begins."""
    rows = []
    for part, doc in described_fields(node):
        if title := begins.get(ast.unparse(part.target)):
            rows.append(f"\n{level}# {title}\n")
        default = f" = {ast.unparse(part.value)}" if part.value else ""
        choices = re.findall(r"Literal\[(.+?)\]", ast.unparse(part.annotation))
        one_of = f" One of {', '.join(f'`{choice}`' for choice in choices[0].split(', '))}." if choices else ""
        rows.append(f"- `{ast.unparse(part.target)}{default}`: {inline(' '.join(doc.split()), known)}{one_of}")
    return [*rows, ""] if rows else []


# --- Docstrings -------------------------------------------------------------------------------------------------------


def escape(text: str) -> str:
    """Text whose signs mean themselves; what stands in backticks stays."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(
        p if i % 2 else re.sub(r"([*\[\]$<>~])|(?<!\w)(_)|(_)(?!\w)", r"\\\g<0>", p) for i, p in enumerate(pieces)
    )


def inline(text: str, known: dict[str, str]) -> str:
    """Escaped text in which a name in backticks leads to its place."""

    def linked(code: re.Match[str]) -> str:
        target = known.get(code[1].removesuffix("()"))
        return f"[`{code[1]}`](#{target})" if target else code[0]

    text = re.sub(r"`([\w.()]+)`", linked, escape(text))
    text = re.sub(r"\(arXiv (\d{4}\.\d{5})\)", r"([arXiv \1](https://arxiv.org/abs/\1))", text)
    return text


def prose(doc: str, known: dict[str, str]) -> str:
    """A docstring as Markdown: paragraphs, lists of arguments, columns, and what is indented as it is."""
    blocks: list[str] = []
    for block in with_whole_examples(re.split(r"\n\s*\n", doc.strip("\n"))):
        lines = block.split("\n")
        if all(line.startswith("    ") for line in lines):
            code = "\n".join(line[4:] for line in lines)
            if blocks and blocks[-1].startswith("```text"):
                blocks[-1] = blocks[-1].removesuffix("\n```") + f"\n\n{code}\n```"
            else:
                blocks.append(f"```text\n{code}\n```")
        elif (head := lines[0].rstrip(":")) in SECTIONS and len(lines) > 1:
            blocks.append(f"**{head}**\n\n" + items(lines[1:], known))
        elif table := columns(lines):
            blocks.append("\n".join(f"- {explained(name)}: {inline(said, known)}" for name, said in table))
        elif is_python(block):
            if blocks and blocks[-1].startswith("```python"):
                blocks[-1] = blocks[-1].removesuffix("\n```") + f"\n\n{block}\n```"
            else:
                blocks.append(f"```python\n{block}\n```")
        elif lines[0].startswith("Critical:"):
            text = inline(" ".join(lines).removeprefix("Critical:").strip(), known)
            blocks.append(f"```{{warning}}\n{text[0].upper()}{text[1:]}\n```")
        elif any(line.startswith("    ") for line in lines):
            blocks += mixed(lines, known)
        elif EXPLAINED.match(lines[0]):
            blocks.append(listed(lines, known))
        elif all(line.startswith(("- ", "  ")) for line in lines) or all(line.startswith("|") for line in lines):
            blocks.append("\n".join(inline(line, known) for line in lines))
        else:
            text = inline(" ".join(lines), known)
            starts = re.match(r"(Source[^:]*|Raises|Shapes|Returns):", text)
            blocks.append(text.replace(starts[0], f"**{starts[1]}:**", 1) if starts else text)
    return "\n\n".join(blocks)


def is_python(block: str) -> bool:
    """Whether a block of a docstring is an example: statements that do something, and no sentence."""
    try:
        body = ast.parse(block).body
    except SyntaxError:
        return False
    return not all(isinstance(node, ast.Expr) and not isinstance(node.value, ast.Call) for node in body)


def with_whole_examples(blocks: list[str]) -> list[str]:
    """The blocks, with examples in one piece that have empty lines within."""
    whole: list[str] = []
    while blocks:
        count = next((n for n in range(len(blocks), 1, -1) if is_python("\n\n".join(blocks[:n]))), 1)
        whole.append("\n\n".join(blocks[:count]))
        blocks = blocks[count:]
    return whole


EXPLAINED = re.compile(r"([a-z_]\w*): ")  # "records: lines of metrics.jsonl", in a paragraph


def listed(lines: list[str], known: dict[str, str]) -> str:
    """A paragraph in which lines begin with what they explain, as a list; what it raises goes on below."""
    joined: list[str] = []
    for line in lines:
        if not joined or EXPLAINED.match(line) or line.startswith("Raises "):
            joined.append(line)
        else:
            joined[-1] += f" {line}"
    return "\n".join(
        f"- `{found[1]}`: {inline(text[found.end() :], known)}"
        if (found := EXPLAINED.match(text))
        else f"\n{inline(text, known)}\n"
        for text in joined
    ).strip("\n")


def mixed(lines: list[str], known: dict[str, str]) -> list[str]:
    """A paragraph that goes over into something indented."""
    first = next(i for i, line in enumerate(lines) if line.startswith("    "))
    code = "\n".join(line[4:] if line.startswith("    ") else line for line in lines[first:])
    return [inline(" ".join(lines[:first]), known), f"```text\n{code}\n```"]


def explained(name: str) -> str:
    """What stands on the left of such a line; an arrow leads to what is given back."""
    return "**returns**" if name == "->" else f"`{name}`"


def columns(lines: list[str]) -> list[tuple[str, str]]:
    """Lines such as "logits  (..., bins)" or "->  (...)", with what goes on below them."""
    rows: list[tuple[str, str]] = []
    for line in lines:
        if found := re.match(r"([\w., *-]*[\w*]|->)  +(\S.*)", line):
            rows.append((found[1], found[2]))
        elif rows and line.startswith("  "):
            rows[-1] = (rows[-1][0], f"{rows[-1][1]} {line.strip()}")
        else:
            return []
    return rows


def items(lines: list[str], known: dict[str, str]) -> str:
    """The indented lines of a section as a list; a line that is indented further goes on with the one before."""
    depth = len(lines[0]) - len(lines[0].lstrip())
    joined: list[str] = []
    for line in lines:
        if len(line) - len(line.lstrip()) > depth and joined:
            joined[-1] += f" {line.strip()}"
        else:
            joined.append(line.strip())
    if all(re.match(r"[\w.*]+: ", line) for line in joined):
        return "\n".join(
            re.sub(r"^([\w.*]+): (.*)$", lambda m: f"- `{m[1]}`: {inline(m[2], known)}", j) for j in joined
        )
    return inline(" ".join(joined), known)
