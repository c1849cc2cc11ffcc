"""Digests of files and directories: equal contents have equal digests."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path


def local_path(dataset: object) -> Path | None:
    """Locate the data of a catalog entry.

    Args:
        dataset: A Kedro dataset.

    Returns:
        Its path on this machine; None if it is kept in memory or on another machine.
    """
    path = getattr(dataset, "_filepath", None) or getattr(dataset, "_path", None)
    if path is None or getattr(dataset, "_protocol", "file") != "file":
        return None
    return Path(path)


def signature(path: Path) -> str:
    """Hash names, sizes and modification times of all files at a path.

    Args:
        path: A file or a directory.

    Returns:
        A hash that is quick to compute and changes with every write.
    """
    lines = [
        f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}"
        for name, stat in ((name, file.stat()) for name, file in _files(path))
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def digest(path: Path) -> str:
    """Hash contents and relative names of all files at a path.

    Files are not read again while their `signature` is that of the last call.

    Args:
        path: A file or a directory.

    Returns:
        The SHA-256 digest in hexadecimal.
    """
    return _digest(path, signature(path))


@lru_cache(maxsize=256)
def _digest(path: Path, _signature: str) -> str:
    total = hashlib.sha256()
    for name, file in _files(path):
        with file.open("rb") as stream:
            total.update(f"{name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _files(path: Path) -> list[tuple[str, Path]]:
    """Relative name and path of every file, sorted by name."""
    if path.is_file():
        return [("", path)]
    files = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    return sorted((file.relative_to(path).as_posix(), file) for file in files)
