"""A Kedro dataset for tables too large for memory."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from kedro.io import AbstractDataset
from kedro.utils import load_obj
from kedro_datasets._typing import TablePreview
from pandera.errors import SchemaErrors

from diffucoder.data.shards import REMEDY, Rows, Shards, write_parts
from diffucoder.errors import BadData, DiffucoderError
from diffucoder.io.atomic import atomic_directory, is_complete, require_complete


class ParquetShardsDataset(AbstractDataset[Rows, Shards]):
    """A directory of Parquet parts that is written whole or not at all.

    Save takes a `Rows` (a stream), load gives a `Shards` handle (nothing is read but the
    manifest).
    """

    def __init__(
        self,
        *,
        filepath: str,
        schema: str,
        part_bytes: int = 256 * 2**20,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Describe the dataset.

        Args:
            filepath: The directory.
            schema: Import path of the pandera model that every written row group must fit.
            part_bytes: A new part begins after about this many bytes.
            metadata: Of Kedro-Viz; not used here.
        """
        self._path = Path(filepath)
        self._schema = schema
        self._part_bytes = part_bytes
        self.metadata = metadata

    def save(self, data: Rows) -> None:
        """Write all rows beside the directory, then put them in its place.

        Raises:
            BadData: If a row does not fit the schema.
            DiffucoderError: If the disk is full or cannot be written. In both cases what was
                there before stays.
        """
        check = partial(_fit, self._path, load_obj(self._schema))
        try:
            with atomic_directory(self._path) as directory:
                write_parts(directory, data, self._part_bytes, check)
        except OSError as error:
            raise DiffucoderError(
                f"{self._path}: cannot be written ({error}); what was there before is untouched. "
                "Free some space, or set DIFFUCODER_DATA to a folder on another disk"
            ) from error

    def load(self) -> Shards:
        """Open the directory.

        Raises:
            BadData: If it is missing, half written, or a part has another size than recorded.
        """
        return Shards(require_complete(self._path, BadData, REMEDY))

    def preview(self, nrows: int = 5) -> TablePreview:
        """The first rows in the form that Kedro-Viz shows as a table."""
        shards = self.load()
        if not len(shards):
            return TablePreview({"columns": [], "index": [], "data": []})
        head = shards.read_group(0).slice(0, nrows).to_pandas()
        texts = head.map(lambda value: str(value)[:200])
        return TablePreview(texts.to_dict(orient="split"))

    def _exists(self) -> bool:
        return is_complete(self._path)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path), "schema": self._schema}


def _fit(path: Path, model: Any, group: pa.Table) -> pd.DataFrame:
    frame = group.to_pandas()
    try:
        return model.validate(frame, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases[["column", "check", "failure_case"]].head(3).to_string()
        raise BadData(f"{path}: rows do not fit {model.__name__}:\n{cases}") from error
