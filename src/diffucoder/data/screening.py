"""One pass over the documents that finds which to leave out, and why."""

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

# In this order: a document is counted at the first step that rejects it.
STEPS = ("read", "filter", "decontaminate", "deduplicate")


def rejections(
    documents: Iterable[Document], params: IngestionParams, quotations: ContaminationIndex
) -> Iterator[Rejection]:
    """Yield a record for every document to leave out, in the order of `documents`."""
    seen = Deduplicator(params.dedup)
    for index, document in enumerate(documents):
        found = _first_reason(document, params, quotations, seen)
        if found:
            step, reason = found
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
    document: Document, params: IngestionParams, quotations: ContaminationIndex, seen: Deduplicator
) -> tuple[str, Reason] | None:
    if reason := filters.reason_to_reject(document, params.filters):
        return ("read" if document.unreadable else "filter"), reason
    words = word_hashes(document.text)
    # First, so that every copy of a contaminated document is reported as contaminated.
    if reason := quotations.reason_to_reject(words):
        return "decontaminate", reason
    if reason := seen.reason_to_reject(document, words):
        return "deduplicate", reason
    return None


def without(
    rows: Iterable[Mapping[str, Any]], rejected: Iterable[Mapping[str, Any]]
) -> Iterator[Mapping[str, Any]]:
    """Yield the rows whose index is in no rejection; both come in order, neither is held."""
    left_out = (rejection["index"] for rejection in rejected)
    next_out = next(left_out, None)
    for index, row in enumerate(rows):
        if index == next_out:
            next_out = next(left_out, None)
        else:
            yield row


def as_row(record: Document | Rejection) -> dict[str, Any]:
    """A record as a row of its table."""
    return asdict(record)


def as_document(row: Mapping[str, Any]) -> Document:
    """A row of the documents' table as a record."""
    return Document(**{field.name: row[field.name] for field in fields(Document)})
