"""System call filters as classic BPF programs, for x86-64 and aarch64.

Two filters stack, and the stricter answer wins. The first is an allowlist that the zygote and
its guests share; the second refuses a guest what only the zygote needs. Numbers are those of the
kernel's tables arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h;
the layout of struct seccomp_data is in include/uapi/linux/seccomp.h.
"""

import errno
import fcntl
import platform
import struct
from collections.abc import Sequence
from functools import cache

_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _JUMP_EQUAL, _JUMP_ANY_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE_THREAD = 0x00010000
_AF_UNIX = 1
# Not F_SETOWN and F_SETSIG: with them the kernel sends any signal to any process of the user.
_FCNTL_COMMANDS = (
    fcntl.F_DUPFD, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL, fcntl.F_GETLK,
    fcntl.F_DUPFD_CLOEXEC,
)  # fmt: skip
# Set and clear a descriptor's flags, as fcntl does.
_IOCTL_REQUESTS = (0x5421, 0x5450, 0x5451)  # FIONBIO, FIONCLEX, FIOCLEX

# name: (x86-64, aarch64); None where the architecture has no such call.
_CALLS: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "open": (2, None), "close": (3, 57), "stat": (4, None),
    "fstat": (5, 80), "lstat": (6, None), "poll": (7, None), "lseek": (8, 62), "mmap": (9, 222),
    "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "pread64": (17, 67),
    "readv": (19, 65), "writev": (20, 66), "access": (21, None), "pipe": (22, None),
    "select": (23, None), "sched_yield": (24, 124), "mremap": (25, 216), "madvise": (28, 233),
    "dup": (32, 23), "dup2": (33, None), "pause": (34, None), "nanosleep": (35, 101),
    "getitimer": (36, 102), "alarm": (37, None), "setitimer": (38, 103), "getpid": (39, 172),
    "sendmsg": (46, 211), "recvmsg": (47, 212), "clone": (56, 220), "fork": (57, None),
    "exit": (60, 93), "wait4": (61, 260), "kill": (62, 129), "uname": (63, 160),
    "getcwd": (79, 17), "readlink": (89, None), "gettimeofday": (96, 169),
    "getrlimit": (97, 163), "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153),
    "getuid": (102, 174), "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177),
    "getppid": (110, 173), "getpgrp": (111, None), "setsid": (112, 157), "getgroups": (115, 158),
    "getpgid": (121, 155), "getsid": (124, 156), "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137), "sigaltstack": (131, 132), "prctl": (157, 167),
    "arch_prctl": (158, None), "setrlimit": (160, 164), "gettid": (186, 178),
    "time": (201, None), "futex": (202, 98), "sched_getaffinity": (204, 123),
    "getdents64": (217, 61), "set_tid_address": (218, 96), "restart_syscall": (219, 128),
    "fadvise64": (221, 223), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "exit_group": (231, 94), "tgkill": (234, 131),
    "waitid": (247, 95), "openat": (257, 56), "newfstatat": (262, 79), "readlinkat": (267, 78),
    "faccessat": (269, 48), "pselect6": (270, 72), "ppoll": (271, 73),
    "set_robust_list": (273, 99), "epoll_create1": (291, 20), "epoll_ctl": (233, 21),
    "epoll_wait": (232, None), "epoll_pwait": (281, 22), "dup3": (292, 24),
    "pipe2": (293, 59), "eventfd2": (290, 19),
    "prlimit64": (302, 261), "seccomp": (317, 277), "getrandom": (318, 278),
    "membarrier": (324, 283), "statx": (332, 291), "rseq": (334, 293), "close_range": (436, 436),
    "faccessat2": (439, 439), "recvfrom": (45, 207),
}  # fmt: skip
_IOCTL, _CLONE3, _FCNTL, _SOCKETPAIR, _SENDTO = (16, 29), (435, 435), (72, 25), (53, 199), (44, 206)
_ZYGOTE_ONLY = ("fork", "setsid", "prctl", "seccomp", "sendmsg", "recvmsg", "wait4", "waitid")


def machine() -> str | None:
    """Return the name of this architecture if its numbers are known, else None."""
    name = platform.machine()
    return name if name in _AUDIT and struct.calcsize("P") == 8 else None


def shared_filter(architecture: str) -> bytes:
    """Make the filter of a zygote and its guests: what an interpreter needs, EPERM for the rest.

    Args:
        architecture: `x86_64` or `aarch64`.

    Returns:
        Steps of classic BPF, 8 bytes each.
    """
    column = list(_AUDIT).index(architecture)
    allowed = [numbers[column] for numbers in _CALLS.values()]
    return _program(
        [
            *_check_architecture(architecture),
            *_one_of(_IOCTL[column], _IOCTL_REQUESTS, errno.ENOTTY),
            *_one_of(_FCNTL[column], _FCNTL_COMMANDS, errno.EPERM),
            # A pair of connected sockets is harmless as long as nothing is sent elsewhere.
            *_only_if(_SOCKETPAIR[column], _JUMP_EQUAL, _AF_UNIX),
            *_without_address(_SENDTO[column]),
            # A filter cannot read its flags, which are behind a pointer; libc then uses clone.
            *_answer(_CLONE3[column], _ERRNO | errno.ENOSYS),
            *(step for n in allowed if n is not None for step in _answer(n, _ALLOW)),
            (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        ]
    )


def guest_filter(architecture: str, pid: int) -> bytes:
    """Make the filter of a guest: no new processes, no signals to others, no zygote's calls.

    Args:
        architecture: `x86_64` or `aarch64`.
        pid: Process id of the guest, which may signal itself.

    Returns:
        Steps of classic BPF, 8 bytes each.
    """
    column = list(_AUDIT).index(architecture)
    return guest_prefix(architecture) + _program(
        [
            *_only_if(_CALLS["kill"][column], _JUMP_EQUAL, pid),
            *_only_if(_CALLS["tgkill"][column], _JUMP_EQUAL, pid),
            (_RETURN, 0, 0, _ALLOW),
        ]
    )


# Most of the filter is the same for all guests: made once, before the first fork.
@cache
def guest_prefix(architecture: str) -> bytes:
    """Make the part of a guest's filter that does not depend on its process id.

    Args:
        architecture: `x86_64` or `aarch64`.

    Returns:
        Steps of classic BPF, 8 bytes each.
    """
    column = list(_AUDIT).index(architecture)
    refused = [_CALLS[name][column] for name in _ZYGOTE_ONLY]
    return _program(
        [
            *_check_architecture(architecture),
            *(step for n in refused if n is not None for step in _answer(n, _ERRNO | errno.EPERM)),
            *_only_if(_CALLS["clone"][column], _JUMP_ANY_SET, _CLONE_THREAD),
            *_only_if(_CALLS["prlimit64"][column], _JUMP_EQUAL, 0),
        ]
    )


Step = tuple[int, int, int, int]


def _check_architecture(architecture: str) -> list[Step]:
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, _AUDIT[architecture]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]


def _answer(number: int | None, answer: int) -> list[Step]:
    return [] if number is None else [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, answer)]


def _argument(index: int, high: bool = False) -> Step:
    """Load the low or the high half of an argument; both architectures are little-endian."""
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index + 4 * high)


def _only_if(number: int | None, jump: int, value: int) -> list[Step]:
    """Refuse call `number` unless the low half of its first argument passes the test."""
    if number is None:
        return []
    return [
        (_JUMP_EQUAL, 0, 4, number),
        _argument(0),
        (jump, 1, 0, value),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _one_of(number: int | None, values: Sequence[int], error: int) -> list[Step]:
    """Refuse call `number` unless the low half of its second argument is one of `values`."""
    if number is None:
        return []
    allowed = [step for value in values for step in _answer(value, _ALLOW)]
    return [
        (_JUMP_EQUAL, 0, len(allowed) + 2, number),
        _argument(1),
        *allowed,
        (_RETURN, 0, 0, _ERRNO | error),
    ]


def _without_address(number: int | None) -> list[Step]:
    """Refuse call `number` if its fifth argument, an address, is not null."""
    if number is None:
        return []
    return [
        (_JUMP_EQUAL, 0, 6, number),
        _argument(4),
        (_JUMP_EQUAL, 0, 3, 0),
        _argument(4, high=True),
        (_JUMP_EQUAL, 0, 1, 0),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]


def _program(steps: list[Step]) -> bytes:
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
