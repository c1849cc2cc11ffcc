"""HumanEval (Chen et al., arXiv 2107.03374), and its infilling sets (Bavarian et al., arXiv
2207.14255).
"""

from collections.abc import Mapping
from typing import Any

from diffucoder.evaluation.benchmarks.records import Record, Style, ask, fenced, helpers, make


def humaneval_record(row: Mapping[str, Any], style: Style = "instruct") -> Record:
    """A HumanEval row as a problem.

    Some tests call helpers that the prompt defines. They go into the check, where the candidate
    cannot replace them.
    """
    prompt = row["prompt"]
    return make(
        row["task_id"],
        "humaneval",
        prompt if style == "completion" else ask(fenced(prompt)),
        row["entry_point"],
        prompt + row["canonical_solution"],
        check=_check(row, prompt),
    )


def infilling_record(row: Mapping[str, Any], style: Style = "infilling") -> Record:
    """A row of an infilling set as a problem: `prompt`, the missing middle, `suffix`.

    Every style asks it alike: the middle is all that is wanted.
    """
    prompt, suffix = row["prompt"], row["suffix"]
    whole = prompt + row["canonical_solution"] + suffix
    return make(
        row["task_id"],
        row["task_id"].partition("/")[0],
        prompt,
        row["entry_point"],
        whole,
        # The helpers may lie after the middle as well as before it.
        check=_check(row, whole),
        suffix=suffix,
    )


def _check(row: Mapping[str, Any], program: str) -> str:
    return f"{helpers(program, row['entry_point'])}\n{row['test']}"
