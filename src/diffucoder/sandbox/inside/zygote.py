"""Locks itself down once, then forks a guest for each program.

Commands of one byte come on the control socket. `FETCH` hands over the judge's end of the channel
to the guest that waits. `REAP` kills and reaps that guest and forks the next one; the answer is its
exit status and processor time. `WARM`, with their names in a frame, also imports libraries, so that
no guest needs to.
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
# Modules that programs often import; an import costs a guest more time than its fork does.
_PRELOADED = (
    "abc", "ast", "bisect", "calendar", "cmath", "collections", "contextlib", "copy", "dataclasses",
    "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "inspect", "io",
    "itertools", "json", "math", "numbers", "operator", "random", "re", "statistics", "string",
    "textwrap", "threading", "time", "types", "typing",
)  # fmt: skip
# Threads of a candidate and the few processes beside it, in tiers whose namespaces count them.
_PROCESSES = 256
# Bytes. A hundred such stacks fit into the smallest sensible address space; of the default size, a
# dozen.
_STACK_BYTES = 2**20


@dataclass(frozen=True)
class GuestSettings:
    """What all guests of a zygote have in common.

    Attributes:
        statm: Descriptor of the zygote's own memory use.
        architecture: Architecture of the call filter; None for no filter.
        memory_mb: Address space beyond that of the interpreter, in MiB.
        cpu_s: Processor seconds.
        alone: Whether the zygote is process 1, so that it can signal no process but its guests.
    """

    statm: int
    architecture: str | None
    memory_mb: int
    cpu_s: int
    alone: bool

    def limits(self) -> tuple[int, int]:
        """Return the arguments of `lockdown.limit`."""
        own = int(os.pread(self.statm, 64, 0).split()[0]) * resource.getpagesize()
        return own + self.memory_mb * 2**20, self.cpu_s


def main(control_fd: int, parent: int, options: dict[str, Any]) -> None:
    """Serve the judge until it is gone.

    Args:
        control_fd: Descriptor of the control socket.
        parent: Process id of the judge.
        options: `tier`, `memory_mb`, `cpu_s` and `libraries`, as in `judge.Judge`.
    """
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
    settings = GuestSettings(statm, architecture, options["memory_mb"], options["cpu_s"], alone)
    serve(control_fd, settings)


def preload() -> None:
    """Import what most programs need, once for all guests."""
    register = os.register_at_fork
    # In a fork these modules would only repair what threads left, and there are none; doing so in
    # each guest takes as long as the fork.
    os.register_at_fork = lambda **_: None
    for name in _PRELOADED:
        importlib.import_module(name)
    os.register_at_fork = register
    # The same candidate must get the same verdict in every run.
    importlib.import_module("random").seed(0)


def serve(control_fd: int, settings: GuestSettings) -> None:
    """Carry out the judge's commands.

    Args:
        control_fd: Descriptor of the control socket.
        settings: Settings of all guests.
    """
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, control_fd)
    freeze()
    pid, channel = fork_guest(settings)
    while command := os.read(control_fd, 1):
        if command == FETCH:
            socket.send_fds(control, [FETCH], [channel.fileno()])
            channel.close()
            continue
        report = reap(pid, settings.alone)
        if command == WARM:
            channel.close()
            names = receive(control_fd)
            assert isinstance(names, list)
            libraries.load(map(str, names))
            freeze()
        # The next guest is forked while the judge works on this one's answers.
        os.write(control_fd, report)
        pid, channel = fork_guest(settings)


def freeze() -> None:
    """Hide existing objects from the guests' garbage collector, which would copy shared pages."""
    gc.collect()
    gc.freeze()


def enclose(mechanisms: frozenset[str], allowed: dict[str, str], user: int | None) -> str | None:
    """Apply the containment that every guest inherits.

    Args:
        mechanisms: Mechanisms of the tier.
        allowed: Libraries that may be read, with their files.
        user: Id of the user that guests run as; None for the current user.

    Returns:
        The architecture whose system calls are filtered; None if they are not.

    Raises:
        OSError: If this machine lacks a mechanism.
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


def fork_guest(settings: GuestSettings) -> tuple[int, socket.socket]:
    """Fork a guest, which serves at once.

    Args:
        settings: Settings of all guests.

    Returns:
        Its process id, and the judge's end of the channel to it.
    """
    judge_end, guest_end = socket.socketpair()
    # Read here, not in the guest: each page that the guest touches is copied.
    limits = settings.limits()
    pid = os.fork()
    if pid == 0:
        become_guest(guest_end.detach(), settings, limits)
    guest_end.close()
    return pid, judge_end


def become_guest(channel: int, settings: GuestSettings, limits: tuple[int, int]) -> None:
    """Finish the lockdown in the child, and serve; never returns.

    Args:
        channel: Descriptor of the channel to the judge.
        settings: Settings of all guests.
        limits: Arguments of `lockdown.limit`.
    """
    try:
        zygote = os.getppid()
        os.setsid()
        lockdown.die_with_parent(zygote)
        lockdown.limit(*limits)
        os.dup2(channel, 3)
        os.closerange(4, 1024)
        if settings.architecture is not None:
            lockdown.filter_calls(seccomp.guest_filter(settings.architecture, os.getpid()))
        guest.main(3)
    finally:
        os._exit(70)


def reap(pid: int, alone: bool) -> bytes:
    """Kill what is left of the guest's session.

    Args:
        pid: Process id of the guest.
        alone: Whether no processes but guests can be seen. Then all of them are killed, also
            those that left the session.

    Returns:
        Exit status and processor seconds of the guest, packed as `REPORT`.
    """
    for target in (-1,) if alone else (-pid, pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(target, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    with contextlib.suppress(ChildProcessError):
        while alone:
            os.waitpid(-1, 0)
    return REPORT.pack(status, usage.ru_utime + usage.ru_stime)
