"""Graded unit-test feedback (CodeRL, arXiv 2207.01780; RLTF, arXiv 2307.04349)."""

from collections.abc import Sequence

from diffucoder.data.python_source import parse
from diffucoder.rewards.functions import RewardRecord

# CodeRL's four grades, as RLTF's released code has them (`get_reward_from_error_type`).
NOT_COMPILED, NOT_RUN, WRONG, PASSED = -1.0, -0.6, -0.3, 1.0
# Penalty on the tokens that caused an error. RLTF's code has an option for its weight; here it is
# the difference between a failure to run and a wrong result.
FAULT = NOT_RUN - WRONG


def coarse(record: RewardRecord) -> float:
    """Grade a completion by its verdict.

    Everything but a false assertion that ends a test (exception, time, memory, a denied call, a
    crash) counts as a failure to run. Source: CodeRL; also used by RLTF (coarse-grained feedback)
    and StepCoder.

    Args:
        record: The completion and its verdict.

    Returns:
        -1 if there is no code or it does not compile, -0.6 if it fails to run, -0.3 for wrong
        results, 1 if it passes.
    """
    if record.code is None or parse(record.code) is None:
        return NOT_COMPILED
    grades = {"passed": PASSED, "failed": WRONG, "syntax": NOT_COMPILED}
    return grades.get(record.verdict.status, NOT_RUN)


def graded(record: RewardRecord) -> float:
    """Grade as `coarse`, but wrong results by the share of tests passed.

    Source: RLTF, adaptive feedback. A program that fails to run gets -0.6 regardless of the number
    of tests that it passed before.

    Args:
        record: The completion and its verdict.

    Returns:
        As `coarse`; for wrong results -0.3 + 1.3 * (share of tests passed).
    """
    grade = coarse(record)
    if grade != WRONG:
        return grade
    return WRONG + (PASSED - WRONG) * record.verdict.pass_rate


def line_at_fault(record: RewardRecord) -> int | None:
    """Find the line that caused an error.

    Args:
        record: The completion and its verdict.

    Returns:
        Line of the code, from 1; None for a wrong result, or an error without a known line.
    """
    if record.code is None or record.verdict.status in ("passed", "failed"):
        return None
    return record.verdict.line


def fault_penalties(record: RewardRecord, lines: Sequence[int | None]) -> list[float]:
    """Penalise tokens, in addition to the reward of their completion.

    The tokens of the line at fault are penalised; if an error has no known line, all tokens of the
    code are. Source: RLTF, fine-grained feedback (its error classes U_line and
    U_global; wrong results and passes are here in U_ignore).

    Args:
        record: The completion and its verdict.
        lines: For each token the line of the code it belongs to, from 1; None outside
            (`diffucoder.rewards.spans.lines_of_tokens`).

    Returns:
        `FAULT` or 0 per token.
    """
    if record.code is None or record.verdict.status in ("passed", "failed"):
        return [0.0] * len(lines)
    fault = line_at_fault(record)
    blamed = [line is not None and fault in (None, line) for line in lines]
    return [FAULT if hit else 0.0 for hit in blamed]
