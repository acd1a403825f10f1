"""What a chapter defines, for tests that hold it against the package."""

import ast
import json
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def definitions(name: str) -> dict[str, Any]:
    """Run the imports, functions and classes of the chapter `name`, such as "02_dynamics", and nothing else."""
    namespace: dict[str, Any] = {}
    for cell in json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            for node in ast.parse("".join(cell["source"])).body:
                if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef):
                    exec(compile(ast.Module([node], []), name, "exec"), namespace)
    return namespace
