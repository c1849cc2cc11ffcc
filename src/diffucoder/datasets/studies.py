"""What studies found, for a reader that can do without it."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError
from kedro_datasets.plotly import JSONDataset

from diffucoder.datasets.table import TableDataset

# What holds a file of each kind.
KINDS: dict[str, type[AbstractDataset[Any, Any]]] = {
    ".parquet": TableDataset,
    ".json": JSONDataset,
}


class StudiesDataset(AbstractDataset[dict[str, Any], dict[str, Any]]):
    """A folder that other entries fill: its tables and figures by the names of their files.

    A file older than what it was made from speaks of something else, and counts as absent.

    Args:
        path: Folder on this machine with `.parquet` tables and `.json` figures.
        after: A file on this machine that must be there and not be newer.
        metadata: For other tools.
    """

    def __init__(self, path: str, after: str, metadata: dict[str, Any] | None = None) -> None:
        self._path, self._after = Path(path), Path(after)
        self.metadata = metadata

    def load(self) -> dict[str, Any]:
        """Tables and figures that are there and up to date, by name."""
        if not self._after.exists():
            return {}
        oldest = self._after.stat().st_mtime
        return {
            file.stem: KINDS[file.suffix](filepath=str(file)).load()
            for file in sorted(self._path.glob("*"))
            if file.suffix in KINDS and file.stat().st_mtime >= oldest
        }

    def save(self, data: dict[str, Any]) -> None:
        """Refused: the entries that lie in the folder are there for that."""
        raise DatasetError(f"{self} is for reading; save to the entries that lie in it")

    def _exists(self) -> bool:
        # A run need not be refused for want of it.
        return True

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path), "after": str(self._after)}
