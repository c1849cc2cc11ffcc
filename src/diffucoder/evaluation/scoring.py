"""Verdicts on completions: the code is taken out of the text and run against the tests."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from diffucoder.evaluation.benchmarks import assemble
from diffucoder.progress import track
from diffucoder.rewards.sandbox import Program, Sandbox

Problem = Mapping[str, Any]


def program(code: str, problem: Problem) -> Program:
    """The program that runs `code` against a problem's tests.

    Args:
        code: source of the candidate.
        problem: record with `tests` (assert statements) or `check` (source that defines
            `check(candidate)`), and `entry_point`.
    """
    tests = problem["check"] or list(problem["tests"])
    return Program(code=code, tests=tests, entry_point=problem["entry_point"] or None)


def score(
    completions: pd.DataFrame, problems: Mapping[tuple[str, str], Problem], sandbox: Sandbox
) -> pd.DataFrame:
    """Add `code`, `status`, `passed` and `pass_rate` to completions.

    A completion without code has status `no_code`. Equal answers to a problem are run once.

    Args:
        completions: rows with `suite`, `problem_id`, `prompt`, `text` and `style`.
        problems: the record of each (suite, problem_id).
        sandbox: an open sandbox.
    """
    written = completions[["prompt", "text", "style"]].itertuples(index=False)
    codes = [assemble(*row) for row in written]
    keys = list(zip(completions["suite"], completions["problem_id"], codes, strict=True))
    distinct = list(dict.fromkeys(key for key in keys if key[2] is not None))
    programs = (program(code, problems[suite, problem]) for suite, problem, code in distinct)
    answers = track(sandbox.stream(programs), "score programs", len(distinct))
    verdicts = dict(zip(distinct, answers, strict=True))
    found = [verdicts.get(key) for key in keys]
    return completions.assign(
        code=[code or "" for code in codes],
        status=[verdict.status if verdict else "no_code" for verdict in found],
        passed=[bool(verdict and verdict.status == "passed") for verdict in found],
        pass_rate=[verdict.pass_rate if verdict else 0.0 for verdict in found],
    )
