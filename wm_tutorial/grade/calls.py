"""A filter of system calls for Linux: what a submission has no business with is refused, whoever runs it.

Refused are new processes, signals to others, sockets, files opened for writing or changed in any other way, mounts,
shared memory, and looking into other processes.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

SAME = dict(
    pidfd_send_signal=424, io_uring_setup=425, open_tree=428, move_mount=429, fsopen=430, fsmount=432, pidfd_open=434,
    clone3=435, openat2=437, pidfd_getfd=438, mount_setattr=442, memfd_secret=447, fchmodat2=452,
)  # fmt: skip
NUMBERS = {
    "x86_64": SAME | dict(
        fork=57, vfork=58, clone=56, execve=59, execveat=322, socket=41, socketpair=53, connect=42, bind=49, listen=50,
        kill=62, tkill=200, tgkill=234, rt_sigqueueinfo=129, rt_tgsigqueueinfo=297, ptrace=101, process_vm_readv=310,
        process_vm_writev=311, unshare=272, setns=308, mount=165, umount2=166, pivot_root=155, chroot=161, bpf=321,
        perf_event_open=298, userfaultfd=323, keyctl=250, add_key=248, request_key=249, memfd_create=319, shmget=29,
        msgget=68, semget=64, mq_open=240, creat=85, open=2, openat=257, unlink=87, unlinkat=263, rename=82,
        renameat=264, renameat2=316, mkdir=83, mkdirat=258, rmdir=84, link=86, linkat=265, symlink=88, symlinkat=266,
        mknod=133, mknodat=259, truncate=76, chmod=90, fchmod=91, fchmodat=268, chown=92, fchown=93, lchown=94,
        fchownat=260, utime=132, utimes=235, utimensat=280, futimesat=261, setxattr=188, lsetxattr=189, fsetxattr=190,
        removexattr=197, lremovexattr=198, fremovexattr=199, setpriority=141, sched_setscheduler=144, personality=135,
        reboot=169, init_module=175, finit_module=313, kexec_load=246, acct=163, open_by_handle_at=304,
        fanotify_init=300, prlimit64=302,
    ),
    "aarch64": SAME | dict(
        clone=220, execve=221, execveat=281, socket=198, socketpair=199, connect=203, bind=200, listen=201, kill=129,
        tkill=130, tgkill=131, rt_sigqueueinfo=138, rt_tgsigqueueinfo=240, ptrace=117, process_vm_readv=270,
        process_vm_writev=271, unshare=97, setns=268, mount=40, umount2=39, pivot_root=41, chroot=51, bpf=280,
        perf_event_open=241, userfaultfd=282, keyctl=219, add_key=217, request_key=218, memfd_create=279, shmget=194,
        msgget=186, semget=190, mq_open=180, openat=56, unlinkat=35, renameat=38, renameat2=276, mkdirat=34, linkat=37,
        symlinkat=36, mknodat=33, truncate=45, fchmod=52, fchmodat=53, fchownat=54, fchown=55, utimensat=88,
        setxattr=5, lsetxattr=6, fsetxattr=7, removexattr=14, lremovexattr=15, fremovexattr=16, setpriority=140,
        sched_setscheduler=119, personality=92, reboot=142, init_module=105, finit_module=273, kexec_load=104, acct=89,
        open_by_handle_at=265, fanotify_init=262, prlimit64=261,
    ),
}  # fmt: skip
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

BY_ARGUMENT = {"clone", "open", "openat", "kill", "tgkill", "prlimit64"}  # refused or not
LOAD, EQUAL, ANY_BIT, AT_LEAST, RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000
CLONE_THREAD = 0x10000
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

Instruction = tuple[int, int, int, int]  # code, how far to jump if true and if false, operand


def program(machine: str, pid: int) -> list[Instruction]:
    """The filter for one process, as the kernel's virtual machine reads it."""
    numbers = NUMBERS[machine]
    no, missing, yes = FAIL | errno.EPERM, FAIL | errno.ENOSYS, ALLOW

    def argument(number: int) -> Instruction:
        return LOAD, 0, 0, 16 + 8 * number  # the lower half of it

    def unless(call: str, number: int, test: Sequence[Instruction]) -> list[Instruction]:
        """A call whose argument decides; `test` ends in RETURN either way."""
        if call not in numbers:
            return []
        return [(EQUAL, 0, 1 + len(test), numbers[call]), argument(number), *test]

    only_mine = [(EQUAL, 0, 1, pid), (RETURN, 0, 0, yes), (RETURN, 0, 0, no)]
    code = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, ARCHITECTURES[machine]), (RETURN, 0, 0, no), (LOAD, 0, 0, 0)]
    code += [(AT_LEAST, 0, 1, 0x40000000), (RETURN, 0, 0, missing)]  # the second set of numbers of x86_64
    for call in numbers.keys() - BY_ARGUMENT:  # who is told that clone3 and openat2 are missing takes clone and openat
        code += [(EQUAL, 0, 1, numbers[call]), (RETURN, 0, 0, missing if call in ("clone3", "openat2") else no)]
    code += unless("clone", 0, [(ANY_BIT, 0, 1, CLONE_THREAD), (RETURN, 0, 0, yes), (RETURN, 0, 0, no)])
    for call, flags in (("open", 1), ("openat", 2)):
        code += unless(call, flags, [(ANY_BIT, 0, 1, WRITING), (RETURN, 0, 0, no), (RETURN, 0, 0, yes)])
    code += [*unless("kill", 0, only_mine), *unless("tgkill", 0, only_mine)]
    code += unless("prlimit64", 0, [(EQUAL, 1, 0, 0), *only_mine[:1], (RETURN, 0, 0, yes), (RETURN, 0, 0, no)])
    return [*code, (RETURN, 0, 0, yes)]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def filter_calls() -> None:
    """From now on, and for good, this process does without the calls in NUMBERS. Raises OSError if that cannot be."""
    if sys.platform != "linux" or platform.machine() not in NUMBERS:
        raise OSError(errno.ENOSYS, f"no filter is written for {sys.platform} on {platform.machine()}")
    code = program(platform.machine(), os.getpid())
    packed = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    filtered = _Program(len(code), ctypes.cast(packed, ctypes.c_void_p).value)
    no_new_privileges, set_seccomp, by_program = 38, 22, 2
    c_call("prctl", no_new_privileges, 1, 0, 0, 0)
    c_call("prctl", set_seccomp, by_program, ctypes.byref(filtered), 0, 0)


def c_call(name: str, *arguments: Any) -> None:
    """Call a function of the C library; raises OSError where it says that it failed."""
    function: Callable[..., int] = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
