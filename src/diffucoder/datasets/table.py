"""Parquet tables that a failed save cannot spoil and that Kedro-Viz can show."""

from typing import Any

import pandas as pd
from kedro_datasets._typing import TablePreview
from kedro_datasets.pandas import ParquetDataset

from diffucoder.datasets.identity import local_path
from diffucoder.io.atomic import atomic_file

# Enough of a cell to tell what it is; programs and prompts are longer.
PREVIEW_CHARACTERS = 200


class TableDataset(ParquetDataset):
    """`pandas.ParquetDataset`, written beside the old file and then put in its place.

    The preview turns lists, which Kedro-Viz cannot serialise, into text and cuts long cells.
    """

    def save(self, data: pd.DataFrame) -> None:
        """Write the table, all or nothing where it is kept on this machine.

        Raises:
            OSError: If the disk is full; what was there before stays.
        """
        target = local_path(self)
        if target is None:
            super().save(data)
            return
        with atomic_file(target) as partial:
            data.to_parquet(partial, **self._save_args)
        self._invalidate_cache()

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first rows in the form that Kedro-Viz shows as a table."""
        head = self.load().head(nrows)
        return TablePreview(head.map(_cell).to_dict(orient="split"))


def _cell(value: Any) -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    text = str(value)
    return text if len(text) <= PREVIEW_CHARACTERS else f"{text[:PREVIEW_CHARACTERS]}…"
