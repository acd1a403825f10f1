"""Walls around the process in which a submission runs: what the machine offers, and in plain words what it does not.

Limits on time, memory and the size of files are there on every Unix. A filter of system calls (Linux) refuses to begin
processes, to signal others, to open sockets and to open any file for writing. Namespaces (Linux, where users may have
them) leave nothing to be read but Python, its libraries and the package without solutions, and no network.
"""

import os
import platform
import resource
import struct
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from wm_tutorial.grade.calls import c_call

PACKAGE = Path(__file__).parents[1]
HIDDEN = ("mistakes", "check", "zoo", "grade", "course/notebooks")  # of the package: solutions, and how they are told


@dataclass(frozen=True)
class Limits:
    """Of one exercise of one submission.

    seconds  of computing
    wait     seconds on the clock, for one that sleeps
    memory   megabytes beyond what Python and its libraries hold
    """

    seconds: int = 10
    wait: int = 60
    memory: int = 1500


@dataclass
class Walls:
    """What stands between a submission and the machine."""

    filtered: bool = False
    apart: bool = False
    why_not: str = ""

    def __str__(self) -> str:
        """For people."""
        there = ["limits on computing time, memory and size of files"]
        missing = []
        if self.filtered:
            there.append("no new processes, no signals to others, no sockets, no file opened for writing")
        else:
            missing.append("a filter of system calls, so that it could start processes, open sockets and write files")
        if self.apart:
            there.append("a root of its own in which neither solutions nor other submissions can be read")
        else:
            missing.append("namespaces, so that it could read files of this machine")
        text = f"Around each submission: {'; '.join(there)}."
        if missing:
            text += (
                f" This machine does not offer {'; '.join(missing)} ({self.why_not}). Grade strangers on another one."
            )
        return text


# --- Limits -----------------------------------------------------------------------------------------------------------


def limit(limits: Limits, filtered: bool) -> None:
    """Limit this process; its size now is what Python and its libraries hold."""
    megabyte = 2**20
    pairs = [
        (resource.RLIMIT_CPU, (limits.seconds, limits.seconds + 1)),
        (resource.RLIMIT_FSIZE, (megabyte, megabyte)),
        (resource.RLIMIT_CORE, (0, 0)),
        (resource.RLIMIT_NOFILE, (64, 64)),
    ]
    if (size := _size()) is not None:
        most = size + limits.memory * megabyte
        pairs.append((resource.RLIMIT_AS, (most, most)))
    if not filtered:  # counts threads, too, and those of all processes of this user: the filter is finer
        pairs.append((resource.RLIMIT_NPROC, (0, 0)))
    for what, pair in pairs:
        resource.setrlimit(what, pair)


_MAPPED: list[int] = []


def measure() -> None:
    """Remember how large this process is, while that can be read."""
    try:
        _MAPPED[:] = [int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()]
    except OSError:
        _MAPPED.clear()


def _size() -> int | None:
    return _MAPPED[0] if _MAPPED else None


# --- Namespaces -------------------------------------------------------------------------------------------------------

NEW_MOUNTS, NEW_USERS, NEW_NETWORK, NEW_IPC = 0x00020000, 0x10000000, 0x40000000, 0x08000000
BIND, RECURSIVE, PRIVATE, READ_ONLY = 4096, 16384, 1 << 18, 1
MOUNT_SETATTR, PIVOT_ROOT = {"x86_64": (442, 155), "aarch64": (442, 41)}.get(platform.machine(), (-1, -1))
AT_FDCWD, AT_RECURSIVE, DETACH = -100, 0x8000, 2


def leave() -> None:
    """Into namespaces of its own; before any thread begins. Raises OSError where that is not allowed."""
    user, group = os.getuid(), os.getgid()
    c_call("unshare", NEW_USERS | NEW_MOUNTS | NEW_NETWORK | NEW_IPC)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def close_door(room: Path) -> None:
    """Make `room`, an empty folder, the root of this process: Python and its libraries, and nothing else."""
    _mount(None, Path("/"), RECURSIVE | PRIVATE)
    _mount("tmpfs", room, 0)
    for path in visible():
        here = room / path.relative_to("/")
        here.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            if not here.is_symlink():
                here.symlink_to(path.readlink())
            continue
        if path.is_dir():
            here.mkdir(exist_ok=True)
        else:
            here.touch()
        _mount(path, here, BIND | RECURSIVE)
    for place in visible():
        package = place if place == PACKAGE else place / PACKAGE.name
        for name in HIDDEN:
            if (inside := room / (package / name).relative_to("/")).is_dir():
                _mount("tmpfs", inside, READ_ONLY)
    read_only = struct.pack("QQQQ", 1, 0, 0, 0)
    c_call("syscall", MOUNT_SETATTR, AT_FDCWD, str(room).encode(), AT_RECURSIVE, read_only, len(read_only))
    os.chdir(room)
    c_call("syscall", PIVOT_ROOT, b".", b".")
    c_call("umount2", b".", DETACH)
    os.chdir("/")


def visible() -> list[Path]:
    """What Python needs to import what is not imported yet, each folder once; not a checkout, with its notebooks."""
    told = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), *filter(None, sys.path)}
    places = {Path(place).absolute() for place in told} | {Path(place).resolve() for place in told} | {PACKAGE}
    places |= set(map(Path, ("/usr", "/lib", "/lib64", "/bin", "/nix/store", "/opt", "/dev/null", "/dev/urandom")))
    kept: list[Path] = []
    for place in sorted(place for place in places if place.exists() and place != Path("/")):
        checkout = (place / "pyproject.toml").exists() and (place / "notebooks").is_dir()
        if not checkout and not any(other in place.parents for other in kept if not other.is_symlink()):
            kept.append(place)
    return kept


def _mount(source: Path | str | None, target: Path, flags: int) -> None:
    kind = b"tmpfs" if source == "tmpfs" else None
    c_call("mount", None if source is None else str(source).encode(), str(target).encode(), kind, flags, None)
