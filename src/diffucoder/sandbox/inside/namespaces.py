"""Namespaces for a zygote and its guests, and a root directory that holds only the library.

One set of namespaces serves all guests of a zygote, which is process 1 of its PID namespace: one
signal to all processes ends what a guest leaves behind, nothing inside can signal the zygote, and
when the zygote ends the kernel ends all of them.
"""

import ctypes
import os
import socket
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .lockdown import check, die_with_parent, libc
from .wire import receive, send

# The user that candidates run as if root opens the sandbox: nobody. Root is exempt from the limit
# on processes.
NOBODY = 65534
_NEW_MOUNTS, _NEW_HOST, _NEW_IPC = 0x00020000, 0x04000000, 0x08000000
_NEW_USER, _NEW_PID, _NEW_NET = 0x10000000, 0x20000000, 0x40000000
_NOSUID, _BIND, _RECURSIVE, _PRIVATE = 2, 4096, 16384, 1 << 18
_DETACH = 2
_MOUNT_SETATTR = 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_AT_RECURSIVE, _ATTR_READ_ONLY, _ATTR_NOSUID = 0x8000, 1, 2
# Where the new root is made: a folder that every machine has, and that holds no library.
_ROOT = Path("/proc")
# Mode of folders on the way to something readable: neither listed nor written to, by any user.
_PASSAGE = 0o111


def enter(control_fd: int, parent: int) -> int | None:
    """Continue in a child that is process 1 of new namespaces; the caller waits for its end.

    The judge, which is outside, maps the user ids: see `write_maps`.

    Args:
        control_fd: Descriptor of the socket to the judge.
        parent: Process id of the judge.

    Returns:
        The answer of `write_maps`.

    Raises:
        OSError: If the kernel refuses.
    """
    flags = _NEW_USER | _NEW_PID | _NEW_MOUNTS | _NEW_NET | _NEW_IPC | _NEW_HOST
    check(libc.unshare(flags), "unshare")
    # New credentials reset it.
    die_with_parent(parent)
    send(control_fd, {"needs": "maps"})
    other = receive(control_fd)
    child = os.fork()
    if child:
        os.close(control_fd)
        os.waitpid(child, 0)
        os._exit(0)
    # Its parent is outside and has no process id here.
    die_with_parent(0)
    return other if isinstance(other, int) else None


def write_maps(pid: int) -> int | None:
    """Map the users of a new user namespace to ours.

    Args:
        pid: A process in that namespace.

    Returns:
        Id of a user inside other than ours; None if there is none.

    Raises:
        OSError: If the kernel refuses.
    """
    folder = Path("/proc") / str(pid)
    user, group = os.getuid(), os.getgid()
    if user == 0:
        with suppress(PermissionError):
            (folder / "uid_map").write_text(f"0 0 1\n{NOBODY} {NOBODY} 1")
            (folder / "gid_map").write_text(f"{group} {group} 1\n{NOBODY} {NOBODY} 1")
            return NOBODY
    # A process without privileges may map its own user only, and must give up changing groups.
    (folder / "setgroups").write_text("deny")
    (folder / "uid_map").write_text(f"{user} {user} 1")
    (folder / "gid_map").write_text(f"{group} {group} 1")
    return None


def become(user: int) -> None:
    """Change to a user, inside and outside of the namespace.

    Args:
        user: Id of the user and the group.
    """
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    die_with_parent(0)


def replace_root(readable: Iterable[Path]) -> None:
    """Move into a read-only root directory.

    What else exists on the way to a readable path becomes a name that cannot be opened, so that a
    candidate is denied access to it, as in tiers without namespaces.

    Args:
        readable: Files and folders that the new root holds, each at its own path.

    Raises:
        OSError: If the kernel refuses.
    """
    socket.sethostname("sandbox")
    os.umask(0)
    library = Path(sysconfig.get_path("stdlib"))
    paths = {path for path in readable if library not in path.parents}
    allowed = set(readable) - paths
    _mount(None, Path("/"), None, _RECURSIVE | _PRIVATE)
    passages = {Path("/")}
    _mount("tmpfs", _ROOT, "tmpfs", _NOSUID, f"mode={_PASSAGE:o},size=4m")
    _mirror(library, passages)
    for path in library.iterdir():
        if path not in allowed and path.is_dir():
            _mount("tmpfs", _inside(path), "tmpfs", _NOSUID, f"mode={_PASSAGE:o},size=4m")
            passages.add(path)
    # A folder before what a link points to inside of it, which would make it a passage only.
    for path in sorted(paths | allowed, key=lambda path: len(path.resolve().parts)):
        _mirror(path, passages)
    for passage in passages:
        _shade(passage)
    attributes = (ctypes.c_uint64 * 4)(_ATTR_READ_ONLY | _ATTR_NOSUID)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    done = libc.syscall(
        _MOUNT_SETATTR, -1, bytes(_ROOT), ctypes.c_uint(_AT_RECURSIVE), attributes, size
    )
    check(done, "mount_setattr")
    os.chdir(_ROOT)
    check(libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    check(libc.umount2(b".", _DETACH), "umount2")
    os.chdir("/")


def _mirror(path: Path, passages: set[Path]) -> None:
    """Make `path` reachable in the new root: links stay links, their targets are bind-mounted."""
    for part in (*reversed(path.parents), path)[1:]:
        copy = _inside(part)
        if part.is_symlink():
            target = os.readlink(part)
            if not os.path.lexists(copy):
                copy.symlink_to(target)
            rest = path.relative_to(part)
            return _mirror(Path(os.path.normpath(part.parent / target)) / rest, passages)
        if os.path.lexists(copy):
            continue
        if part != path:
            copy.mkdir(_PASSAGE)
            passages.add(part)
            continue
        _placeholder(copy, part.is_dir())
        _mount(str(part), copy, None, _BIND | _RECURSIVE)
    return None


def _shade(passage: Path) -> None:
    """Give everything in a folder that is not mounted a name that cannot be opened."""
    try:
        names = os.listdir(passage)
    except OSError:
        return
    for name in names:
        path, copy = passage / name, _inside(passage / name)
        if not os.path.lexists(copy):
            # The targets of some links are covered, and cannot be looked at.
            _placeholder(copy, path.is_dir() or path.is_symlink())


def _placeholder(path: Path, folder: bool) -> None:
    if folder:
        path.mkdir(0)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0))


def _inside(path: Path) -> Path:
    return _ROOT / path.relative_to("/")


def _mount(source: str | None, target: Path, kind: str | None, flags: int, data: str = "") -> None:
    arguments = [text and os.fsencode(text) for text in (source, str(target), kind)]
    done = libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() or None)
    check(done, f"mount on {target}")
