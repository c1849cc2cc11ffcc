"""Texts as a table of packed rows, counted while it is written."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from transformers import PreTrainedTokenizerBase

from diffucoder.config.ingestion import PackingParams
from diffucoder.data.packing import pack
from diffucoder.data.shards import Rows
from diffucoder.data.tables import packed_rows
from diffucoder.data.tokenizer import encode_texts, special_ids


def packed_table(
    texts: Iterable[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, params: PackingParams
) -> Rows:
    """Encode and pack texts while the table is written.

    Args:
        texts: (origin, text); read once, one at a time.
        tokenizer: The tokenizer, with the special tokens.
        params: Tokens in a row and in a row group.

    Returns:
        A table whose manifest has `length`, and counts `documents`, `tokens` (end tokens
        included) and documents by `origins`.

    Raises:
        BadData: If the tokenizer lacks a special token.
    """
    end_token_id = special_ids(tokenizer).end_of_text
    origins: Counter[str] = Counter()
    metadata: dict[str, Any] = {
        "length": params.length,
        "documents": 0,
        "tokens": 0,
        "origins": origins,
    }

    def counted_texts() -> Iterator[str]:
        for origin, text in texts:
            origins[origin] += 1
            yield text

    def counted_documents() -> Iterator[list[int]]:
        for tokens in encode_texts(tokenizer, counted_texts()):
            metadata["documents"] += 1
            metadata["tokens"] += len(tokens) + 1
            yield tokens

    return Rows(
        packed_rows(params.length),
        pack(counted_documents(), params.length, end_token_id),
        metadata,
        rows_per_group=params.tokens_per_group // params.length,
    )
