"""Opening a chapter in JupyterLab does not count as changing it, and saving it unchanged leaves the file as it is."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from course import ROOT, chapters, write
from nbformat.v4 import new_notebook
from run_notebooks import KERNEL, LANGUAGE
from traitlets.config.loader import Config, PyFileConfigLoader

pytest.importorskip("jupyter_server", reason="JupyterLab is not installed; `make lab` installs it")
from ipykernel.ipkernel import IPythonKernel

CHAPTERS = pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def config() -> Config:
    return PyFileConfigLoader("jupyter_config.py", str(ROOT / "tools")).load_config()


def manager(config: Config, folder: Path) -> Any:
    return config.ServerApp.contents_manager_class(root_dir=str(folder), config=config)


def opened_and_saved(config: Config, path: Path) -> dict[str, Any]:
    """What JupyterLab is given when it opens a notebook, and gives back when it saves it at once."""
    files = manager(config, path.parent)
    model: dict[str, Any] = asyncio.run(files.get(path.name))
    given = json.loads(json.dumps(model["content"]))
    asyncio.run(files.save({"type": "notebook", "format": "json", "content": model["content"]}, path.name))
    return given


@CHAPTERS
def test_a_chapter_says_of_its_language_what_its_kernel_says(config: Config, path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path)
    given = opened_and_saved(config, tmp_path / path.name)
    assert given["metadata"]["language_info"] == IPythonKernel.language_info
    assert given["metadata"]["kernelspec"]["name"] == KERNEL["name"]
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_what_is_committed_of_the_language_is_what_is_kept(config: Config, tmp_path: Path) -> None:
    told = dict(IPythonKernel.language_info)
    write(new_notebook(metadata={"kernelspec": KERNEL, "language_info": told}), tmp_path / "a.ipynb")
    opened_and_saved(config, tmp_path / "a.ipynb")
    assert json.loads((tmp_path / "a.ipynb").read_text())["metadata"]["language_info"] == LANGUAGE


def test_other_files_and_other_languages_are_left_alone(config: Config, tmp_path: Path) -> None:
    other = {"name": "julia", "version": "1.11"}
    write(new_notebook(metadata={"language_info": other}), tmp_path / "b.ipynb")
    write(new_notebook(), tmp_path / "c.ipynb")
    (tmp_path / "notes.txt").write_text("x")
    for name, language in (("b.ipynb", other), ("c.ipynb", {})):
        assert opened_and_saved(config, tmp_path / name)["metadata"].get("language_info", {}) == language
        assert json.loads((tmp_path / name).read_text())["metadata"].get("language_info", {}) == language
    files = manager(config, tmp_path)
    assert asyncio.run(files.get("notes.txt"))["content"] == "x"
    assert {each["name"] for each in asyncio.run(files.get(""))["content"]} == {"b.ipynb", "c.ipynb", "notes.txt"}
    assert asyncio.run(files.get("b.ipynb", content=False))["content"] is None


def test_make_lab_starts_jupyter_with_it() -> None:
    (started,) = [line for line in (ROOT / "Makefile").read_text().splitlines() if "jupyter lab" in line]
    assert "--config=tools/jupyter_config.py" in started
