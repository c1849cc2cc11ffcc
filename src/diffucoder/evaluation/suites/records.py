"""What all suites share: the record of a problem, and how it is asked."""

from collections.abc import Iterable
from typing import Any

from diffucoder.config.evaluation import Style
from diffucoder.data.problems import Problem

__all__ = ["Record", "Style", "ask", "fenced", "make"]

Record = dict[str, Any]

_ASK = "Write one self-contained Python program and put it in a single fenced code block."


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
    """A problem's record: the columns of the problem table.

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
    return Problem(
        problem_id=problem_id,
        source=source,
        split="eval",
        prompt=prompt,
        entry_point=entry_point,
        reference=reference,
        tests=list(tests),
        check=check,
        setup=setup,
        harness=harness,
    ).record()
