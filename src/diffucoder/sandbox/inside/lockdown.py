"""Irreversibly takes rights from the calling process that a candidate must not have.

Raw system calls through ctypes, so that nothing needs to be installed. Landlock's numbers and
structures are those of include/uapi/linux/landlock.h, which are the same on both architectures.
"""

import ctypes
import os
import resource
import signal
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x20080522
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ_FILE, _READ_DIR, _WRITE_FILE = 1 << 2, 1 << 3, 1 << 1
libc = ctypes.CDLL(None, use_errno=True)


class _RulesetAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("files", "net", "scoped")]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


class _FilterProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends.

    Args:
        parent: Process id of the parent; if it is another one by now, this process ends.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def landlock_version() -> int:
    """Return the kernel's Landlock version, 0 if there is none."""
    return max(0, libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def drop_privileges() -> None:
    """Drop all capabilities and every way to gain any; hide this process's memory from others."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    number = _CAPSET.get(os.uname().machine)
    if number is not None:
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        check(libc.syscall(number, header, (ctypes.c_uint32 * 6)()), "capset")


def restrict_files(version: int, readable: Iterable[Path]) -> None:
    """Refuse all files but some.

    Args:
        version: The kernel's Landlock version, at least 1.
        readable: Files and folders that may be read. The standard library's folders may be
            listed, and the null device may be written to.

    Raises:
        OSError: If the kernel refuses.
    """
    # Versions 2, 3 and 5 each added a right to files, 4 the network, 6 signals and sockets.
    rights = 13 + (version >= 2) + (version >= 3) + (version >= 5)
    attributes = _RulesetAttributes(
        (1 << rights) - 1, 3 if version >= 4 else 0, 3 if version >= 6 else 0
    )
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), size, ctypes.c_uint32(0))
    check(ruleset, "landlock_create_ruleset")
    for path in readable:
        _allow(ruleset, path, _READ_FILE | (_READ_DIR if path.is_dir() else 0))
    # The import system lists a folder before it opens a file in it.
    _allow(ruleset, Path(sysconfig.get_path("stdlib")), _READ_DIR)
    # Where printed text goes.
    _allow(ruleset, Path(os.devnull), _WRITE_FILE)
    check(libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)), "landlock_restrict_self")
    os.close(ruleset)


def library_files(others: Iterable[Path] = ()) -> list[Path]:
    """List what a candidate may read.

    Args:
        others: Files and folders besides the standard library.

    Returns:
        The standard library, the shared libraries that it links to, time zones, and `others`.
    """
    library = Path(sysconfig.get_path("stdlib"))
    parts = [p for p in library.iterdir() if p.name not in ("site-packages", "dist-packages")]
    system = [Path(p) for p in ("/lib", "/lib64", "/usr/lib64", "/usr/share/zoneinfo")]
    shared = [
        path
        for folder in {Path(sys.base_prefix) / "lib", Path("/usr/lib"), *system[:3]}
        for path in (folder.glob("*.so*") if folder.is_dir() else [])
    ]
    linked = [p for folder in system[:1] for p in folder.glob("*-linux-gnu")]
    rest = (system[3], Path("/etc/localtime"), Path(os.devnull), *others)
    return [path for path in (*parts, *shared, *linked, *rest) if path.exists()]


def limit_heirs(processes: int | None) -> None:
    """Limit files, core dumps and threads of this process and of all that it will start.

    Args:
        processes: Number of processes and threads that its user may have in its namespaces; None
            sets no limit, for without namespaces the user's other processes count too.
    """
    bounds = {resource.RLIMIT_FSIZE: 0, resource.RLIMIT_NOFILE: 64, resource.RLIMIT_CORE: 0}
    if processes is not None:
        bounds[resource.RLIMIT_NPROC] = processes
    for kind, bound in bounds.items():
        resource.setrlimit(kind, (bound, bound))


def limit(memory_bytes: int, cpu_s: int) -> None:
    """Limit address space and processor time of this process.

    Args:
        memory_bytes: Address space, in bytes.
        cpu_s: Processor time, in seconds; a second later the kernel kills the process.
    """
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    # The candidate can handle the signal of the soft limit; the hard limit kills.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))


def filter_calls(program: bytes) -> None:
    """Install a seccomp filter on this thread and all that it will start.

    Args:
        program: Steps of classic BPF, 8 bytes each (`seccomp.py`).

    Raises:
        OSError: If the kernel refuses.
    """
    prog = _FilterProgram(len(program) // 8, program)
    number = _SECCOMP[os.uname().machine]
    check(libc.syscall(number, 1, ctypes.c_uint32(0), ctypes.byref(prog)), "seccomp")


def _allow(ruleset: int, path: Path, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = _PathBeneath(rights, fd)
    done = libc.syscall(_ADD_RULE, ruleset, 1, ctypes.byref(rule), ctypes.c_uint32(0))
    os.close(fd)
    check(done, f"landlock_add_rule for {path}")


def _prctl(option: int, value: int) -> None:
    check(libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def check(result: int, call: str) -> None:
    """Check the result of a call into libc.

    Args:
        result: What the call returned.
        call: Its name, for the message.

    Raises:
        OSError: If the result is negative.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
