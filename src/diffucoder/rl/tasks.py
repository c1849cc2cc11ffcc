"""What rollouts are asked, and what became of their answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffucoder.sandbox import Verdict


@dataclass(frozen=True)
class Task:
    """A problem with its prompt in tokens.

    Attributes:
        problem_id: of the problem table.
        prompt: what is asked.
        prompt_tokens: the conversation up to the canvas, what is given of the answer included.
        entry_point: the function under test.
        tests: assert statements, or the source of a check.
        reference: source of a solution.
        given: the beginning of the answer, where a curriculum gives it.
    """

    problem_id: str
    prompt: str
    prompt_tokens: list[int]
    entry_point: str
    tests: list[str] | str
    reference: str = ""
    given: str = ""

    @classmethod
    def from_record(cls, record: Mapping[str, Any], prompt_tokens: list[int]) -> "Task":
        """Make a task from a row of the problem table."""
        tests = record["check"] or list(record["tests"])
        return cls(
            record["problem_id"],
            record["prompt"],
            prompt_tokens,
            record["entry_point"],
            tests,
            record["reference"],
        )


@dataclass(frozen=True)
class Scored:
    """A completion and what became of it."""

    tokens: list[int]
    text: str
    verdict: Verdict
    reward: float
    parts: dict[str, float]
