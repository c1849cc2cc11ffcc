"""MBPP (Austin et al., arXiv 2108.07732), whole and sanitized."""

import ast
from collections.abc import Iterable, Mapping
from typing import Any

from diffucoder.evaluation.benchmarks.records import Record, Style, ask, make
from diffucoder.rewards.extract import parse

# MBPP's own split by task id: 1-10 prompts, 11-510 test, 511-600 validation, 601-974 training.
TEST_IDS = range(11, 511)


def mbpp_record(row: Mapping[str, Any], style: Style = "instruct") -> Record:
    """A row of MBPP, or of its sanitized half, as a problem; each assert is one test."""
    asserts = row["test_list"]
    setup = [*row.get("test_imports", []), row.get("test_setup_code", "")]
    text = row.get("text") or row["prompt"]
    code = row["code"].replace("\r\n", "\n")
    example = f"{text}\nYour program must pass this test: {asserts[0]}"
    return make(
        f"MBPP/{row['task_id']}",
        "mbpp_sanitized" if "test_imports" in row else "mbpp",
        f'"""\n{text}\n{asserts[0]}\n"""\n' if style == "completion" else ask(example),
        _tested_function(asserts, code),
        code,
        tests=["\n".join([*(line for line in setup if line), test]) for test in asserts],
    )


def _tested_function(asserts: Iterable[str], code: str) -> str:
    """The function of the reference that the asserts call first."""
    tree = parse(code)
    defined = {node.name for node in (tree.body if tree else []) if hasattr(node, "name")}
    for source in asserts:
        for node in ast.walk(ast.parse(source)):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in defined:
                return called.id
    raise ValueError("no test calls a function of the reference")
