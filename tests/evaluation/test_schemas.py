"""The schemas take what the stages write and refuse what they must not."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pandera.errors
import pytest

from diffucoder.evaluation.schemas import Completions


def test_completions_fit(completions: pd.DataFrame, sweep: pd.DataFrame) -> None:
    Completions.validate(completions)
    Completions.validate(sweep)


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint": "other"},
        {"status": ""},
        {"pass_rate": 1.5},
        {"reveal_step": [0]},
        {"unknown_column": 1},
    ],
)
def test_what_does_not_fit_is_refused(
    make_row: Callable[..., dict[str, Any]], change: dict[str, Any]
) -> None:
    with pytest.raises(pandera.errors.SchemaErrors):
        Completions.validate(pd.DataFrame([make_row(**change)]), lazy=True)
