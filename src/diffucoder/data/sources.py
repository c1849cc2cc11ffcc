"""Streams of documents from folders, tables and the Hugging Face hub."""

import sysconfig
from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePath

from diffucoder.config.ingestion import FolderSource, HubSource, Source, TableSource
from diffucoder.data.documents import Document, from_bytes
from diffucoder.data.tabular import JSONL, PARQUET, Row, hub_rows, read_rows, table_files
from diffucoder.errors import BadData


def documents(sources: list[Source]) -> Iterator[Document]:
    """Read the documents of all sources, in order.

    Every source is opened, and its first document read, before this returns.

    Args:
        sources: Parameters of the sources.

    Returns:
        An iterator over documents.

    Raises:
        BadData: If a source is missing, empty or corrupt; the message names it.
    """
    return chain.from_iterable([_not_empty(source) for source in sources])


def folder(path: str) -> Path:
    """Locate the folder of a source; `stdlib` is this interpreter's standard library."""
    return Path(sysconfig.get_path("stdlib") if path == "stdlib" else path)


def _not_empty(source: Source) -> Iterator[Document]:
    stream = _within(_read(source), source.max_bytes)
    first = next(stream, None)
    if first is None:
        raise BadData(
            f"source {source.name} ({source.path}): it gives no document; check its path, "
            "patterns and max_bytes under ingestion.sources"
        )
    return chain([first], stream)


def _within(stream: Iterator[Document], max_bytes: int | None) -> Iterator[Document]:
    taken = 0
    for document in stream:
        taken += document.bytes
        if max_bytes is not None and taken > max_bytes:
            return
        yield document


def _read(source: Source) -> Iterator[Document]:
    if isinstance(source, FolderSource):
        return _from_folder(source)
    if isinstance(source, HubSource):
        return _from_rows(hub_rows(source.path, source.config, source.split), source)
    endings = PARQUET if source.kind == "parquet" else JSONL
    rows = chain.from_iterable(read_rows(file) for file in table_files(source.path, endings))
    return _from_rows(rows, source)


def _from_folder(source: FolderSource) -> Iterator[Document]:
    root = folder(source.path)
    if not root.is_dir():
        raise BadData(
            f"source {source.name}: {root} is not a folder; correct ingestion.sources.path"
        )
    names = {
        file.relative_to(root).as_posix()
        for pattern in source.include
        for file in root.glob(pattern)
        if file.is_file()
    }
    for name in sorted(names):
        if not any(_matches(name, pattern) for pattern in source.exclude):
            data = (root / name).read_bytes()
            yield from_bytes(data, name, source.name, source.licence, source.curated)


def _matches(name: str, pattern: str) -> bool:
    """Whether a relative path fits a glob pattern in which `**` spans folders."""
    return _parts_match(PurePath(name).parts, PurePath(pattern).parts)


def _parts_match(parts: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_parts_match(parts[skip:], patterns[1:]) for skip in range(len(parts) + 1))
    return (
        bool(parts)
        and PurePath(parts[0]).match(patterns[0])
        and _parts_match(parts[1:], patterns[1:])
    )


def _from_rows(rows: Iterator[Row], source: TableSource | HubSource) -> Iterator[Document]:
    for number, row in enumerate(rows):
        text = row.get(source.text_column)
        if not isinstance(text, str):
            raise BadData(
                f"source {source.name} ({source.path}): row {number} has no text in column "
                f"{source.text_column!r}; its columns are {sorted(row)}"
            )
        path = row[source.path_column] if source.path_column else number
        licence = row[source.licence_column] if source.licence_column else source.licence
        # A lone surrogate cannot be encoded; it must lead to a rejection, not to a crash.
        data = text.encode("utf-8", "surrogatepass")
        yield from_bytes(data, str(path), source.name, str(licence), source.curated)
