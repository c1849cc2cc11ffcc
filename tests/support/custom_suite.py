"""A suite of a user's own, named by its import path."""

from collections.abc import Mapping
from typing import Any

from diffucoder.data.problems import Problem
from diffucoder.evaluation.suites import Suite


def own_problem(row: Mapping[str, Any], style: str) -> Problem:
    """A row with a prompt, the name of a function and one test."""
    return Problem(
        problem_id=row["id"],
        source="own",
        split="eval",
        prompt=row["prompt"],
        entry_point=row["function"],
        tests=[row["test"]],
    )


OWN = Suite("Own", "own.jsonl", own_problem)
