"""Verdicts on completions: a program is taken out of the text and run against the tests."""

import ast
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from diffucoder.data.problems import Problem
from diffucoder.evaluation.assembly import assemble
from diffucoder.evaluation.suites import trust
from diffucoder.evaluation.suites.options import Extraction
from diffucoder.progress import track
from diffucoder.sandbox import Program, Sandbox


def score(
    completions: pd.DataFrame,
    problems: Mapping[tuple[str, str], Problem],
    sandbox: Sandbox,
    extractions: Mapping[str, Extraction] | None = None,
) -> pd.DataFrame:
    """Add `code`, `status`, `passed`, `pass_rate` and `trust` to completions.

    A completion without code has status `no_code`. Equal answers to a problem are run once.

    Args:
        completions: Rows with `suite`, `problem_id`, `prompt`, `text` and `style`.
        problems: Problems by (suite, problem_id).
        sandbox: An open sandbox.
        extractions: How programs are taken out of the texts of a suite, by its name; `fenced`
            for one that is not named.

    Returns:
        The completions with the new columns.
    """
    named = extractions or {}
    codes = [
        _code(row, problems[row.suite, row.problem_id], named.get(row.suite, "fenced"))
        for row in completions.itertuples()
    ]
    keys = list(zip(completions["suite"], completions["problem_id"], codes, strict=True))
    distinct = list(dict.fromkeys(key for key in keys if key[2] is not None))
    programs = (problems[suite, problem].program(code) for suite, problem, code in distinct)
    answers = track(sandbox.stream(programs), "score programs", len(distinct))
    verdicts = dict(zip(distinct, answers, strict=True))
    found = [verdicts.get(key) for key in keys]
    return completions.assign(
        code=[code or "" for code in codes],
        status=[verdict.status if verdict else "no_code" for verdict in found],
        passed=[bool(verdict and verdict.status == "passed") for verdict in found],
        pass_rate=[verdict.pass_rate if verdict else 0.0 for verdict in found],
        trust=[trust(suite) for suite in completions["suite"]],
    )


def find_untestable(problems: Sequence[Problem], sandbox: Sandbox) -> dict[str, str]:
    """Find problems whose own reference does not pass here.

    For suites whose tests run in the candidate's process: they need libraries that may not be
    installed, or files and network that no candidate is given.

    Args:
        problems: The problems of one suite.
        sandbox: An open sandbox.

    Returns:
        The reason for each such problem, by its `problem_id`.
    """
    needed = {p.problem_id: _libraries(f"{p.reference}\n{p.harness}") for p in problems}
    modules = sorted(set().union(*needed.values()))
    probes = sandbox.run(Program(f"import {module}", ["assert True"]) for module in modules)
    absent = {m for m, probe in zip(modules, probes, strict=True) if probe.status != "passed"}
    reasons = {
        problem: f"not installed: {', '.join(sorted(libraries & absent))}"
        for problem, libraries in needed.items()
        if libraries & absent
    }
    complete = [problem for problem in problems if problem.problem_id not in reasons]
    verdicts = sandbox.run(problem.program(problem.reference) for problem in complete)
    for problem, verdict in zip(complete, verdicts, strict=True):
        if verdict.status != "passed":
            how = ", ".join(filter(None, (verdict.status, verdict.error_type)))
            reasons[problem.problem_id] = f"its reference does not pass in the sandbox: {how}"
    return reasons


def _code(row: Any, problem: Problem, extraction: Extraction) -> str | None:
    return assemble(
        row.prompt,
        row.text,
        row.style,
        extraction,
        problem.entry_point or None,
    )


def _libraries(source: str) -> set[str]:
    """Top-level names of the modules that a source imports and Python does not include."""
    return set(_imported(ast.walk(ast.parse(source)))) - set(sys.stdlib_module_names)


def _imported(nodes: Iterable[ast.AST]) -> Iterable[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
