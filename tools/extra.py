"""What an extra of pyproject.toml asks for, in one line for pip: python tools/extra.py mutation."""

import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]

if __name__ == "__main__":
    print(*PROJECT["optional-dependencies"][sys.argv[1]])
