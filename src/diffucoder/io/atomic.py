"""Files and directories that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from diffucoder.errors import DiffucoderError

COMPLETE = "COMPLETE"


def is_complete(path: Path | str) -> bool:
    """Check whether `path` is a directory that was written completely."""
    return (Path(path) / COMPLETE).is_file()


def require_complete(path: Path | str, error: type[DiffucoderError], remedy: str) -> Path:
    """Check that a directory was written completely.

    Args:
        path: A directory that `atomic_directory` made.
        error: The class to raise otherwise, one of `diffucoder.errors`.
        remedy: What the user can do; the end of the message.

    Returns:
        The directory.

    Raises:
        DiffucoderError: As `error`, if the directory is absent or lacks its marker.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise error(f"{directory}: there is no such directory; {remedy}")
    if not is_complete(directory):
        raise error(
            f"{directory}: the file {COMPLETE} is missing, so the directory was only half "
            f"written; {remedy}"
        )
    return directory


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Write a file that replaces `path` when the block succeeds.

    If the block raises, what was at `path` before is unchanged.

    Args:
        path: The file.

    Yields:
        The path to write to.

    Raises:
        OSError: If the disk is full or cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.{os.getpid()}.partial"
    try:
        yield partial
        _fsync(partial)
        partial.replace(target)
        _fsync(target.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path | str) -> Iterator[Path]:
    """Fill a directory that replaces `path` when the block succeeds.

    All files are on the disk before the marker `COMPLETE` is written, and the marker is
    written before the directory gets its name. If the block raises, what was at `path` before is
    unchanged, and the new directory is removed.

    Args:
        path: The directory.

    Yields:
        An empty directory to fill.

    Raises:
        OSError: If the disk is full or cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    partial = target.parent / f".{target.name}.{os.getpid()}.partial"
    partial.mkdir()
    try:
        yield partial
        (partial / COMPLETE).unlink(missing_ok=True)
        _fsync_tree(partial)
        (partial / COMPLETE).touch()
        _fsync(partial / COMPLETE)
        _fsync(partial)
        _swap(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def remove_atomically(directory: Path) -> None:
    """Delete a directory so that a kill leaves no half of it under its name.

    What an earlier kill left of such a deletion is deleted as well.
    """
    doomed = directory.parent / f".{directory.name}.discarded"
    shutil.rmtree(doomed, ignore_errors=True)
    if directory.exists():
        directory.rename(doomed)
        shutil.rmtree(doomed)


def _swap(partial: Path, target: Path) -> None:
    """Give `partial` the name `target`; what had the name is deleted afterwards."""
    previous = target.parent / f".{target.name}.{os.getpid()}.previous"
    replaces = target.exists()
    if replaces:
        target.rename(previous)
    try:
        partial.rename(target)
    except OSError:
        if replaces:
            previous.rename(target)
        raise
    _fsync(target.parent)
    if replaces:
        shutil.rmtree(previous)


def recover(target: Path) -> None:
    """Clear what earlier writers of the directory `target` left when they were killed.

    A replaced directory whose replacement never came is put back.
    """
    for leftover in target.parent.glob(f".{target.name}.*.previous"):
        if not _writer_lives(leftover):
            if target.exists():
                shutil.rmtree(leftover)
            else:
                leftover.rename(target)
    for leftover in target.parent.glob(f".{target.name}.*.partial"):
        if not _writer_lives(leftover):
            shutil.rmtree(leftover)


def _writer_lives(leftover: Path) -> bool:
    pid = int(leftover.name.rsplit(".", 2)[1])
    return pid != os.getpid() and psutil.pid_exists(pid)


def _fsync_tree(directory: Path) -> None:
    for folder, _, files in os.walk(directory):
        for name in files:
            _fsync(Path(folder) / name)
        _fsync(Path(folder))


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
