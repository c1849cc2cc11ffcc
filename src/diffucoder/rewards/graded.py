"""Graded unit-test feedback (CodeRL, arXiv 2207.01780; RLTF, arXiv 2307.04349)."""

from collections.abc import Sequence

from diffucoder.data.python_source import parse
from diffucoder.rewards.functions import RewardRecord

# CodeRL's four grades, as RLTF's released code has them (`get_reward_from_error_type`).
NOT_COMPILED, NOT_RUN, WRONG, PASSED = -1.0, -0.6, -0.3, 1.0
# Penalty on the tokens that an error is laid to; RLTF's code leaves its weight to an option. Here
# it is what separates a failure to run from a wrong result.
FAULT = NOT_RUN - WRONG


def coarse(record: RewardRecord) -> float:
    """-1 for what does not compile, -0.6 for what fails to run, -0.3 for wrong results, 1 passed.

    No code block counts as not compiled. Everything but a false assertion that ends a test
    (exception, time, memory, a denied call, a crash) counts as a failure to run. Source: CodeRL;
    RLTF (coarse-grained feedback) and StepCoder take it over.
    """
    if record.code is None or parse(record.code) is None:
        return NOT_COMPILED
    grades = {"passed": PASSED, "failed": WRONG, "syntax": NOT_COMPILED}
    return grades.get(record.verdict.status, NOT_RUN)


def graded(record: RewardRecord) -> float:
    """As `coarse`, but wrong results are worth -0.3 + 1.3 * (share of tests passed).

    So what compiles and runs is graded by how much of it is right, from -0.3 to 1. Source: RLTF,
    adaptive feedback. What fails to run stays at -0.6 however many tests went before.
    """
    grade = coarse(record)
    if grade != WRONG:
        return grade
    return WRONG + (PASSED - WRONG) * record.verdict.pass_rate


def line_at_fault(record: RewardRecord) -> int | None:
    """The line of the code, from 1, that an error is laid to; None where no single one is.

    A test that merely got a wrong result blames no line; nor does an error with no known place.
    """
    if record.code is None or record.verdict.status in ("passed", "failed"):
        return None
    return record.verdict.line


def fault_penalties(record: RewardRecord, lines: Sequence[int | None]) -> list[float]:
    """What each token earns beside the reward of its completion: `FAULT` or 0.

    Where the line at fault is known its tokens are blamed; where an error has no known place,
    all tokens of the code are. Source: RLTF, fine-grained feedback (its error classes U_line and
    U_global; wrong results and passes are here in U_ignore).

    Args:
        record: the completion and its verdict.
        lines: for each token the line of the code it belongs to, from 1; None outside
            (`diffucoder.rewards.spans.lines_of_tokens`).
    """
    if record.code is None or record.verdict.status in ("passed", "failed"):
        return [0.0] * len(lines)
    fault = line_at_fault(record)
    blamed = [line is not None and fault in (None, line) for line in lines]
    return [FAULT if hit else 0.0 for hit in blamed]
