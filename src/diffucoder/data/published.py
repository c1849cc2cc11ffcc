"""The formats in which HumanEval and MBPP are published: their tests, and what tests need.

Tests run out of the candidate's reach, and so must the helpers that they call: a candidate that
could replace a helper would decide its own test.
"""

import ast
from collections.abc import Mapping
from typing import Any

from diffucoder.data.python_source import parse


def humaneval_check(row: Mapping[str, Any], program: str) -> str:
    """Write a check with the helpers that it calls.

    Args:
        row: A row of HumanEval (Chen et al., arXiv 2107.03374) or of its infilling files.
        program: The part of the program that is given, which defines the helpers.

    Returns:
        Source that defines `check(candidate)`.
    """
    return f"{helpers(program, row['entry_point'])}\n{row['test']}"


def helpers(program: str, entry_point: str) -> str:
    """Extract what tests may need of a program.

    Args:
        program: Source of the program; may be incomplete.
        entry_point: The function to be written, which is left out.

    Returns:
        Source of its imports and of its other functions; "" if it does not parse.
    """
    tree = parse(program)
    definitions = [
        node
        for node in (tree.body if tree else [])
        if isinstance(node, (ast.Import, ast.ImportFrom))
        or (isinstance(node, ast.FunctionDef) and node.name != entry_point)
    ]
    return "\n".join(ast.unparse(node) for node in definitions)


def mbpp_tests(row: Mapping[str, Any]) -> list[str]:
    """Read the asserts of a row.

    Args:
        row: A row of MBPP (Austin et al., arXiv 2108.07732), or of its sanitized part.

    Returns:
        Asserts, each preceded by the imports and definitions that the row gives for it.
    """
    setup = [*(row.get("test_imports") or []), row.get("test_setup_code") or ""]
    return ["\n".join([*filter(None, setup), test]) for test in row["test_list"]]


def mbpp_code(row: Mapping[str, Any]) -> str:
    """Read the reference of a row of MBPP."""
    return row["code"].replace("\r\n", "\n")
