"""HumanEval (Chen et al., arXiv 2107.03374) and its infilling sets (Bavarian, arXiv 2207.14255)."""

from collections.abc import Mapping
from typing import Any

from diffucoder.data.problems import Problem
from diffucoder.data.published import humaneval_check
from diffucoder.evaluation.suites.base import Suite, ask, fenced
from diffucoder.evaluation.suites.options import Style


def humaneval_problem(row: Mapping[str, Any], style: Style = "instruct") -> Problem:
    """A HumanEval row as a problem.

    Some tests call helpers that the prompt defines. They go into the check, where the candidate
    cannot replace them.
    """
    prompt = row["prompt"]
    return Problem(
        problem_id=row["task_id"],
        source="humaneval",
        split="eval",
        prompt=prompt if style == "completion" else ask(fenced(prompt)),
        entry_point=row["entry_point"],
        reference=prompt + row["canonical_solution"],
        check=humaneval_check(row, prompt),
    )


def infilling_problem(row: Mapping[str, Any], style: Style = "infilling") -> Problem:
    """A HumanEval solution with a hole as a problem; it is the same in every style."""
    # The tokenizer's module loads transformers, which the command line does without.
    from diffucoder.data.tokenizer import MASK

    before, after = row["prompt"], row["suffix"]
    whole = before + row["canonical_solution"] + after
    return Problem(
        problem_id=row["task_id"],
        source="humaneval_infilling",
        split="eval",
        prompt=before + MASK + after,
        entry_point=row["entry_point"],
        reference=whole,
        # The helpers may lie after the hole as well as before it.
        check=humaneval_check(row, whole),
    )


def _infilling(kind: str, file: str) -> Suite:
    return Suite(
        f"HumanEval {kind} infilling",
        f"HumanEval-{file}.jsonl.gz",
        infilling_problem,
        style="infilling",
    )


SUITES = {
    "humaneval": Suite("HumanEval", "HumanEval.jsonl.gz", humaneval_problem),
    "humaneval_single_line": _infilling("single-line", "SingleLineInfilling"),
    "humaneval_multi_line": _infilling("multi-line", "MultiLineInfilling"),
    "humaneval_random_span": _infilling("random-span", "RandomSpanInfilling"),
    "humaneval_random_span_light": _infilling("random-span (light)", "RandomSpanInfillingLight"),
}
