"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def benchmarks_dir() -> Path:
    """The folder with HumanEval, MBPP and their relatives; skips where there is none."""
    candidates = [
        os.environ.get("DIFFUCODER_BENCHMARKS"),
        ROOT / "data" / "01_raw" / "benchmarks",
        ROOT.parent / "shared" / "data" / "benchmarks",
    ]
    for candidate in candidates:
        if candidate and (Path(candidate) / "HumanEval.jsonl.gz").exists():
            return Path(candidate)
    pytest.skip(
        "benchmark files are missing: put HumanEval.jsonl.gz and mbpp.jsonl in "
        "data/01_raw/benchmarks or set DIFFUCODER_BENCHMARKS"
    )
