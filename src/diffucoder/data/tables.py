"""Schemas of ingestion's tables: Arrow for streams, pandera for checks."""

from typing import Any

import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow
from pandera.typing import Series

DOCUMENTS = arrow.schema(
    {
        "path": arrow.string(),
        "source": arrow.string(),
        "licence": arrow.string(),
        "bytes": arrow.int64(),
        "sha256": arrow.string(),
        "text": arrow.large_string(),
        "unreadable": arrow.string(),
        "curated": arrow.bool_(),
    }
)

REJECTED_DOCUMENTS = arrow.schema(
    {
        "index": arrow.int64(),
        "path": arrow.string(),
        "source": arrow.string(),
        "bytes": arrow.int64(),
        "step": arrow.string(),
        "reason": arrow.string(),
        "detail": arrow.string(),
    }
)


def packed_rows(length: int) -> arrow.Schema:
    """Make the schema of packed rows of `length` tokens."""
    return arrow.schema(
        {
            "input_ids": arrow.list_(arrow.int32(), length),
            "document_ids": arrow.list_(arrow.int64(), length),
        }
    )


class Table(pa.DataFrameModel):
    """A table that has no other columns than its schema names."""

    class Config(pa.DataFrameModel.Config):
        """Settings of pandera."""

        strict = True


class Documents(Table):
    """Source documents; `clean_documents` has the same columns."""

    path: Series[str]
    source: Series[str]
    licence: Series[str]
    bytes: Series[int] = pa.Field(ge=0)
    sha256: Series[str] = pa.Field(str_length={"min_value": 64, "max_value": 64})
    text: Series[str]
    unreadable: Series[str]
    curated: Series[bool]


class RejectedDocuments(Table):
    """Documents that were left out, one row each; `index` is the row in `documents`."""

    index: Series[int] = pa.Field(ge=0)
    path: Series[str]
    source: Series[str]
    bytes: Series[int] = pa.Field(ge=0)
    step: Series[str] = pa.Field(isin=["read", "filter", "decontaminate", "deduplicate"])
    reason: Series[str] = pa.Field(str_length={"min_value": 1})
    detail: Series[str]


class PackedRows(Table):
    """Rows of tokens with the document that each belongs to (-1: filler)."""

    input_ids: Series[object]
    document_ids: Series[object]

    @pa.dataframe_check
    @classmethod
    def same_lengths(cls, frame: pd.DataFrame) -> bool:
        """Each row has as many tokens as document ids."""
        return bool((frame["input_ids"].map(len) == frame["document_ids"].map(len)).all())


def _is_filled(values: Any) -> bool:
    return len(values) > 0


class Problems(Table):
    """Problems (`problems.Problem`): a prompt, a reference, and either `tests` or a `check`."""

    problem_id: Series[str] = pa.Field(unique=True)
    source: Series[str]
    split: Series[str] = pa.Field(isin=["sft", "rl", "validation", "heldout", "eval"])
    composition: Series[str]
    prompt: Series[str] = pa.Field(str_length={"min_value": 1})
    entry_point: Series[str]
    reference: Series[str]
    tests: Series[object]
    check: Series[str]
    pass_rates: Series[object]
    setup: Series[str]
    harness: Series[str]

    @pa.dataframe_check
    @classmethod
    def either_tests_or_check(cls, frame: pd.DataFrame) -> bool:
        """Each problem has `tests` or a `check`, and not both."""
        return bool((frame["tests"].map(_is_filled) ^ (frame["check"] != "")).all())

    @pa.dataframe_check
    @classmethod
    def no_composition_in_two_splits(cls, frame: pd.DataFrame) -> bool:
        """All problems of a composition are in one split."""
        return bool((frame.groupby("composition")["split"].nunique() == 1).all())


class RejectedProblems(Table):
    """Problems that were left out, and why."""

    problem_id: Series[str]
    source: Series[str]
    split: Series[str]
    reason: Series[str] = pa.Field(str_length={"min_value": 1})
    detail: Series[str]


class InstructionPairs(Table):
    """Prompts with the answers to learn."""

    pair_id: Series[str] = pa.Field(unique=True)
    problem_id: Series[str]
    composition: Series[str]
    prompt: Series[str]
    response: Series[str]
    flawed: Series[bool]


class RejectedPairs(Table):
    """Pairs that were left out, and why."""

    pair_id: Series[str]
    step: Series[str] = pa.Field(isin=["decontaminate", "tokenize"])
    reason: Series[str] = pa.Field(str_length={"min_value": 1})


class TokenizedPairs(Table):
    """Prompts and answers as tokens; the answer ends with the token that ends its turn."""

    pair_id: Series[str] = pa.Field(unique=True)
    prompt_ids: Series[object]
    response_ids: Series[object]

    @pa.dataframe_check
    @classmethod
    def nothing_empty(cls, frame: pd.DataFrame) -> bool:
        """No prompt and no answer is empty."""
        filled = frame["prompt_ids"].map(_is_filled) & frame["response_ids"].map(_is_filled)
        return bool(filled.all())


def frame(rows: list[dict[str, Any]], model: type[pa.DataFrameModel]) -> pd.DataFrame:
    """Make a frame with a schema's columns and types, also if it has no rows.

    Args:
        rows: Mappings by column.
        model: The schema.

    Returns:
        The frame; it is not checked.
    """
    columns = model.to_schema().columns
    frame = pd.DataFrame(rows, columns=list(columns))
    return frame.astype({name: str(column.dtype) for name, column in columns.items()})
