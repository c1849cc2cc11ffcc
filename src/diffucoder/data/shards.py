"""Tables in directories of Parquet files that are written and read as streams.

A directory holds `part-00000.parquet`, `part-00001.parquet`, ... and `manifest.json`, which
names each part with its size in bytes and the number of rows in each row group. Readers locate any
row by the manifest alone, and read one row group at a time.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from diffucoder.errors import BadData

MANIFEST = "manifest.json"
REMEDY = "make it again with `kedro run --pipeline=ingestion`"


@dataclass
class Rows:
    """A table that is still to be written.

    It is not an iterator, since Kedro would save an iterator item by item.

    Attributes:
        schema: Arrow schema of the rows.
        rows: One mapping per row; consumed once, while the table is written.
        metadata: Put into the manifest after the last row, so the producer of `rows` may keep
            counts in it.
        rows_per_group: Number of rows in a Parquet row group, which a reader holds in memory.
    """

    schema: pa.Schema
    rows: Iterable[Mapping[str, Any]]
    metadata: dict[str, Any] = field(default_factory=dict)
    rows_per_group: int = 256


def write_parts(
    directory: Path,
    table: Rows,
    part_bytes: int,
    check: Callable[[pa.Table], object] | None = None,
) -> dict[str, Any]:
    """Write `table` into `directory` and return its manifest.

    Args:
        directory: An existing, empty directory.
        table: The rows; at most one row group of them is held in memory.
        part_bytes: A new file begins once the current one is at least this large.
        check: Called with each row group before it is written; raises to refuse it.
    """
    groups = _groups(table)
    pending = next(groups, table.schema.empty_table())
    parts = []
    while pending is not None:
        path = directory / f"part-{len(parts):05d}.parquet"
        row_groups = []
        with pq.ParquetWriter(
            path, table.schema, compression="zstd", write_page_checksum=True
        ) as writer:
            while pending is not None:
                if check:
                    check(pending)
                writer.write_table(pending, row_group_size=table.rows_per_group)
                row_groups.append(pending.num_rows)
                pending = next(groups, None)
                if path.stat().st_size >= part_bytes:
                    break
        parts.append({"file": path.name, "bytes": path.stat().st_size, "row_groups": row_groups})
    rows = sum(sum(part["row_groups"]) for part in parts)
    manifest = {"rows": rows, "metadata": table.metadata, "parts": parts}
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2))
    return manifest


def _groups(table: Rows) -> Iterator[pa.Table]:
    rows = iter(table.rows)
    while group := list(islice(rows, table.rows_per_group)):
        yield pa.Table.from_pylist(group, schema=table.schema)


class Shards:
    """A finished directory of Parquet parts.

    Attributes:
        path: The directory.
        metadata: What its producer recorded.
        row_groups: (file, index in the file, rows) of every row group, in row order.
    """

    def __init__(self, path: Path | str) -> None:
        """Read the manifest and check the parts' presence and size.

        Raises:
            BadData: If the manifest or a part is missing, unreadable or of another size.
        """
        self.path = Path(path)
        manifest = _read_manifest(self.path / MANIFEST)
        for part in manifest["parts"]:
            _check_size(self.path / part["file"], part["bytes"])
        self.metadata: dict[str, Any] = manifest["metadata"]
        self.row_groups: list[tuple[str, int, int]] = [
            (part["file"], index, rows)
            for part in manifest["parts"]
            for index, rows in enumerate(part["row_groups"])
        ]
        self._rows: int = manifest["rows"]

    def __len__(self) -> int:
        return self._rows

    def read_group(self, group: int, columns: list[str] | None = None) -> pa.Table:
        """Read one row group.

        Args:
            group: Its number, from 0.
            columns: Names of the columns to read; None for all.

        Returns:
            The rows.

        Raises:
            BadData: If the file is corrupt; the message names it.
        """
        file, index, _ = self.row_groups[group]
        try:
            with pq.ParquetFile(self.path / file, page_checksum_verification=True) as parquet:
                return parquet.read_row_group(index, columns=columns, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise BadData(
                f"{self.path / file}: row group {index} cannot be read ({error}); the file is "
                f"corrupt, {REMEDY}"
            ) from error

    def rows(self, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
        """Read all rows in order, with one row group in memory at a time.

        Args:
            columns: Names of the columns to read; None for all.

        Yields:
            One mapping per row.
        """
        for group in range(len(self.row_groups)):
            yield from self.read_group(group, columns).to_pylist()


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise BadData(
            f"{path}: there is no such file, so the directory is not a table; {REMEDY}"
        ) from error
    except ValueError as error:
        raise BadData(f"{path}: not a JSON manifest ({error}); {REMEDY}") from error


def _check_size(path: Path, expected: int) -> None:
    if not path.is_file():
        raise BadData(f"{path}: the manifest names this file, but it is missing; {REMEDY}")
    if (size := path.stat().st_size) != expected:
        raise BadData(
            f"{path}: {size} bytes where the manifest says {expected}; the file is corrupt, "
            f"{REMEDY}"
        )
