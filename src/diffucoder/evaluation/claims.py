"""What the numbers say, in words: each claim is computed from the tables, whichever way it goes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import pandas as pd

from diffucoder.config.evaluation import BootstrapParams
from diffucoder.evaluation.measures import HALF, PROBLEM, full_steps, paired_difference
from diffucoder.evaluation.pass_at_k import pass_at_k

Outcome = Literal["shown", "contradicted", "open"]
Difference = Callable[[pd.Series, pd.Series], Mapping[str, float]]

# Global AR-ness@1: how often the left-most mask is the next to be revealed.
AR_K = 1
NAMES = {"adapted": "adapted", "instruct": "instruct", "grpo": "coupled-GRPO"}


@dataclass(frozen=True)
class Claim:
    """A statement and what this run says of it.

    Attributes:
        statement: what is claimed, in general.
        outcome: `shown` when the whole interval agrees, `contradicted` when it all disagrees,
            else `open`.
        evidence: the numbers, as a sentence.
    """

    statement: str
    outcome: Outcome
    evidence: str


def all_claims(
    completions: pd.DataFrame,
    sweep: pd.DataFrame,
    order: pd.DataFrame,
    half_step_temperature: float,
    bootstrap: BootstrapParams,
    seed: int,
) -> list[Claim]:
    """The claims of the paper that a run can speak of.

    Args:
        completions: of the evaluation stage, scored.
        sweep: of the analysis stage, scored; its decoding `half` took half the steps.
        order: AR-ness of each completion of the sweep.
        half_step_temperature: temperature at which decoding in half the steps was tried.
        bootstrap: the intervals.
        seed: of the resampling.
    """
    difference = partial(paired_difference, bootstrap=bootstrap, seed=seed)
    full = full_steps(sweep)
    return [
        *_gains(completions[completions["suite"] == "heldout"], difference),
        _half_steps(sweep[sweep["temperature"] == half_step_temperature], difference),
        *_heat(full, order, difference),
        *_order_after_rl(full, order, difference),
    ]


def outcome(change: Mapping[str, float], sign: int) -> Outcome:
    """Whether the interval of a change lies on one side of 0.

    Args:
        change: with `low` and `high`.
        sign: 1 if a rise is claimed, -1 if a fall is.
    """
    low, high = sorted((sign * change["low"], sign * change["high"]))
    if low > 0:
        return "shown"
    return "contradicted" if high < 0 else "open"


def compare(
    statement: str,
    sign: int,
    before: tuple[str, pd.Series],
    after: tuple[str, pd.Series],
    difference: Difference,
) -> Claim:
    """Judge that a share rose (sign 1) or fell (sign -1), problem by problem.

    Args:
        statement: what is claimed.
        sign: the direction that is claimed.
        before: a name, and a share between 0 and 1 for each problem.
        after: the same of what it is compared with.
        difference: gives mean, low and high of the paired change.
    """
    shared = before[1].index.intersection(after[1].index)
    if len(shared) == 0:
        return Claim(statement, "open", "This run holds no completions to judge it by.")
    change = difference(before[1], after[1])
    evidence = (
        f"{before[0]}: {before[1][shared].mean():.1%}; {after[0]}: {after[1][shared].mean():.1%}; "
        f"change {_points(change)}, {len(shared)} problems."
    )
    return Claim(statement, outcome(change, sign), evidence)


def _gains(heldout: pd.DataFrame, difference: Difference) -> list[Claim]:
    statements = {
        "sampled": "Coupled-GRPO raises pass@1 on held-out problems.",
        "greedy": "It also raises pass@1 of greedy decoding.",
    }
    claims = []
    for decoding, statement in statements.items():
        rows = heldout[heldout["decoding"] == decoding]
        before, after = (_shares(rows, name, "passed") for name in ("instruct", "grpo"))
        claims.append(
            compare(statement, 1, (NAMES["instruct"], before), (NAMES["grpo"], after), difference)
        )
    return claims


def _half_steps(sweep: pd.DataFrame, difference: Difference) -> Claim:
    statement = "After coupled-GRPO, decoding in half the steps costs less."
    costs, words = [], []
    for checkpoint in ("instruct", "grpo"):
        full = _shares(full_steps(sweep), checkpoint, "passed")
        half = _shares(sweep[sweep["decoding"] == HALF], checkpoint, "passed")
        if len(full) == 0 or len(half) == 0:
            return Claim(statement, "open", "This run holds no completions to judge it by.")
        costs.append(full - half)
        words.append(f"{NAMES[checkpoint]} {full.mean():.1%} and {half.mean():.1%}")
    change = difference(*costs)
    evidence = f"pass@1 in all and in half the steps: {'; '.join(words)}. Change of the cost "
    return Claim(statement, outcome(change, -1), f"{evidence}{_points(change)}.")


def _heat(full: pd.DataFrame, order: pd.DataFrame, difference: Difference) -> list[Claim]:
    cold, hot = full["temperature"].min(), full["temperature"].max()
    if full.empty or cold == hot:
        return []
    names = (f"T = {cold:g}", f"T = {hot:g}")
    claims = []
    for checkpoint in full["checkpoint"].unique():
        ar = [_ar_shares(order, checkpoint, temperature) for temperature in (cold, hot)]
        statement = (
            f"{_start(checkpoint)}: a higher temperature makes decoding less left to right "
            f"(global AR-ness@{AR_K})."
        )
        claims.append(compare(statement, -1, *zip(names, ar, strict=True), difference))
        samples = full[full["checkpoint"] == checkpoint]
        k = int(samples.groupby([*PROBLEM, "temperature"]).size().min())
        if k > 1:
            solved = [_solved(samples, temperature, k) for temperature in (cold, hot)]
            statement = f"{_start(checkpoint)}: a higher temperature lifts pass@{k}."
            claims.append(compare(statement, 1, *zip(names, solved, strict=True), difference))
    return claims


def _order_after_rl(full: pd.DataFrame, order: pd.DataFrame, difference: Difference) -> list[Claim]:
    if not {"instruct", "grpo"} <= set(full["checkpoint"]):
        return []
    cold = full["temperature"].min()
    before, after = (_ar_shares(order, name, cold) for name in ("instruct", "grpo"))
    statement = (
        f"After coupled-GRPO decoding is less left to right (global AR-ness@{AR_K}, T = {cold:g})."
    )
    return [compare(statement, -1, (NAMES["instruct"], before), (NAMES["grpo"], after), difference)]


def _shares(rows: pd.DataFrame, checkpoint: str, column: str) -> pd.Series:
    chosen = rows[rows["checkpoint"] == checkpoint]
    return chosen.groupby(PROBLEM)[column].mean().astype(float)


def _ar_shares(order: pd.DataFrame, checkpoint: str, temperature: float) -> pd.Series:
    rows = order[
        (order["temperature"] == temperature) & (order["kind"] == "global") & (order["k"] == AR_K)
    ]
    return _shares(rows, checkpoint, "value")


def _solved(samples: pd.DataFrame, temperature: float, k: int) -> pd.Series:
    rows = samples[samples["temperature"] == temperature]
    return rows.groupby(PROBLEM)["passed"].agg(
        lambda passed: pass_at_k(len(passed), int(passed.sum()), k)
    )


def _start(checkpoint: str) -> str:
    return NAMES[checkpoint][0].upper() + NAMES[checkpoint][1:]


def _points(change: Mapping[str, float]) -> str:
    mean, low, high = (100 * change[key] for key in ("mean", "low", "high"))
    return f"{mean:+.1f} points, interval [{low:+.1f}, {high:+.1f}]"
