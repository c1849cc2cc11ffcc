"""What all suites share: rows of a file, and the record of a problem."""

import ast
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from diffucoder.rewards.extract import parse

Record = dict[str, Any]
Style = Literal["instruct", "completion", "infilling"]

_ASK = "Write one self-contained Python program and put it in a single fenced code block."


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON or JSON lines file, compressed or not."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        if path.suffix == ".json":
            return json.load(file)
        return [json.loads(line) for line in file if line.strip()]


def ask(text: str) -> str:
    """A user's turn that asks for a program."""
    return f"{_ASK}\n{text}"


def fenced(prompt: str) -> str:
    """The beginning of a program as a block of a user's turn."""
    return f"```python\n{prompt.rstrip()}\n```"


def make(
    problem_id: str,
    source: str,
    prompt: str,
    entry_point: str,
    reference: str,
    tests: Iterable[str] = (),
    check: str = "",
    setup: str = "",
    harness: str = "",
) -> Record:
    """A problem's record: the columns of the problem table and two more.

    Args:
        problem_id: unique within the suite.
        source: the suite.
        prompt: what a checkpoint reads.
        entry_point: the function that is asked for.
        reference: a program that solves it.
        tests: assert statements, or
        check: source that defines `check(candidate)`.
        setup: trusted source that runs before each test.
        harness: source that goes into the candidate's own process after its program, for
            suites whose tests cannot run elsewhere.
    """
    return {
        "problem_id": problem_id,
        "source": source,
        "split": "eval",
        "composition": "",
        "prompt": prompt,
        "entry_point": entry_point,
        "reference": reference,
        "tests": list(tests),
        "check": check,
        "pass_rates": [],
        "setup": setup,
        "harness": harness,
    }


def helpers(prompt: str, entry_point: str) -> str:
    """Imports and functions of a prompt other than the one to be written."""
    tree = parse(prompt)
    kept = [
        node
        for node in (tree.body if tree else [])
        if isinstance(node, (ast.Import, ast.ImportFrom))
        or (isinstance(node, ast.FunctionDef) and node.name != entry_point)
    ]
    return "\n".join(ast.unparse(node) for node in kept)
