"""Parameters of a corpus that is screened in a moment."""

from typing import Any

import pytest
from parameters import read_parameters

from diffucoder.config.ingestion import IngestionParams
from diffucoder.config.problems import ProblemsParams


@pytest.fixture
def raw_ingestion(tmp_path) -> dict[str, Any]:
    """conf/base's parameters for a folder of test files, and small sizes."""
    raw = read_parameters("base", "ingestion")
    raw["sources"][0] |= {"path": str(tmp_path / "code"), "name": "code"}
    raw["decontamination"]["benchmarks"] = str(tmp_path / "benchmarks")
    raw["tokenizer"]["vocabulary"] = 400
    raw["packing"] = {"length": 32, "tokens_per_group": 256}
    raw["context"] = 200
    return raw


@pytest.fixture
def ingestion(raw_ingestion) -> IngestionParams:
    return IngestionParams.model_validate(raw_ingestion)


@pytest.fixture
def problems_params() -> ProblemsParams:
    return ProblemsParams(
        families={"lists": 1.0, "strings": 1.0},
        counts={"sft": 6, "rl": 4, "validation": 3, "heldout": 3},
        tests_per_problem=3,
        pairs_per_problem=2,
        mistake_share=0.5,
        files=[],
        pair_files=[],
    )
