"""What a file or directory holds, as a short text: equal contents, equal digest."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path


def local_path(dataset: object) -> Path | None:
    """Where a catalog entry keeps its data; None if that is in memory or on another machine."""
    path = getattr(dataset, "_filepath", None) or getattr(dataset, "_path", None)
    if path is None or getattr(dataset, "_protocol", "file") != "file":
        return None
    return Path(path)


def signature(path: Path) -> str:
    """Digest of names, sizes and times of change of all files at `path`.

    It is cheap, and changes whenever somebody wrote there.
    """
    lines = [
        f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}"
        for name, stat in ((name, file.stat()) for name, file in _files(path))
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def digest(path: Path) -> str:
    """Hash of the contents and relative names of all files at `path`.

    Reading is skipped while `signature` says that nothing was written since the last call.
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
    found = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    return sorted((file.relative_to(path).as_posix(), file) for file in found)
