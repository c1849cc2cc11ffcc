from typing import Any

import pytest

from diffucoder.config.ingestion import FunctionParams
from diffucoder.data.curation import good_functions, solved_task

MODULE = '''import os

@cache
def documented(x):
    """Say what."""
    y = x
    return y

def bare(x):
    y = x
    z = y
    return z

def typed(x: int, *, k: int) -> int:
    """Say what."""
    y = x
    return y + k

class Box:
    def method(self):
        """Not a function of the module."""
        a = 1
        return a
'''


def names(**changes: Any) -> list[str]:
    rule = {"min_lines": 4, "max_lines": 10, "docstring": False, "annotations": False}
    found = good_functions(MODULE, FunctionParams.model_validate(rule | changes))
    return [next(line for line in text.splitlines() if "def" in line)[4:9] for text in found]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, ["docum", "bare(", "typed"]),
        ({"docstring": True}, ["docum", "typed"]),
        ({"annotations": True}, ["typed"]),
        ({"max_lines": 3}, []),
        ({"min_lines": 5}, []),
    ],
)
def test_the_rule_chooses_functions(rule, expected) -> None:
    assert names(**rule) == expected


def test_a_function_is_cut_out_with_its_decorators() -> None:
    rule = FunctionParams(min_lines=1, max_lines=9, docstring=True, annotations=False)
    first = next(good_functions(MODULE, rule))
    assert first == ('@cache\ndef documented(x):\n    """Say what."""\n    y = x\n    return y\n')


def test_a_solved_task_is_prompt_then_response() -> None:
    assert solved_task("Do it.", "```python\n1\n```") == "Do it.\n\n```python\n1\n```\n"
