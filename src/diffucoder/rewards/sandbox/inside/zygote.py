"""Locks itself down once, then forks a guest for each program.

Commands of one byte come on the control socket. `f` forks: the answer carries the judge's end of
the guest's channel. `r` kills and reaps the guest: the answer is its exit status and processor
time.
"""

import contextlib
import gc
import importlib
import os
import random
import signal
import socket
import struct

from . import guest, lockdown, seccomp
from .wire import send

REPORT = struct.Struct("=id")
# What programs of this kind import most; an import costs a guest more than its fork does.
_PRELOADED = (
    "abc", "ast", "bisect", "calendar", "cmath", "collections", "contextlib", "copy", "dataclasses",
    "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "inspect", "io",
    "itertools", "json", "math", "numbers", "operator", "random", "re", "statistics", "string",
    "textwrap", "threading", "time", "types", "typing",
)  # fmt: skip


def main(control_fd: int, parent: int, options: dict[str, object]) -> None:
    """Serve the judge until it is gone. `options`: tier, memory_mb, cpu_s."""
    lockdown.die_with_parent(parent)
    for name in _PRELOADED:
        importlib.import_module(name)
    control = socket.socket(fileno=control_fd)
    null = os.open(os.devnull, os.O_RDWR)
    try:
        architecture = enclose(str(options["tier"]))
    except OSError as error:
        send(control_fd, {"error": str(error)})
        return
    send(control_fd, {"tier": str(options["tier"])})
    limits = int(str(options["memory_mb"])) * 2**20, int(str(options["cpu_s"]))
    os.environ.clear()
    gc.collect()
    gc.freeze()
    pid = 0
    while command := os.read(control_fd, 1):
        if command == b"r":
            os.write(control_fd, reap(pid))
            continue
        judge_end, guest_end = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            become_guest(guest_end.detach(), null, architecture, limits)
        guest_end.close()
        socket.send_fds(control, [b"f"], [judge_end.fileno()])
        judge_end.close()


def enclose(tier: str) -> str | None:
    """Apply what every guest inherits; returns the architecture if calls are filtered."""
    os.chdir("/")
    if tier == "unsafe":
        return None
    readable = lockdown.library_files()
    lockdown.drop_privileges()
    lockdown.restrict_files(lockdown.landlock_version(), readable)
    if tier == "landlock":
        return None
    architecture = seccomp.machine()
    assert architecture is not None
    lockdown.filter_calls(seccomp.shared_filter(architecture))
    seccomp.guest_prefix(architecture)
    return architecture


def become_guest(
    channel: int, null: int, architecture: str | None, limits: tuple[int, int]
) -> None:
    """Finish the lockdown in the child and serve; never returns."""
    try:
        zygote = os.getppid()
        os.setsid()
        lockdown.die_with_parent(zygote)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.dup2(channel, 3)
        os.closerange(4, 1024)
        lockdown.limit(*limits)
        # A fork seeds it anew; the same candidate must get the same verdict in every run.
        random.seed(0)
        if architecture is not None:
            lockdown.filter_calls(seccomp.guest_filter(architecture, os.getpid()))
        guest.main(3)
    finally:
        os._exit(70)


def reap(pid: int) -> bytes:
    """Kill what is left of the guest's session and report how its first process ended."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return REPORT.pack(status, usage.ru_utime + usage.ru_stime)
