"""Directories as catalog entries: checkpoints, which are moved in, and others, which are copied."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from diffucoder.errors import BadCheckpoint, BadData, DiffucoderError
from diffucoder.io.atomic import atomic_directory, is_complete, require_complete


class DirectoryDataset(AbstractDataset[Path, Path]):
    """A directory that is whole or absent; nodes receive and return paths.

    `save` takes the path of a finished directory and copies it, `load` returns the path at which
    the catalog keeps it.

    Args:
        filepath: Where the catalog keeps the directory.
        metadata: For other tools.

    Example:
        ```yaml
        tokenizer:
          type: diffucoder.datasets.checkpoint.DirectoryDataset
          filepath: ${globals:data}/04_feature/tokenizer
        ```
    """

    error: type[DiffucoderError] = BadData

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Return the directory's path.

        Raises:
            DiffucoderError: The class's `error`, if the directory is absent or half written.
        """
        return require_complete(self._filepath, self.error, "run the pipeline that makes it again")

    def save(self, data: Path) -> None:
        """Replace the directory by a copy of `data`, completely or not at all.

        Args:
            data: A directory with files.

        Raises:
            DiffucoderError: The class's `error`, if `data` is not a directory with files.
            OSError: If the disk is full; what was there before stays.
        """
        self._put(Path(data), shutil.copy2)

    def _put(self, source: Path, copy: Callable[[str, str], object]) -> None:
        if not source.is_dir() or not any(source.iterdir()):
            raise self.error(
                f"{source}: expected a directory with files to keep as {self._filepath}, "
                "found none; the step that should have filled it did not end well"
            )
        if source.resolve() == self._filepath.resolve():
            raise self.error(
                f"{source}: this is the place where the result is kept; build it in another "
                "directory, so that a failure cannot spoil the earlier one"
            )
        with atomic_directory(self._filepath) as partial:
            shutil.copytree(source, partial, dirs_exist_ok=True, copy_function=copy)

    def _exists(self) -> bool:
        return is_complete(self._filepath)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class CheckpointDataset(DirectoryDataset):
    """A model's Hugging Face directory. `save` moves: the source directory is gone afterwards.

    Example:
        ```yaml
        grpo:
          type: diffucoder.datasets.checkpoint.CheckpointDataset
          filepath: ${globals:data}/06_models/grpo
        ```
    """

    error = BadCheckpoint

    def save(self, data: Path) -> None:
        """Replace the directory by `data`, completely or not at all; `data` is gone afterwards.

        Args:
            data: A directory with files.

        Raises:
            BadCheckpoint: If `data` is not a directory with files.
            OSError: If the disk is full; `data` and what was there before stay.
        """
        self._put(Path(data), _link_or_copy)
        shutil.rmtree(data)


def _link_or_copy(source: str, target: str) -> None:
    """Give a file a second name, or copy it if the file system cannot.

    So large weights are not copied. The first name is removed afterwards.
    """
    try:
        os.link(Path(source).resolve(strict=True), target)
    except OSError:
        shutil.copy2(source, target)
