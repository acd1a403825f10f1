"""What was handed in: a folder of notebooks, of students' folders or zip files, or the `submitted` tree of nbgrader."""

import json
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath

from wm_tutorial.errors import InputError
from wm_tutorial.grade.exercises import Cell, Chapter, text_of

LARGEST = 32 * 2**20  # bytes of a notebook; pictures in its outputs are most of it
MEMBERS = 2000  # files of a zip that are looked at
ALTOGETHER = 4 * LARGEST  # bytes that are unpacked of one zip
BROKEN = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
IGNORED = {".ipynb_checkpoints", "__MACOSX", "__pycache__", ".git", ".venv"}


@dataclass
class Submission:
    """One notebook of one student.

    file     where it lies, below the folder that was given
    text     of the notebook, or nothing if it cannot be read
    when     it was written last, to choose among several
    chapter  that it belongs to, or None
    brought  Python files beside it
    notes    what to tell the teacher
    """

    student: str
    file: str
    text: str = ""
    when: float = 0.0
    chapter: Chapter | None = None
    brought: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Found:
    path: PurePosixPath
    when: float
    size: int
    read: bytes
    problem: str = ""


def collect(folder: Path, chapters: Sequence[Chapter]) -> list[Submission]:
    """Every notebook with its student and chapter, at most one of each; what belongs to no chapter comes last.

    A zip in the place of the folder is taken for the folder in it, as some platforms deliver a whole class.

    Raises:
        InputError: if the folder is none, or holds no notebook.
    """
    if folder.suffix == ".zip" and folder.is_file():
        found = list(_unzipped(folder, ""))
    elif folder.is_dir():
        if (submitted := folder / "submitted").is_dir():  # the root of a course of nbgrader
            folder = submitted
        found = [one for file in sorted(folder.rglob("*")) for one in _files(file, folder)]
    else:
        raise InputError(
            f"{folder} is no folder. Give the one with what was handed in: notebooks, students' folders, or zip files."
        )
    notebooks = [_submission(one, chapters) for one in found if one.path.suffix == ".ipynb"]
    if not notebooks:
        raise InputError(f"{folder} holds no notebook (*.ipynb), neither in its folders nor in its zip files.")
    brought: dict[str, list[str]] = {}
    for one in found:
        if one.path.suffix == ".py" and len(one.path.parts) > 1:
            brought.setdefault(one.path.parts[0], []).append(str(PurePosixPath(*one.path.parts[1:])))
    for notebook in notebooks:
        notebook.brought = sorted(brought.get(notebook.student, []))
    return _one_of_each(notebooks)


def _files(file: Path, folder: Path) -> Iterator[_Found]:
    """A file, or what is in a zip, with paths that begin with the student."""
    path = PurePosixPath(file.relative_to(folder).as_posix())
    if IGNORED & set(path.parts) or not file.is_file() or file.is_symlink():
        return
    if path.suffix == ".zip":
        student = path.parts[0] if len(path.parts) > 1 else path.stem
        yield from _unzipped(file, student)
    elif path.suffix in (".ipynb", ".py"):
        try:
            stat = file.stat()
            content = file.read_bytes() if path.suffix == ".ipynb" and stat.st_size <= LARGEST else b""
        except OSError as error:
            yield _Found(path, 0.0, 0, b"", f"{path} cannot be read: {error.strerror}")
        else:
            yield _Found(path, stat.st_mtime, stat.st_size, content)


def _unzipped(file: Path, student: str) -> Iterator[_Found]:
    """Nothing is written; a file that is larger than it says is cut off."""
    left = ALTOGETHER
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist()[:MEMBERS]:
                inside = _inside(student, member.filename)
                if IGNORED & set(inside.parts) or inside.suffix not in (".ipynb", ".py") or member.is_dir():
                    continue
                content, problem = b"", ""
                if inside.suffix == ".ipynb" and member.file_size <= LARGEST:
                    if member.file_size <= left:
                        content, problem = _unpacked(archive, member, inside)
                    else:
                        problem = f"{inside} was not unpacked: the zip holds more than {ALTOGETHER // 2**20} MB"
                left -= len(content)
                yield _Found(inside, _when(member), member.file_size, content, problem)
    except BROKEN as error:
        place = PurePosixPath(student or file.stem, file.name + ".ipynb")
        yield _Found(place, 0.0, 0, b"", f"the zip file cannot be read: {error}")


def _inside(student: str, name: str) -> PurePosixPath:
    """A path in a zip, which may say what it likes, below the student."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return PurePosixPath(student, *parts)


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, inside: PurePosixPath) -> tuple[bytes, str]:
    """A file of a zip, or what is wrong with it: the others may be whole."""
    try:
        with archive.open(member) as stream:
            return stream.read(LARGEST), ""
    except BROKEN as error:
        return b"", f"{inside} cannot be unpacked: {error}"


def _when(member: zipfile.ZipInfo) -> float:
    """When it was written last; some programs write a zero for the month."""
    try:
        return datetime(*member.date_time).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def _submission(found: _Found, chapters: Sequence[Chapter]) -> Submission:
    path = found.path
    text = found.read.decode("utf-8", errors="replace")
    submission = Submission(path.parts[0], str(path), text, found.when, _chapter_of(text, str(path), chapters))
    if len(path.parts) == 1:  # alice.ipynb, or alice_04_kl.ipynb, or 04_kl_alice.ipynb
        name = submission.chapter.name if submission.chapter else ""
        submission.student = path.stem.replace(name, "").strip(" _-.") or path.stem
    if found.size > LARGEST:
        submission.notes.append(f"{path} is larger than {LARGEST // 2**20} MB and was not read")
    if found.problem:
        submission.notes.append(found.problem)
    return submission


def _chapter_of(text: str, path: str, chapters: Sequence[Chapter]) -> Chapter | None:
    """By what is in it: ids of cells, or checks that it calls; if it cannot be read, by its name."""
    try:
        cells: list[Cell] = [cell for cell in json.loads(text)["cells"] if isinstance(cell, dict)]
        ids, source = {str(cell.get("id")) for cell in cells}, "\n".join(map(text_of, cells))
    except (ValueError, KeyError, TypeError, RecursionError):
        ids, source = set(), ""
    points = Counter({chapter.name: len(ids & chapter.ids) for chapter in chapters})
    if not any(points.values()):  # another program has given them new ones
        named = {("check", name) for name in re.findall(r"\bcheck\.(\w+)\(", source)}
        named |= {("def", name) for name in re.findall(r"^def (\w+)\(", source, re.MULTILINE)}
        for chapter in chapters:
            asked = {pair for one in chapter.exercises for pair in (("check", one.part), ("def", one.function))}
            points[chapter.name] = len(asked & named) + (chapter.name in path)
    best, most = max(points.items(), key=lambda pair: pair[1], default=("", 0))
    return next((chapter for chapter in chapters if most and chapter.name == best), None)


def _one_of_each(notebooks: list[Submission]) -> list[Submission]:
    """Of several notebooks of a student for one chapter the latest."""
    groups: dict[tuple[str, str], list[Submission]] = {}
    for one in notebooks:
        groups.setdefault((one.student, one.chapter.name if one.chapter else one.file), []).append(one)
    kept = []
    for same in groups.values():
        *others, last = sorted(same, key=lambda one: (bool(one.text), one.when, one.file))
        last.notes += [note for other in others for note in other.notes]
        if others:
            last.notes.append(f"graded {last.file}, the latest of {len(same)}; not {others[-1].file}")
        kept.append(last)
    return sorted(kept, key=lambda one: (one.chapter is None, one.student, one.file))
