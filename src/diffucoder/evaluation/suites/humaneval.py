"""HumanEval (Chen et al., arXiv 2107.03374), and its infilling sets (Bavarian et al., arXiv
2207.14255).
"""

from collections.abc import Mapping
from typing import Any

from diffucoder.data.published import humaneval_check
from diffucoder.data.tokenizer import MASK
from diffucoder.evaluation.suites.records import Record, Style, ask, fenced, make


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
        check=humaneval_check(row, prompt),
    )


def infilling_record(row: Mapping[str, Any], style: Style = "infilling") -> Record:
    """A HumanEval solution with a hole as a problem; every style asks it alike."""
    before, after = row["prompt"], row["suffix"]
    whole = before + row["canonical_solution"] + after
    return make(
        row["task_id"],
        "humaneval_infilling",
        before + MASK + after,
        row["entry_point"],
        whole,
        # The helpers may lie after the hole as well as before it.
        check=humaneval_check(row, whole),
    )
