"""Parameters and small corpora for the data tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parameters import read_parameters

from diffucoder.config.ingestion import FilterParams, FolderSource, IngestionParams
from diffucoder.data.documents import Document, from_bytes
from diffucoder.data.tokenizer import train

CODE = '''def total(values):
    """Add the values up."""
    result = 0
    for value in values:
        result = result + value
    return result
'''


def base_parameters() -> dict[str, Any]:
    """conf/base's ingestion parameters, with no benchmark folder and a context."""
    raw = read_parameters("base", "ingestion")
    raw["decontamination"]["benchmarks"] = "/nonexistent"
    raw["context"] = 128
    return raw


@pytest.fixture
def params() -> IngestionParams:
    return IngestionParams.model_validate(base_parameters())


@pytest.fixture
def filters(params: IngestionParams) -> FilterParams:
    return params.filters.model_copy(update={"min_bytes": 10})


@pytest.fixture
def folder_source() -> Callable[..., FolderSource]:
    def make(path: Path | str, **changes: Any) -> FolderSource:
        values = base_parameters()["sources"][0] | {"path": str(path), "name": "test"}
        return FolderSource.model_validate(values | changes)

    return make


@pytest.fixture
def document() -> Callable[..., Document]:
    def make(text: str | bytes, path: str = "a.py") -> Document:
        data = text.encode() if isinstance(text, str) else text
        return from_bytes(data, path, "test", "MIT", curated=False)

    return make


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return train([CODE] * 4 + ["user\nReturn the sum of the values.", "assistant\n"], 300)
