"""One pass over the documents that decides which to leave out, and why."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

from diffucoder.config.ingestion import IngestionParams
from diffucoder.data import filters
from diffucoder.data.decontamination import ContaminationIndex
from diffucoder.data.dedup import Deduplicator
from diffucoder.data.documents import Document, Rejection
from diffucoder.data.filters import Reason
from diffucoder.data.shingles import word_hashes

# In order; a document is counted at the first step that rejects it.
STEPS = ("read", "filter", "decontaminate", "deduplicate")


def find_rejected(
    documents: Iterable[Document], params: IngestionParams, contamination: ContaminationIndex
) -> Iterator[Rejection]:
    """Find the documents to leave out.

    Args:
        documents: All documents; read once, one at a time.
        params: The filters' limits, and what counts as a duplicate.
        contamination: An index of the evaluation texts.

    Yields:
        One record per document to leave out, in the order of `documents`.
    """
    seen = Deduplicator(params.dedup)
    for index, document in enumerate(documents):
        rejection = _first_reason(document, params, contamination, seen)
        if rejection:
            step, reason = rejection
            yield Rejection(
                index=index,
                path=document.path,
                source=document.source,
                bytes=document.bytes,
                step=step,
                reason=reason.name,
                detail=reason.detail,
            )


def _first_reason(
    document: Document,
    params: IngestionParams,
    contamination: ContaminationIndex,
    seen: Deduplicator,
) -> tuple[str, Reason] | None:
    if reason := filters.reason_to_reject(document, params.filters):
        return ("read" if document.unreadable else "filter"), reason
    words = word_hashes(document.text)
    # Before duplicates, so that every copy of a contaminated document is reported as such.
    if reason := contamination.reason_to_reject(words):
        return "decontaminate", reason
    if reason := seen.reason_to_reject(document, words):
        return "deduplicate", reason
    return None


def drop_rejected(
    rows: Iterable[Mapping[str, Any]], rejected: Iterable[Mapping[str, Any]]
) -> Iterator[Mapping[str, Any]]:
    """Leave out the rejected rows; nothing is held in memory.

    Args:
        rows: All rows, in order.
        rejected: Rejections with the `index` of the row, in order.

    Yields:
        The other rows, in order.
    """
    left_out = (rejection["index"] for rejection in rejected)
    next_out = next(left_out, None)
    for index, row in enumerate(rows):
        if index == next_out:
            next_out = next(left_out, None)
        else:
            yield row


def as_row(record: Document | Rejection) -> dict[str, Any]:
    """Write a record as a row of its table."""
    return asdict(record)


def as_document(row: Mapping[str, Any]) -> Document:
    """Read a record from a row of the documents' table."""
    return Document(**{field.name: row[field.name] for field in fields(Document)})
