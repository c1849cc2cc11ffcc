"""Source documents, and records of those that were left out."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """One source file.

    Attributes:
        path: Its path or row, unique within its source.
        source: Name of the source in the parameters.
        licence: As the source declares it.
        bytes: Size of the encoded text.
        sha256: Hex digest of the encoded text.
        text: The decoded text; empty where `unreadable` is set.
        unreadable: Why the bytes are not text, or "".
        curated: Whether its source belongs to mid-training rather than to pretraining.
    """

    path: str
    source: str
    licence: str
    bytes: int
    sha256: str
    text: str
    unreadable: str
    curated: bool


def from_bytes(data: bytes, path: str, source: str, licence: str, curated: bool) -> Document:
    """Decode a file as UTF-8.

    Args:
        data: The file's bytes; a byte-order mark is dropped.
        path: Its path, unique within its source.
        source: Name of the source.
        licence: As the source declares it.
        curated: Whether its source belongs to mid-training.

    Returns:
        The document; `unreadable` is set if the bytes are not UTF-8.
    """
    try:
        text, unreadable = data.decode("utf-8-sig"), ""
    except UnicodeDecodeError as error:
        text, unreadable = "", f"not_utf8: byte 0x{data[error.start]:02x} at {error.start}"
    return Document(
        path=path,
        source=source,
        licence=licence,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        text=text,
        unreadable=unreadable,
        curated=curated,
    )


@dataclass(frozen=True)
class Rejection:
    """A document that a step left out.

    Attributes:
        index: Its row in the table of documents.
        path: As in the document.
        source: As in the document.
        bytes: As in the document.
        step: The step that rejected it.
        reason: One of the step's reasons, the same word for all documents it applies to.
        detail: The value or text that led to it.
    """

    index: int
    path: str
    source: str
    bytes: int
    step: str
    reason: str
    detail: str
