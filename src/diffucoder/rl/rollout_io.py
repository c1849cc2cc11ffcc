"""Rollouts and their traces as Parquet files, one per step and rank."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from torch import Tensor

from diffucoder.decoding import trace
from diffucoder.rl.groups import Group
from diffucoder.rl.tables import ROLLOUTS

TRACES = "traces"


def write_rollouts(
    groups: Sequence[Group], advantages_PG: Tensor, work: Path, step: int, rank: int
) -> None:
    """Write a step's completions as rows of `diffucoder.rl.tables.Rollouts`.

    Args:
        groups: P groups of G completions.
        advantages_PG: Their advantages.
        work: The stage's work folder; the file goes into `rollouts` below it.
        step: Number of the step, from 1.
        rank: Number of this rank.
    """
    rows = [
        {
            "step": step,
            "problem_id": group.task.problem.problem_id,
            "prompt": group.task.problem.prompt,
            "completion": scored.text,
            "reward": scored.reward,
            **{f"reward_{name}": value for name, value in scored.parts.items()},
            "status": scored.verdict.status,
            "pass_rate": scored.verdict.pass_rate,
            "advantage": advantage,
            "length": len(scored.completion.tokens),
        }
        for group, advantages in zip(groups, advantages_PG.tolist(), strict=True)
        for scored, advantage in zip(group.completions, advantages, strict=True)
    ]
    pd.DataFrame(rows).to_parquet(_part(work / ROLLOUTS, step, rank), index=False)


def write_traces(groups: Sequence[Group], work: Path, step: int, rank: int) -> None:
    """Write the traces of a step's completions, named `<problem>/<number>`, if there are any.

    Args:
        groups: P groups of G completions.
        work: The stage's work folder; the file goes into `traces` below it.
        step: Number of the step, from 1.
        rank: Number of this rank.
    """
    traces = {
        f"{group.task.problem.problem_id}/{number}": scored.completion.trace
        for group in groups
        for number, scored in enumerate(group.completions)
        if scored.completion.trace is not None
    }
    if traces:
        trace.write(traces, _part(work / TRACES, step, rank))


def delete_rollouts_after(work: Path, step: int) -> None:
    """Delete rollouts and traces of the steps after `step`, which a resumed run repeats.

    The number of ranks may have changed since, and so the names of the files.

    Args:
        work: The stage's work folder.
        step: Number of the last step that is kept, from 1; 0 keeps none.
    """
    for folder in (ROLLOUTS, TRACES):
        for part in (work / folder).glob("step-*.parquet"):
            if _step_of(part) > step:
                part.unlink()


def _part(folder: Path, step: int, rank: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"step-{step:06d}-{rank:04d}.parquet"


def _step_of(part: Path) -> int:
    return int(part.stem.split("-")[1])
