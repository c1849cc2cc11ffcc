from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from diffucoder.config.problems import ProblemsParams


@pytest.fixture
def problems() -> Callable[..., ProblemsParams]:
    def make(sft: int, pair_files: list[str]) -> ProblemsParams:
        raw: dict[str, Any] = {
            "families": {"lists": 1.0},
            "counts": {"sft": sft, "rl": 4, "validation": 2, "heldout": 2},
            "tests_per_problem": 3,
            "pairs_per_problem": 1,
            "mistake_share": 0.0,
            "files": [],
            "pair_files": pair_files,
        }
        return ProblemsParams(**raw)

    return make


def test_instruction_pairs_come_from_somewhere(problems: Callable[..., ProblemsParams]) -> None:
    with pytest.raises(ValidationError, match=r"counts\.sft above 0.*under pair_files"):
        problems(sft=0, pair_files=[])
    assert problems(sft=1, pair_files=[]).pair_files == []
    assert problems(sft=0, pair_files=["pairs.parquet"]).counts["sft"] == 0
