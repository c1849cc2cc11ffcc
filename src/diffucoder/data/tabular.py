"""Rows of Parquet, JSONL and JSON files and Hugging Face datasets, as streams of mappings."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from diffucoder.errors import BadData

Row = dict[str, Any]
BATCH_ROWS = 256
PARQUET = (".parquet",)
JSONL = (".jsonl", ".jsonl.gz")
JSON = (".json",)


def table_files(path: str | Path, endings: tuple[str, ...] = PARQUET + JSONL) -> list[Path]:
    """List the files of a table.

    Args:
        path: A file or a folder.
        endings: Endings of file names; other files are ignored.

    Returns:
        The file itself, or those in the folder, sorted by name.

    Raises:
        BadData: If there is none.
    """
    root = Path(path)
    if not root.exists():
        raise BadData(f"{root}: there is no such file or folder; correct the path")
    files = [root] if root.is_file() else sorted(root.iterdir())
    files = [file for file in files if file.name.endswith(endings)]
    if not files:
        raise BadData(f"{root}: expected files that end in {' or '.join(endings)}, found none")
    return files


def read_rows(path: str | Path) -> Iterator[Row]:
    """Read the rows of a file.

    Args:
        path: A Parquet, JSONL or gzipped JSONL file, or a JSON file with one list.

    Yields:
        One mapping per row.

    Raises:
        BadData: If the file is not of the format that its name tells.
    """
    file = Path(path)
    if file.name.endswith(PARQUET):
        yield from _parquet_rows(file)
    elif file.name.endswith(JSONL):
        yield from _jsonl_rows(file)
    elif file.name.endswith(JSON):
        yield from _json_rows(file)
    else:
        raise BadData(f"{file}: expected a name that ends in {' or '.join(PARQUET + JSONL + JSON)}")


def hub_rows(name: str, config: str | None, split: str) -> Iterator[Row]:
    """Read the rows of a Hugging Face dataset as they arrive.

    Args:
        name: Name of the dataset.
        config: Name of its configuration; None for the default.
        split: Name of its split.

    Yields:
        One mapping per row.

    Raises:
        BadData: If the dataset cannot be read.
    """
    from datasets import load_dataset

    try:
        yield from load_dataset(name, config, split=split, streaming=True)
    except (OSError, ValueError) as error:
        raise BadData(
            f"hub dataset {name} (config {config}, split {split}): cannot be read ({error}); "
            "check the name and the network, or download it and use a `parquet` source"
        ) from error


def _parquet_rows(file: Path) -> Iterator[Row]:
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            for batch in parquet.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise BadData(f"{file}: not a whole Parquet file ({error}); replace it") from error


def _jsonl_rows(file: Path) -> Iterator[Row]:
    opener = gzip.open if file.name.endswith(".gz") else open
    number = 0
    try:
        with opener(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                number += 1
                if line.strip():
                    yield json.loads(line)
    except (OSError, EOFError, ValueError) as error:
        raise BadData(
            f"{file}: at or after line {number}, not JSON in UTF-8 ({error}); correct or remove it"
        ) from error


def _json_rows(file: Path) -> list[Row]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadData(f"{file}: not JSON in UTF-8 ({error}); correct or remove it") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadData(f"{file}: expected a list of objects; correct or remove it")
    return rows
