"""Verdicts on completions: the code is taken out of the text and run against the tests."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from diffucoder.progress import Meter
from diffucoder.rewards.extract import extract_code
from diffucoder.rewards.sandbox import Program, Sandbox

Problem = Mapping[str, Any]

# Programs handed to the sandbox at a time, so that progress shows.
CHUNK = 128


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
        completions: rows with `suite`, `problem_id` and `text`.
        problems: the record of each (suite, problem_id).
        sandbox: an open sandbox.
    """
    codes = [extract_code(text) for text in completions["text"]]
    keys = list(zip(completions["suite"], completions["problem_id"], codes, strict=True))
    distinct = list(dict.fromkeys(key for key in keys if key[2] is not None))
    verdicts = {}
    meter = Meter("score programs", len(distinct))
    for start in range(0, len(distinct), CHUNK):
        chunk = distinct[start : start + CHUNK]
        programs = [program(code, problems[suite, problem]) for suite, problem, code in chunk]
        verdicts.update(zip(chunk, sandbox.run(programs), strict=True))
        meter.advance(len(chunk))
    meter.close()
    found = [verdicts.get(key) for key in keys]
    return completions.assign(
        code=[code or "" for code in codes],
        status=[verdict.status if verdict else "no_code" for verdict in found],
        passed=[bool(verdict and verdict.passed) for verdict in found],
        pass_rate=[float(verdict.pass_rate) if verdict else 0.0 for verdict in found],
    )
