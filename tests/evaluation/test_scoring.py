"""Completions against real tests in the real sandbox."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from diffucoder.data.problems import Problem
from diffucoder.evaluation.scoring import score
from diffucoder.sandbox import Sandbox

PROBLEM = Problem(
    problem_id="p0",
    prompt="Add numbers.",
    entry_point="f",
    tests=["assert f([1, 2]) == 3", "assert f([]) == 0"],
)


def test_verdicts_land_in_the_table(make_row: Callable[..., dict[str, Any]]) -> None:
    texts = {
        "right": "```python\ndef f(xs):\n    return sum(xs)\n```",
        "half": "```python\ndef f(xs):\n    return 3\n```",
        "again": "```python\ndef f(xs):\n    return sum(xs)\n```",
        "silent": "",
    }
    asked = [make_row(text=text) for text in texts.values()]
    table = pd.DataFrame(asked).drop(columns=["code", "status", "passed", "pass_rate", "trust"])
    with Sandbox(workers=1) as sandbox:
        scored = score(table, {("heldout", "p0"): PROBLEM}, sandbox).assign(name=list(texts))
    scored = scored.set_index("name")
    assert scored["passed"].to_dict() == {
        "right": True,
        "half": False,
        "again": True,
        "silent": False,
    }
    assert scored["pass_rate"].tolist() == [1.0, 0.5, 1.0, 0.0]
    assert scored.loc["silent", "status"] == "no_code"
    assert scored.loc["silent", "code"] == ""
