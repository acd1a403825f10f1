"""`make lock`: write the lock files, which say the hash of each file that `make locked` may install.

The versions are those of constraints.txt. uv asks the package index for the hashes of all files of a version, so that
one lock serves every platform. torch and the GPU libraries that come with some of its builds are left out: readers
choose the build, so it has no one hash.
"""

import re
import subprocess
import sys
from pathlib import Path

from extra import PROJECT

ROOT = Path(__file__).parent.parent
LOCKS = {
    ROOT / "locks" / "course.txt": ("test", "notebooks", "dev", "mutation", "browser"),
    ROOT / "locks" / "book.txt": ("book",),
}
OF_A_BUILD = re.compile(r"(torch|triton|cuda-[\w-]+|nvidia-[\w-]+)==")
HEADER = """\
# Written by `make lock`: the versions of constraints.txt, with the hashes of their files. Installed by `make locked`.
"""


def wanted(extras: tuple[str, ...], whole: bool) -> list[str]:
    """The requirements of extras, of the package itself too if `whole`, and pip, which installs them."""
    asked = [one for extra in extras for one in PROJECT["optional-dependencies"][extra]]
    return ["pip", *asked, *(PROJECT["dependencies"] if whole else [])]


def blocks(text: str) -> list[str]:
    """A lock by packages: a line with name and version, and below it one for each hash."""
    return re.findall(r"^\S.*\n(?:[ \t]+.*\n)*", text, re.MULTILINE)


def without_builds(text: str) -> str:
    """A lock without torch and what belongs to one build of it."""
    return "".join(block for block in blocks(text) if not OF_A_BUILD.match(block))


def compiled(requirements: list[str]) -> str:
    """What uv answers: everything that these requirements take, on every platform and supported Python."""
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate"]
    command = [sys.executable, "-m", "uv", "pip", "compile", "-q", "-", "-c", "constraints.txt", *options]
    told = "\n".join(requirements)
    return subprocess.run(command, cwd=ROOT, input=told, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    for path, extras in LOCKS.items():
        lock = without_builds(compiled(wanted(extras, whole=path.stem == "course")))
        path.parent.mkdir(exist_ok=True)
        path.write_text(HEADER + lock)
        print(f"{path.relative_to(ROOT)}: {len(blocks(lock))} packages")
