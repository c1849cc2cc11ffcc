"""MBPP (Austin et al., arXiv 2108.07732), whole and sanitized."""

from collections.abc import Mapping
from typing import Any

from diffucoder.data.published import mbpp_code, mbpp_tests
from diffucoder.data.python_source import called_function
from diffucoder.evaluation.suites.records import Record, Style, ask, make

# MBPP's own split by task id: 1-10 prompts, 11-510 test, 511-600 validation, 601-974 training.
TEST_IDS = range(11, 511)


def mbpp_record(row: Mapping[str, Any], style: Style = "instruct") -> Record:
    """A row of MBPP, or of its sanitized half, as a problem; each assert is one test."""
    first, code = row["test_list"][0], mbpp_code(row)
    text = row.get("text") or row["prompt"]
    example = f"{text}\nYour program must pass this test: {first}"
    return make(
        f"MBPP/{row['task_id']}",
        "mbpp_sanitized" if "test_imports" in row else "mbpp",
        f'"""\n{text}\n{first}\n"""\n' if style == "completion" else ask(example),
        called_function(row["test_list"], code),
        code,
        tests=mbpp_tests(row),
    )
