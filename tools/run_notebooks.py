"""`make notebooks`: run chapters from top to bottom, each in a fresh kernel, and keep what they show.

    python tools/run_notebooks.py         every chapter
    python tools/run_notebooks.py 02 05   some of them
    python tools/run_notebooks.py --check 02
                                          run, compare what cells with the tag nbval-check-output show with what the
                                          files have, and write nothing: what nbval does in `make test`, without it
    python tools/run_notebooks.py --clean notebooks/*.ipynb
                                          nothing is run: files are only left as a run would leave them

A notebook on disk changes only if all of its cells ran. What would differ from one run to the next without meaning
anything (times of day, versions of the editor, random cell ids) is left out. CPU seconds, seconds on the clock and
the memory that the kernel needed at most go to book/results/chapters.json.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from subprocess import DEVNULL
from time import monotonic

import nbformat
from course import NOTEBOOKS, RESULTS, chapters, code_cells, has, read, write
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

AT_ONCE = 2  # more would compete for the cores and for memory
TIMEOUT = 3600  # seconds, for one cell
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python", "pygments_lexer": "ipython3"}

# ru_maxrss counts kilobytes on Linux, and bytes on macOS.
MEASURE = """\
import json, resource, sys
_ = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({
    "cpu_seconds": round(sum(used.ru_utime + used.ru_stime for used in _), 1),
    "peak_megabytes": round(max(used.ru_maxrss for used in _) / (1e6 if sys.platform == "darwin" else 1e3)),
}))
"""


NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?")


class CellFailed(Exception):
    """A chapter did not run through: the message names the cell and the error."""


def execute(notebook: NotebookNode, folder: Path = NOTEBOOKS) -> dict[str, float]:
    """Run every cell in a fresh kernel, fill in the outputs, and return what it cost.

    Raises:
        CellFailed: if a cell raises an error.
    """
    began = monotonic()
    measure = nbformat.v4.new_code_cell(MEASURE)
    notebook.cells.append(measure)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name=KERNEL["name"],
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        # of the kernel itself; what cells write there is an output. The progress of whoever runs this stays out of it.
        asyncio.run(client.async_execute(stderr=DEVNULL, env=os.environ | {"WM_TUTORIAL_PROGRESS": "off"}))
    except CellExecutionError as error:
        failed = next(
            (number, cell)
            for number, cell in enumerate(notebook.cells, 1)
            if any(output.output_type == "error" for output in cell.get("outputs", []))
        )
        raise CellFailed(_tell(*failed, error)) from error
    finally:
        notebook.cells.remove(measure)
    return {"wall_seconds": round(monotonic() - began, 1)} | json.loads(measure.outputs[0].text)


def _tell(number: int, cell: NotebookNode, error: CellExecutionError) -> str:
    code = "\n".join(f"    {line}" for line in cell.source.splitlines())
    return f"cell {number} raised {error.ename}: {error.evalue}\n{code}"


def normalise(notebook: NotebookNode, number: str) -> None:
    """Leave only what a reader sees or a tool of the course needs; cells are numbered through as `number`-01, ..."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    for position, cell in enumerate(notebook.cells, 1):
        cell.id = f"{number}-{position:02d}"
        tags, jupyter = cell.metadata.get("tags"), cell.metadata.get("jupyter", {})
        folded = {what: True for what in ("source_hidden", "outputs_hidden") if jupyter.get(what)}
        kept: Mapping[str, object] = ({"tags": tags} if tags else {}) | ({"jupyter": folded} if folded else {})
        if "outputs_hidden" in folded:
            kept = {"collapsed": True, **kept}  # the same in older words, which JupyterLab writes beside it
        cell.metadata = nbformat.from_dict(kept)
        for output in cell.get("outputs", []):
            output.pop("transient", None)


def clean(path: Path) -> None:
    """Leave a chapter as `make notebooks` would, with the outputs it has; a file that is clean is not touched."""
    notebook, before = read(path), read(path)
    normalise(notebook, path.name[:2])
    if notebook != before:
        write(notebook, path)


def run(path: Path) -> dict[str, float]:
    """Run one chapter, write it, and return what it cost."""
    notebook = read(path)
    cost = execute(notebook, path.parent)
    normalise(notebook, path.name[:2])
    write(notebook, path)
    return cost


def alike(text: str, other: str) -> bool:
    """Whether two outputs say the same: decimal fractions may differ by one in the last digit shown.

    Other processors add in another order, so a number may be rounded to its neighbour. Whole numbers must be equal.
    """
    words, others = (" ".join(NUMBER.sub(" # ", shown).split()) for shown in (text, other))
    pairs = zip(*(map(Decimal, NUMBER.findall(shown)) for shown in (text, other)), strict=False)
    return words == others and all(abs(a - b) <= _last_digit(a) for a, b in pairs)


def _last_digit(number: Decimal) -> Decimal:
    exponent = number.as_tuple().exponent
    return Decimal(1).scaleb(exponent) if isinstance(exponent, int) and exponent < 0 else Decimal(0)


def differences(ran: NotebookNode, committed: NotebookNode) -> Iterator[str]:
    """Where a compared output is not as it was."""
    for number, (cell, before) in enumerate(zip(code_cells(ran), code_cells(committed), strict=True), 1):
        if has(cell, "nbval-check-output") and not alike(shown := _text(cell), was := _text(before)):
            yield f"code cell {number} shows\n{shown}\nand not\n{was}"


def _text(cell: NotebookNode) -> str:
    """What a cell shows as text; the bytes of pictures depend on fonts and libraries."""
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)


def check(path: Path) -> list[str]:
    """Run a chapter in memory, and say what it shows that its file does not."""
    notebook = read(path)
    execute(notebook, path.parent)
    return list(differences(notebook, read(path)))


def check_all(names: list[str], folder: Path = NOTEBOOKS) -> int:
    """Check the chapters named, or all; returns how many failed."""
    failed = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for path, outcome in [(path, pool.submit(check, path)) for path in chapters(names, folder)]:
            try:
                found = outcome.result()
            except CellFailed as failure:
                found = [str(failure)]
            failed += bool(found)
            print(f"{path.name}:", "\n".join(found) or "as committed", flush=True)
    return failed


def main(names: list[str], folder: Path = NOTEBOOKS, results: Path = RESULTS) -> int:
    """Run the chapters named, or all, and record what they cost; returns how many failed."""
    costs: dict[str, dict[str, float]] = json.loads(results.read_text()) if results.exists() else {}
    failed = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for path, outcome in [(path, pool.submit(run, path)) for path in chapters(names, folder)]:
            try:
                costs[path.stem] = outcome.result()
                print(f"{path.name}: {costs[path.stem]['cpu_seconds']:.0f} CPU seconds", flush=True)
            except CellFailed as failure:
                failed += 1
                print(f"{path.name}: {failure}", file=sys.stderr, flush=True)
    here = {path.stem: costs[path.stem] for path in chapters(folder=folder) if path.stem in costs}
    results.write_text(json.dumps(here, indent=2, allow_nan=False) + "\n")
    return failed


if __name__ == "__main__":
    if sys.argv[1:2] == ["--clean"]:
        for name in sys.argv[2:]:
            clean(Path(name))
    elif sys.argv[1:2] == ["--check"]:
        sys.exit(1 if check_all(sys.argv[2:]) else 0)
    else:
        sys.exit(1 if main(sys.argv[1:]) else 0)
