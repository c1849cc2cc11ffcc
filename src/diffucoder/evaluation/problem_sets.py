"""The sets of problems that checkpoints are measured on, each in the styles in which it is put."""

from pathlib import Path
from typing import Any

import pandas as pd

from diffucoder.config.evaluation import EvaluationParams
from diffucoder.data.problems import Problem
from diffucoder.errors import BadData
from diffucoder.evaluation.requests import evenly_spaced, request_table
from diffucoder.evaluation.scoring import find_untestable
from diffucoder.evaluation.suites import HELD_OUT, find_suite, load, trust
from diffucoder.evaluation.suites.options import Style
from diffucoder.sandbox import Sandbox

# Name -> style -> the problems with prompts of that style.
ProblemSets = dict[str, dict[Style, pd.DataFrame]]


def load_problem_sets(
    problems: pd.DataFrame, evaluation: EvaluationParams
) -> tuple[ProblemSets, list[dict[str, str]]]:
    """Read the held-out problems, and the suites whose files are there.

    Args:
        problems: The problem table.
        evaluation: The stage's parameters.

    Returns:
        The problems of each set in each style that is needed; and the suites that are skipped,
        each with its `reason`.

    Raises:
        BadData: If there is no held-out problem, or a suite's file is not what it should be.
    """
    heldout = problems[problems["split"] == HELD_OUT]
    if heldout.empty:
        raise BadData(
            "problems: no problem has the split `heldout`, so there is nothing to measure; set "
            "problems.counts.heldout above 0 and run `kedro run --pipeline=ingestion`"
        )
    sets: ProblemSets = {HELD_OUT: {"instruct": evenly_spaced(heldout, evaluation.problems)}}
    skipped = []
    for name, options in evaluation.suites.items():
        styles = {style_of(evaluation, name, checkpoint) for checkpoint in options.checkpoints}
        try:
            sets[name] = {
                style: evenly_spaced(_suite_table(name, evaluation, style), options.problems)
                for style in styles
            }
        except FileNotFoundError as error:
            skipped.append({"suite": name, "reason": str(error)})
    return sets, skipped


def drop_untestable(
    sets: ProblemSets, evaluation: EvaluationParams, sandbox: Sandbox
) -> tuple[ProblemSets, list[dict[str, str]]]:
    """Leave out the problems whose tests cannot run on this machine.

    Only tests that run in the candidate's process can ask for more than it is given.

    Args:
        sets: The problem sets.
        evaluation: The stage's parameters.
        sandbox: An open sandbox.

    Returns:
        The sets without those problems; and `checkpoint`, `suite`, `problem_id` and `reason` for
        each checkpoint that would have been asked one of them.
    """
    kept, left_out = {}, []
    for name, by_style in sets.items():
        reasons: dict[str, str] = {}
        if trust(name) == "contained_only":
            records = next(iter(by_style.values())).to_dict("records")
            reasons = find_untestable([Problem.from_record(record) for record in records], sandbox)
            left_out += [
                {"checkpoint": checkpoint, "suite": name, "problem_id": problem, "reason": reason}
                for checkpoint in evaluation.suites[name].checkpoints
                for problem, reason in reasons.items()
            ]
        remaining = {
            style: problems[~problems["problem_id"].isin(list(reasons))]
            for style, problems in by_style.items()
        }
        if all(len(problems) for problems in remaining.values()):
            kept[name] = remaining
    return kept, left_out


def requests_for(sets: ProblemSets, evaluation: EvaluationParams) -> pd.DataFrame:
    """All requests of the evaluation: for each problem several samples and a greedy completion.

    Args:
        sets: The problem sets.
        evaluation: The stage's parameters.
    """
    tables = []
    for name, by_style in sets.items():
        options = evaluation.suites.get(name)
        samples = (
            dict.fromkeys(options.checkpoints, options.samples) if options else evaluation.samples
        )
        for checkpoint, count in samples.items():
            style = style_of(evaluation, name, checkpoint)
            problems = by_style[style]
            tables.append(request_table(name, problems, checkpoint, "sampled", count, style))
            tables.append(request_table(name, problems, checkpoint, "greedy", 1, style))
    return pd.concat(tables, ignore_index=True)


def style_of(evaluation: EvaluationParams, name: str, checkpoint: str) -> Style:
    """The style in which a checkpoint is asked the problems of a set.

    Args:
        evaluation: The stage's parameters.
        name: Name of the set of problems.
        checkpoint: Name of the checkpoint.
    """
    if name not in evaluation.suites:
        return "instruct"
    return find_suite(name).style or evaluation.styles[checkpoint]


def _suite_table(name: str, evaluation: EvaluationParams, style: Style) -> pd.DataFrame:
    problems = load(name, Path(evaluation.suites_folder), style)
    records: list[dict[str, Any]] = [problem.record() for problem in problems]
    return pd.DataFrame(records)
