"""What `make lab` tells Jupyter: to open a notebook is not to change it.

A notebook names its language. As soon as its kernel runs, JupyterLab writes there which Python that is, to the last
digit, and calls the notebook unsaved. A committed file cannot know the Python of its reader. So a notebook that is
opened is told here what its kernel is going to say, and the file keeps the name alone when it is saved: it differs from
the committed one by what its reader did, and by nothing else.
"""

from typing import Any

from ipykernel.ipkernel import IPythonKernel
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

COMMITTED = ("name", "file_extension", "mimetype", "pygments_lexer")  # as in run_notebooks.py


class OpenedUnchanged(AsyncLargeFileManager):
    """The files of this folder; notebooks in Python know the Python of their reader while they are open."""

    async def get(self, path: str, *options: Any, **named: Any) -> dict[str, Any]:
        """A file or folder, as the server asks for it."""
        model: dict[str, Any] = await super().get(path, *options, **named)
        if model["type"] == "notebook" and model["content"] and _language(model).get("name") == "python":
            model["content"]["metadata"]["language_info"] = dict(IPythonKernel.language_info)
        return model

    async def save(self, model: dict[str, Any], path: str = "") -> dict[str, Any]:
        """A file that is written."""
        if model["type"] == "notebook" and (told := _language(model)).get("name") == "python":
            model["content"]["metadata"]["language_info"] = {name: told[name] for name in COMMITTED if name in told}
        saved: dict[str, Any] = await super().save(model, path)
        return saved


def _language(model: dict[str, Any]) -> dict[str, Any]:
    language: dict[str, Any] = model["content"]["metadata"].get("language_info", {})
    return language


c = get_config()  # type: ignore[name-defined]  # noqa: F821 - Jupyter puts it here
c.ServerApp.contents_manager_class = OpenedUnchanged
