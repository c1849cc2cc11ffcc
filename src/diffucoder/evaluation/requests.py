"""What checkpoints are asked: problems, and the table of requests."""

from collections.abc import Mapping

import pandas as pd

from diffucoder.data.problems import Problem
from diffucoder.evaluation.suites.options import Style


def evenly_spaced(table: pd.DataFrame, count: int | None) -> pd.DataFrame:
    """Take rows from the whole of a table, in its order.

    Tables lie in the order of families and difficulties, so the first rows would stand for a
    few of them.

    Args:
        table: The rows to choose from.
        count: Number of rows to take; None takes all.
    """
    if count is None or count >= len(table):
        return table
    return table.iloc[[index * len(table) // count for index in range(count)]]


def request_table(
    suite: str,
    problems: pd.DataFrame,
    checkpoint: str,
    decoding: str,
    samples: int,
    style: Style = "instruct",
) -> pd.DataFrame:
    """What a checkpoint is asked of a suite: one row per problem and sample.

    Args:
        suite: Name of the set of problems.
        problems: Problems with `problem_id` and `prompt`.
        checkpoint: Name of the checkpoint that is asked.
        decoding: Label of the decoding options.
        samples: Completions per problem.
        style: Whether the prompt is a user's turn, the beginning of a text, or a text with a hole.

    Returns:
        A table with `problem_id`, `prompt`, `sample`, `suite`, `checkpoint`, `decoding`, `style`.
    """
    rows = problems[["problem_id", "prompt"]].merge(
        pd.DataFrame({"sample": range(samples)}), how="cross"
    )
    return rows.assign(suite=suite, checkpoint=checkpoint, decoding=decoding, style=style)


def problems_by_key(suites: Mapping[str, pd.DataFrame]) -> dict[tuple[str, str], Problem]:
    """Index problems by (suite, problem_id).

    Args:
        suites: The problem table of each suite, by its name.
    """
    return {
        (suite, record["problem_id"]): Problem.from_record(record)
        for suite, problems in suites.items()
        for record in problems.to_dict("records")
    }
