"""The forms in which HumanEval and MBPP are published: their tests, and what tests lean on.

Tests run where a candidate cannot touch them. So must the helpers that they call: a candidate that
could replace those would decide its own test.
"""

import ast
from collections.abc import Mapping
from typing import Any

from diffucoder.data.python_source import parse


def humaneval_check(row: Mapping[str, Any], program: str) -> str:
    """Source that defines `check(candidate)`, with the helpers that it calls.

    Args:
        row: of HumanEval (Chen et al., arXiv 2107.03374) or its infilling sets.
        program: the given part of the program, which defines them.
    """
    return f"{helpers(program, row['entry_point'])}\n{row['test']}"


def helpers(program: str, entry_point: str) -> str:
    """Imports and functions of a program other than the one to be written."""
    tree = parse(program)
    kept = [
        node
        for node in (tree.body if tree else [])
        if isinstance(node, (ast.Import, ast.ImportFrom))
        or (isinstance(node, ast.FunctionDef) and node.name != entry_point)
    ]
    return "\n".join(ast.unparse(node) for node in kept)


def mbpp_tests(row: Mapping[str, Any]) -> list[str]:
    """Asserts, each with the imports and definitions that the row gives for them.

    Args:
        row: of MBPP (Austin et al., arXiv 2108.07732), or of its sanitized half.
    """
    setup = [*(row.get("test_imports") or []), row.get("test_setup_code") or ""]
    return ["\n".join([*filter(None, setup), test]) for test in row["test_list"]]


def mbpp_code(row: Mapping[str, Any]) -> str:
    """The reference."""
    return row["code"].replace("\r\n", "\n")
