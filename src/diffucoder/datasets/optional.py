"""What a run shows if it happens to be there."""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, DatasetError

from diffucoder.datasets.identity import local_path


class OptionalDataset(AbstractDataset[Any, Any]):
    """Another entry's file for readers that can do without it: loads None where there is none.

    A file older than what it was made from speaks of something else, and counts as absent.

    Args:
        dataset: configuration of the entry whose file is read.
        after: a file on this machine that must be there and not be newer.
        metadata: for other tools.
    """

    def __init__(
        self, dataset: dict[str, Any], after: str, metadata: dict[str, Any] | None = None
    ) -> None:
        self._dataset = AbstractDataset.from_config("optional", dataset)
        self._filepath = local_path(self._dataset)
        self._after = Path(after)
        self.metadata = metadata

    def load(self) -> Any:
        """What the entry holds; None if it is absent or out of date."""
        return self._dataset.load() if self._is_current() else None

    def save(self, data: Any) -> None:
        """Refused: the entry itself is there for that."""
        raise DatasetError(f"{self} is for reading; save to the entry that it reads")

    def _is_current(self) -> bool:
        if self._filepath is None or not self._filepath.exists() or not self._after.exists():
            return False
        return self._filepath.stat().st_mtime >= self._after.stat().st_mtime

    def _exists(self) -> bool:
        # A run need not be refused for want of it.
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "after": str(self._after)}
