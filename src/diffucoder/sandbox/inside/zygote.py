"""Locks itself down once, then forks a guest for each program.

Commands of one byte come on the control socket. `FETCH` hands over the judge's end of the channel
of the guest that waits. `REAP` kills and reaps that guest and makes the next one wait; the answer
is its exit status and processor time. `WARM`, with their names in a frame, imports libraries, so
that no guest need do it.
"""

import _thread
import contextlib
import gc
import importlib
import os
import platform
import resource
import signal
import socket
import struct
from dataclasses import dataclass
from typing import Any

from . import guest, libraries, lockdown, namespaces, seccomp
from .wire import receive, send

FETCH, REAP, WARM = b"f", b"r", b"w"
REPORT = struct.Struct("=id")
# What programs of this kind import most; an import costs a guest more than its fork does.
_PRELOADED = (
    "abc", "ast", "bisect", "calendar", "cmath", "collections", "contextlib", "copy", "dataclasses",
    "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "inspect", "io",
    "itertools", "json", "math", "numbers", "operator", "random", "re", "statistics", "string",
    "textwrap", "threading", "time", "types", "typing",
)  # fmt: skip
# Threads of a candidate and the few processes beside it, where namespaces let them be counted.
_PROCESSES = 256
# A hundred threads fit into the smallest sensible address space; the default fits a dozen.
_STACK_BYTES = 2**20


@dataclass(frozen=True)
class Terms:
    """What all guests of a zygote have in common.

    statm: descriptor of the zygote's own memory use.
    architecture: that of the call filter, None for none.
    memory_mb: address space beyond that of the interpreter, MiB.
    alone: whether the zygote is process 1, so that it can signal nobody but its guests.
    """

    statm: int
    architecture: str | None
    memory_mb: int
    cpu_s: int
    alone: bool

    def limits(self) -> tuple[int, int]:
        """Arguments of `lockdown.limit`."""
        own = int(os.pread(self.statm, 64, 0).split()[0]) * resource.getpagesize()
        return own + self.memory_mb * 2**20, self.cpu_s


def main(control_fd: int, parent: int, options: dict[str, Any]) -> None:
    """Serve the judge until it is gone. `options`: tier, memory_mb, cpu_s, libraries."""
    lockdown.die_with_parent(parent)
    mechanisms = frozenset(options["tier"].split("+"))
    alone = "namespaces" in mechanisms
    try:
        user = namespaces.enter(control_fd, parent) if alone else None
        preload()
        libraries.make_importable(options["libraries"])
        statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        null = os.open(os.devnull, os.O_RDWR)
        architecture = enclose(mechanisms, options["libraries"], user)
    except OSError as error:
        send(control_fd, {"error": str(error)})
        return
    send(control_fd, {"tier": options["tier"]})
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    os.environ.clear()
    os.environ.update(libraries.ENVIRONMENT)
    _thread.stack_size(_STACK_BYTES)
    lockdown.limit_heirs(_PROCESSES if alone else None)
    terms = Terms(statm, architecture, options["memory_mb"], options["cpu_s"], alone)
    serve(control_fd, terms)


def preload() -> None:
    """Import what most programs need, once for all guests."""
    register, os.register_at_fork = os.register_at_fork, lambda **_: None  # type: ignore[assignment]
    # What these modules would do in a fork is mend what threads left, and there are none; doing
    # it in each guest takes as long as the fork.
    for name in _PRELOADED:
        importlib.import_module(name)
    os.register_at_fork = register
    # The same candidate must get the same verdict in every run.
    importlib.import_module("random").seed(0)


def serve(control_fd: int, terms: Terms) -> None:
    """Carry out the judge's commands."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, control_fd)
    settle()
    pid, channel = fork_guest(terms)
    while command := os.read(control_fd, 1):
        if command == FETCH:
            socket.send_fds(control, [FETCH], [channel.fileno()])
            channel.close()
            continue
        report = reap(pid, terms.alone)
        if command == WARM:
            channel.close()
            libraries.load(receive(control_fd))
            settle()
        # The next guest is made while the judge is busy with what this one said.
        os.write(control_fd, report)
        pid, channel = fork_guest(terms)


def settle() -> None:
    """Keep the collector of the guests away from what they share, which looking at would copy."""
    gc.collect()
    gc.freeze()


def enclose(mechanisms: frozenset[str], allowed: dict[str, str], user: int | None) -> str | None:
    """Apply what every guest inherits; returns the architecture if calls are filtered.

    user: whom guests run as, None for the user there is.
    """
    os.chdir("/")
    if mechanisms == {"unsafe"}:
        return None
    readable = lockdown.library_files(libraries.files(allowed))
    if "namespaces" in mechanisms:
        namespaces.replace_root(readable)
        if user is not None:
            namespaces.become(user)
    lockdown.drop_privileges()
    if "landlock" in mechanisms:
        lockdown.restrict_files(lockdown.landlock_version(), readable)
    architecture = seccomp.machine()
    if architecture is None:
        raise OSError(f"no table of system calls for {platform.machine()}")
    lockdown.filter_calls(seccomp.shared_filter(architecture))
    seccomp.guest_prefix(architecture)
    return architecture


def fork_guest(terms: Terms) -> tuple[int, socket.socket]:
    """Make a guest, which serves at once; returns its process id and the end of its channel."""
    judge_end, guest_end = socket.socketpair()
    # Not in the guest: each page that it touches is copied.
    limits = terms.limits()
    pid = os.fork()
    if pid == 0:
        become_guest(guest_end.detach(), terms, limits)
    guest_end.close()
    return pid, judge_end


def become_guest(channel: int, terms: Terms, limits: tuple[int, int]) -> None:
    """Finish the lockdown in the child and serve; never returns."""
    try:
        zygote = os.getppid()
        os.setsid()
        lockdown.die_with_parent(zygote)
        lockdown.limit(*limits)
        os.dup2(channel, 3)
        os.closerange(4, 1024)
        if terms.architecture is not None:
            lockdown.filter_calls(seccomp.guest_filter(terms.architecture, os.getpid()))
        guest.main(3)
    finally:
        os._exit(70)


def reap(pid: int, alone: bool) -> bytes:
    """Kill what is left of the guest's session and report how its first process ended.

    Where no process but guests can be seen, all of them go, whatever they did to leave it.
    """
    for target in (-1,) if alone else (-pid, pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(target, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    with contextlib.suppress(ChildProcessError):
        while alone:
            os.waitpid(-1, 0)
    return REPORT.pack(status, usage.ru_utime + usage.ru_stime)
