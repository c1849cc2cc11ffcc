"""Runs the references of problems against the problems' own tests."""

from collections.abc import Sequence

from diffucoder.data.filters import Reason
from diffucoder.data.problems import Problem
from diffucoder.progress import track
from diffucoder.sandbox import Sandbox

PROGRAMS_PER_BATCH = 64


def wrong_references(problems: Sequence[Problem], sandbox: Sandbox) -> dict[str, Reason]:
    """Find problems that have no reference, or one that fails.

    A problem without a reference is accepted if a reference model passed some of its tests.

    Args:
        problems: Any problems.
        sandbox: An open sandbox.

    Returns:
        By id, `no_reference` or `reference_fails` with what happened.
    """
    reasons = {
        problem.problem_id: Reason("no_reference", "neither a reference nor a positive pass rate")
        for problem in problems
        if not problem.reference and max(problem.pass_rates, default=0.0) == 0.0
    }
    checkable = [problem for problem in problems if problem.reference]
    programs = [problem.program(problem.reference) for problem in checkable]
    batches = range(0, len(programs), PROGRAMS_PER_BATCH)
    verdicts = [
        verdict
        for begin in track(batches, "checking references, batches")
        for verdict in sandbox.run(programs[begin : begin + PROGRAMS_PER_BATCH])
    ]
    for problem, verdict in zip(checkable, verdicts, strict=True):
        if verdict.status != "passed":
            detail = f"{verdict.status}, passes {verdict.pass_rate:.0%} of its tests"
            reasons[problem.problem_id] = Reason("reference_fails", detail)
    return reasons
