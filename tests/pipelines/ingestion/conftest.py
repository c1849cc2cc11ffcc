"""Parameters of a corpus that is screened in a moment."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from diffucoder.config.ingestion import IngestionParams
from diffucoder.config.problems import ProblemsParams

ROOT = Path(__file__).parents[3]


@pytest.fixture
def raw_ingestion(tmp_path) -> dict[str, Any]:
    """conf/base's parameters for a folder of test files, and small sizes."""
    raw = yaml.safe_load((ROOT / "conf/base/parameters/ingestion.yml").read_text())["ingestion"]
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
