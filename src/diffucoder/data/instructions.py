"""Instruction pairs: reading them from files, and encoding them."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from diffucoder.data.tabular import read_rows
from diffucoder.data.tokenizer import encode_chat, encode_texts, special_ids
from diffucoder.errors import BadData

Pair = Mapping[str, Any]


def tokenize_pairs(
    pairs: Iterable[Pair], tokenizer: PreTrainedTokenizerBase, context: int
) -> Iterator[dict[str, Any]]:
    """Encode pairs; those that cannot be used have a reason.

    Args:
        pairs: Rows with `pair_id`, `prompt` and `response`.
        tokenizer: The tokenizer, with the special tokens.
        context: Limit of prompt plus response, in tokens.

    Yields:
        Rows with `pair_id`; `prompt_ids`, the user's turn up to where the answer begins;
        `response_ids`, the answer with the token that ends its turn; `reason`, which is "" or
        `prompt_too_long` (no room for an answer), `pair_too_long`, `special_token_in_prompt`.

    Raises:
        BadData: If the tokenizer lacks a special token.
    """
    turn_end = special_ids(tokenizer).turn_end
    for pair in pairs:
        [response_ids] = encode_texts(tokenizer, [pair["response"]])
        row = {"pair_id": pair["pair_id"], "response_ids": [*response_ids, turn_end]}
        try:
            prompt_ids = encode_chat(tokenizer, pair["prompt"])
        except BadData:
            yield row | {"prompt_ids": [], "reason": "special_token_in_prompt"}
            continue
        reason = ""
        if len(prompt_ids) >= context:
            reason = "prompt_too_long"
        elif len(prompt_ids) + len(row["response_ids"]) > context:
            reason = "pair_too_long"
        yield row | {"prompt_ids": prompt_ids, "reason": reason}


def read_pairs(path: str) -> Iterator[dict[str, Any]]:
    """Read the pairs of a Parquet or JSONL file.

    Args:
        path: The file; it has columns `prompt` and `response`.

    Yields:
        Rows of the table of instruction pairs (`tables.InstructionPairs`).

    Raises:
        BadData: If the file is unreadable or a row lacks a column.
    """
    for number, row in enumerate(read_rows(path)):
        for column in ("prompt", "response"):
            if not isinstance(row.get(column), str):
                raise BadData(
                    f"{path}: row {number} has no text in column {column!r}; its columns are "
                    f"{sorted(row)}"
                )
        yield {
            "pair_id": f"{Path(path).name}#{number}",
            "problem_id": "",
            "composition": "",
            "prompt": row["prompt"],
            "response": row["response"],
            "flawed": False,
        }
