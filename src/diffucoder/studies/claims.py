"""The paper's claims (arXiv 2506.20639), held against measurements.

Each claim has a measure, an effect with an interval, and a verdict, whichever way it goes. The
effect is measured in every run by itself; the runs of several seeds are assessed together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import pandas as pd

from diffucoder.config.ablation import BUDGETS, START
from diffucoder.config.checkpoints import CHECKPOINTS
from diffucoder.config.evaluation import BootstrapParams
from diffucoder.evaluation.bootstrap import interval, seeds_interval
from diffucoder.evaluation.measures import HALF, PROBLEM, full_steps
from diffucoder.evaluation.pass_at_k import pass_at_k
from diffucoder.studies.lab import VARIANCE_SHARE

ClaimVerdict = Literal["supported", "contradicted", "undecided"]

# Global AR-ness@1: how often the left-most mask is the next to be revealed.
AR_K = 1


@dataclass(frozen=True)
class Measurements:
    """The measurements of one run that claims are held against.

    Attributes:
        completions: Scored completions of the evaluation stage.
        sweep: Scored completions of the temperature sweep; its decoding `half` took half the
            steps.
        order: AR-ness of each completion of the sweep that revealed one token per step.
        half_step_temperature: Temperature at which decoding in half the steps was tried.
        noise: `EstimatorNoise` of the lab, if it was run.
        pass_rates: `PassRates` of the ablation, if it was run.
    """

    completions: pd.DataFrame
    sweep: pd.DataFrame
    order: pd.DataFrame
    half_step_temperature: float
    noise: pd.DataFrame | None = None
    pass_rates: pd.DataFrame | None = None


@dataclass(frozen=True)
class Effect:
    """What one run says of one claim.

    Attributes:
        claim: The statement.
        measure: What stands for it.
        sign: 1 if the claim is that the effect is above 0, -1 if below.
        unit: Unit of the effect times 100.
        samples: For each seed the effect on each problem; empty if nothing was measured.
        ends: The interval where there are too few samples to resample: one number of one seed.
        evidence: The numbers before and after, as a sentence.
    """

    claim: str
    measure: str
    sign: int
    unit: Literal["points", "%"]
    samples: tuple[tuple[float, ...], ...]
    ends: tuple[float, float] | None = None
    evidence: str = ""


@dataclass(frozen=True)
class Claim:
    """A row of the table of claims.

    Attributes:
        claim: What the paper says.
        measure: What stands for it.
        effect: Mean and both ends of the interval, in `unit`; None if nothing was measured.
        unit: `points` of a share in percent, or `%` of change.
        verdict: `supported` when the whole interval agrees, `contradicted` when all of it
            disagrees, else `undecided` at this scale.
        seeds: Number of trainings behind it.
        problems: Number of units of each, mostly problems.
        evidence: More numbers, as a sentence.
    """

    claim: str
    measure: str
    effect: tuple[float, float, float] | None
    unit: str
    verdict: ClaimVerdict
    seeds: int
    problems: int
    evidence: str

    @property
    def formatted(self) -> str:
        """The effect as text."""
        if self.effect is None:
            return "not measured"
        mean, low, high = self.effect
        return f"{mean:+.1f} {self.unit} [{low:+.1f}, {high:+.1f}]"


def all_claims(runs: Sequence[Measurements], bootstrap: BootstrapParams, seed: int) -> list[Claim]:
    """Assess every claim on the runs of one or several seeds.

    Args:
        runs: Measurements of each seed; the interval of several is over seeds and problems.
        bootstrap: How the intervals are computed.
        seed: Random seed of the resampling.

    Returns:
        The claims, in the order of the paper's.
    """
    found: dict[tuple[str, str], list[Effect]] = {}
    for run in runs:
        for effect in effects(run):
            found.setdefault((effect.claim, effect.measure), []).append(effect)
    return [assess(same, bootstrap, seed) for same in found.values()]


def assess(same: Sequence[Effect], bootstrap: BootstrapParams, seed: int) -> Claim:
    """Assess one claim.

    Args:
        same: What each run says of the claim.
        bootstrap: How the interval is computed.
        seed: Random seed of the resampling.
    """
    first = same[0]
    samples = [units for effect in same for units in effect.samples if units]
    about = (first.claim, first.measure)
    if not samples:
        return Claim(*about, None, first.unit, "undecided", 0, 0, first.evidence)
    mean = sum(sum(units) / len(units) for units in samples) / len(samples)
    options = (bootstrap.resamples, bootstrap.confidence, seed)
    if len(samples) > 1:
        low, high = seeds_interval(samples, *options)
    else:
        low, high = first.ends or interval(samples[0], *options)
    return Claim(
        *about,
        (100 * mean, 100 * low, 100 * high),
        first.unit,
        verdict(low, high, first.sign),
        len(samples),
        min(map(len, samples)),
        first.evidence if len(same) == 1 else "",
    )


def verdict(low: float, high: float, sign: int) -> ClaimVerdict:
    """Tell on which side of 0 an interval lies.

    Args:
        low: Its low end.
        high: Its high end.
        sign: 1 if a rise is claimed, -1 if a fall is.
    """
    low, high = sorted((sign * low, sign * high))
    if low > 0:
        return "supported"
    return "contradicted" if high < 0 else "undecided"


def effects(run: Measurements) -> Iterator[Effect]:
    """Measure the effects that the paper claims, in its order.

    Args:
        run: The measurements of one run.

    Yields:
        One effect per claim and measure.
    """
    yield from _variance(run.noise)
    yield from _gains(run.completions[run.completions["suite"] == "heldout"])
    yield from _against_other_estimators(run.pass_rates)
    yield _half_steps(run.sweep[run.sweep["temperature"] == run.half_step_temperature])
    full = full_steps(run.sweep)
    yield from _temperature_effects(full, run.order)
    yield from _order_after_rl(full, run.order)


def _variance(noise: pd.DataFrame | None) -> Iterator[Effect]:
    """Both intervals are the lab's own, over completions."""
    claim = "Coupled masks lower the variance of the estimate."
    for level, of in (("token", "a token"), ("sequence", "a completion")):
        measure = (
            f"variance of the log-likelihood of {of}, coupled against independent masks at equal "
            "forward passes"
        )
        if noise is None:
            missing = "Not measured: `kedro run --pipeline=lab`, then analysis, would."
            yield Effect(claim, measure, -1, "%", (), evidence=missing)
            continue
        shares = noise[
            (noise["measure"] == VARIANCE_SHARE)
            & (noise["level"] == level)
            & (noise["estimator"] == "coupled")
        ].sort_values("forwards")
        if shares.empty:
            missing = "The lab has no variant `coupled`, or its baseline no equal budget."
            yield Effect(claim, measure, -1, "%", (), evidence=missing)
            continue
        row = shares.iloc[0]
        evidence = f"{row['forwards']} forward passes per completion, {row['n']} completions."
        ends = (float(row["low"]) - 1, float(row["high"]) - 1)
        yield Effect(claim, measure, -1, "%", ((float(row["mean"]) - 1,),), ends, evidence)


def _gains(heldout: pd.DataFrame) -> Iterator[Effect]:
    claim = "Coupled-GRPO raises pass@1."
    for decoding in ("sampled", "greedy"):
        rows = heldout[heldout["decoding"] == decoding]
        before, after = (_shares(rows, name, "passed") for name in ("instruct", "grpo"))
        measure = f"held-out pass@1, {decoding}, instruct to coupled-GRPO"
        yield _change(claim, measure, 1, ("instruct", before), (CHECKPOINTS["grpo"].title, after))


def _against_other_estimators(passes: pd.DataFrame | None) -> Iterator[Effect]:
    for other, budget in product(("full_mask", "decoupled"), BUDGETS):
        label = other.replace("_", "-")
        claim = f"RL with the coupled estimator beats RL with the {label} one."
        measure = f"held-out pass@1 at {budget}, {label} to coupled"
        cells = set() if passes is None else set(passes["cell"])
        if passes is None or not {"coupled", other} <= cells:
            missing = "Not measured: `kedro run --pipeline=ablation`, then analysis, would."
            yield Effect(claim, measure, 1, "points", (), evidence=missing)
            continue
        asked = passes[passes["budget"] == budget]
        own, others = (
            asked[asked["cell"] == cell].pivot(index="seed", columns="problem_id", values="passed")
            for cell in ("coupled", other)
        )
        start = asked[asked["cell"] == START]["passed"].mean()
        evidence = (
            f"{label}: {others.to_numpy().mean():.1%}; coupled: {own.to_numpy().mean():.1%}; "
            f"both started from {start:.1%}."
        )
        samples = tuple(tuple(row) for row in (own - others).to_numpy().tolist())
        yield Effect(claim, measure, 1, "points", samples, evidence=evidence)


def _half_steps(sweep: pd.DataFrame) -> Effect:
    claim = "Decoding in half the steps loses less after coupled-GRPO."
    measure = "pass@1 lost by half the steps, instruct to coupled-GRPO"
    costs, words = [], []
    for checkpoint in ("instruct", "grpo"):
        full = _shares(full_steps(sweep), checkpoint, "passed")
        half = _shares(sweep[sweep["decoding"] == HALF], checkpoint, "passed")
        costs.append(full - half)
        words.append(f"{CHECKPOINTS[checkpoint].title} {full.mean():.1%} and {half.mean():.1%}")
    lost = (costs[1] - costs[0]).dropna()
    if lost.empty:
        return Effect(claim, measure, -1, "points", (), evidence=_NOTHING)
    evidence = f"In all and in half the steps: {'; '.join(words)}."
    return Effect(claim, measure, -1, "points", (tuple(lost),), evidence=evidence)


def _temperature_effects(full: pd.DataFrame, order: pd.DataFrame) -> Iterator[Effect]:
    low_t, high_t = full["temperature"].min(), full["temperature"].max()
    if full.empty or low_t == high_t:
        return
    names = (f"T = {low_t:g}", f"T = {high_t:g}")
    for checkpoint in full["checkpoint"].unique():
        who = CHECKPOINTS[checkpoint].title
        ar = [_ar_shares(order, checkpoint, temperature) for temperature in (low_t, high_t)]
        yield _change(
            "A higher temperature makes decoding less left to right.",
            f"global AR-ness@{AR_K} of {who}, {names[0]} to {names[1]}",
            -1,
            *zip(names, ar, strict=True),
        )
        samples = full[full["checkpoint"] == checkpoint]
        k = int(samples.groupby([*PROBLEM, "temperature"]).size().min())
        if k > 1:
            solved = [_solved(samples, temperature, k) for temperature in (low_t, high_t)]
            yield _change(
                "A higher temperature lifts pass@k.",
                f"pass@{k} of {who}, {names[0]} to {names[1]}",
                1,
                *zip(names, solved, strict=True),
            )


def _order_after_rl(full: pd.DataFrame, order: pd.DataFrame) -> Iterator[Effect]:
    if not {"instruct", "grpo"} <= set(full["checkpoint"]):
        return
    low_t = full["temperature"].min()
    before, after = (_ar_shares(order, name, low_t) for name in ("instruct", "grpo"))
    yield _change(
        "Decoding is less left to right after coupled-GRPO.",
        f"global AR-ness@{AR_K} at T = {low_t:g}, instruct to coupled-GRPO",
        -1,
        ("instruct", before),
        (CHECKPOINTS["grpo"].title, after),
    )


_NOTHING = "This run holds no completions to judge it by."


def _change(
    claim: str, measure: str, sign: int, before: tuple[str, pd.Series], after: tuple[str, pd.Series]
) -> Effect:
    """The change of a share, problem by problem, over the problems that both hold."""
    change = (after[1] - before[1]).dropna()
    if change.empty:
        return Effect(claim, measure, sign, "points", (), evidence=_NOTHING)
    words = [f"{name}: {shares[change.index].mean():.1%}" for name, shares in (before, after)]
    return Effect(claim, measure, sign, "points", (tuple(change),), evidence=f"{'; '.join(words)}.")


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
