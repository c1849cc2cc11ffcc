"""The temperature sweep: pass@k and the order of decoding at several temperatures."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from diffucoder.config.analysis import AnalysisParams
from diffucoder.config.decoding import DecodingParams
from diffucoder.evaluation.completions import (
    GenerationParams,
    generate_completions,
    read_reveals,
)
from diffucoder.evaluation.measures import (
    HALF,
    completion_orders,
    estimate_pass_at_k,
    full_steps,
    summarise_orders,
)
from diffucoder.evaluation.requests import evenly_spaced, problems_by_key, request_table
from diffucoder.evaluation.scoring import score
from diffucoder.evaluation.suites import HELD_OUT
from diffucoder.sandbox import Sandbox
from diffucoder.tracking import RunLogger, child_run


def sweep_temperature(
    problems: pd.DataFrame,
    checkpoints: Mapping[str, Path],
    analysis: AnalysisParams,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Complete a part of the held-out problems at several temperatures.

    One token per step, so that the order of reveals is defined; and, labelled `half`, in half
    the steps at one temperature.

    Args:
        problems: The problem table.
        checkpoints: Directory of each checkpoint, by name.
        analysis: The stage's parameters.
        seed: Random seed of the run.

    Returns:
        The scored completions (`Completions` of `diffucoder.evaluation.schemas`), and their
        reveals (`Reveals`) where a trace was asked for.

    Raises:
        SandboxUnavailable: If programs cannot be run safely on this machine.
        TrainingFailed: If decoding fails.
    """
    heldout = evenly_spaced(problems[problems["split"] == HELD_OUT], analysis.problems)
    decodings = sweep_decodings(analysis)
    requests = [
        request_table(HELD_OUT, heldout, checkpoint, label, analysis.samples)
        for checkpoint in analysis.checkpoints
        for label in decodings
    ]
    params = GenerationParams(decodings=decodings, engine=analysis.engine, trace=analysis.trace)
    with (
        Sandbox(**analysis.sandbox.options()) as sandbox,
        child_run("analysis", analysis.model_dump(mode="json")) as environment,
        RunLogger(environment) as logger,
    ):
        logger.set_tag("sandbox_tier", sandbox.tier)
        logger.log_metrics(0, {"sandbox/mechanisms": sandbox.mechanisms})
        completions, _ = generate_completions(
            pd.concat(requests, ignore_index=True),
            checkpoints,
            params,
            "analysis",
            analysis.work,
            seed,
            environment,
        )
        scored = score(completions, problems_by_key({HELD_OUT: heldout}), sandbox)
    return scored, read_reveals(analysis.work, checkpoints)


def measure_sweep(
    completions: pd.DataFrame, analysis: AnalysisParams, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure the completions of a sweep.

    Args:
        completions: What `sweep_temperature` returned.
        analysis: The stage's parameters.
        seed: Random seed of the resampling.

    Returns:
        pass@k with intervals (`PassAtK` of `diffucoder.evaluation.schemas`), and AR-ness of the
        decodings of one token per step (`Autoregressiveness`).
    """
    pass_at_k = estimate_pass_at_k(completions, analysis.ks, analysis.bootstrap, seed)
    orders = completion_orders(full_steps(completions), analysis.ar_ks)
    return pass_at_k, summarise_orders(orders, analysis.bootstrap, seed)


def sweep_decodings(analysis: AnalysisParams) -> dict[str, DecodingParams]:
    """The decodings of a sweep: each temperature in all steps, one of them also in half the steps.

    Args:
        analysis: The stage's parameters.

    Returns:
        Options by label: `T = <temperature>`, and `half`.
    """

    def at(temperature: float, steps: int) -> DecodingParams:
        changes = {"temperature": temperature, "steps": steps}
        return analysis.decoding.model_copy(update=changes)

    steps = analysis.decoding.steps
    full = {f"T = {value:g}": at(value, steps) for value in analysis.temperatures}
    return full | {HALF: at(analysis.half_step_temperature, max(1, steps // 2))}
