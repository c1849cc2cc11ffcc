"""The format of packed rows: what their columns hold."""

from typing import TypedDict

# Document id of the positions after the last document.
FILLER = -1


class PackedRow(TypedDict):
    """One row.

    Attributes:
        input_ids: Tokens, `[length]`.
        document_ids: The document that each token belongs to, `[length]`, counted from 0 over
            the whole corpus; -1 on filler.
    """

    input_ids: list[int]
    document_ids: list[int]
