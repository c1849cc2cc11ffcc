from collections.abc import Callable

import pytest

from diffucoder.config.problems import ProblemsParams


@pytest.fixture
def make_params() -> Callable[..., ProblemsParams]:
    """Parameters of a small set, with what a test changes."""

    def make(**changes: object) -> ProblemsParams:
        defaults = {
            "families": {"lists": 1.0, "strings": 0.5, "numbers": 1.0, "dicts": 0.5},
            "counts": {"sft": 60, "rl": 30, "validation": 10, "heldout": 20},
            "tests_per_problem": 6,
            "pairs_per_problem": 2,
            "mistake_share": 0.3,
            "files": [],
            "pair_files": [],
        }
        return ProblemsParams(**defaults | changes)

    return make
