"""Analysis's nodes: the temperature sweep, its measures, figures, the report."""

from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from diffucoder.config.analysis import AnalysisParams
from diffucoder.config.decoding import DecodingParams
from diffucoder.evaluation.requests import (
    evenly_spaced,
    generate_completions,
    problems_by_key,
    request_table,
    reveals,
)

KEYS = ["checkpoint", "suite", "trust", "decoding", "temperature", "steps"]


def sweep_temperature(
    problems: pd.DataFrame,
    adapted: Path,
    instruct: Path,
    grpo: Path,
    analysis: AnalysisParams,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Completions of a part of the held-out problems at several temperatures.

    One token a step, so that the order of reveals is defined; and, labelled `half`, in half
    the steps at one temperature.

    Returns:
        The scored completions, and their reveals where a trace was asked for.

    Raises:
        SandboxUnavailable: if programs cannot be run safely on this machine.
        TrainingFailed: if decoding fails.
    """
    from diffucoder.evaluation.scoring import score
    from diffucoder.sandbox import Sandbox
    from diffucoder.tracking import RunLogger, child_run

    heldout = evenly_spaced(problems[problems["split"] == "heldout"], analysis.problems)
    decodings = _decodings(analysis)
    asked = [
        request_table("heldout", heldout, checkpoint, label, analysis.samples)
        for checkpoint in analysis.checkpoints
        for label in decodings
    ]
    with (
        Sandbox(**analysis.sandbox.options()) as sandbox,
        child_run("analysis", analysis.model_dump(mode="json")) as environment,
        RunLogger(environment) as logger,
    ):
        logger.set_tag("sandbox_tier", sandbox.tier)
        logger.log_metrics(0, {"sandbox/mechanisms": sandbox.mechanisms})
        directories = {"adapted": adapted, "instruct": instruct, "grpo": grpo}
        completions, _ = generate_completions(
            pd.concat(asked, ignore_index=True),
            directories,
            decodings,
            "analysis",
            analysis.engine,
            analysis.work,
            seed,
            environment,
            analysis.trace,
        )
        scored = score(completions, problems_by_key({"heldout": heldout}), sandbox)
        return scored, reveals(analysis.work, directories)


def measure_temperature_sweep(
    temperature_completions: pd.DataFrame, analysis: AnalysisParams, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """pass@k of the sweep, and AR-ness of its decodings of one token a step."""
    from diffucoder.evaluation.measures import estimates, full_steps, orders, summarise_orders

    pass_at_k = estimates(temperature_completions, KEYS, analysis.ks, analysis.bootstrap, seed)
    order = orders(full_steps(temperature_completions), analysis.ar_ks)
    return pass_at_k, summarise_orders(order, analysis.bootstrap, seed)


def plot_figures(
    backbone_metrics: pd.DataFrame,
    adaptation_metrics: pd.DataFrame,
    instruction_metrics: pd.DataFrame,
    grpo_metrics: pd.DataFrame,
    pass_at_k: pd.DataFrame,
    temperature_pass_at_k: pd.DataFrame,
    autoregressiveness: pd.DataFrame,
) -> "tuple[go.Figure, go.Figure, go.Figure, go.Figure, go.Figure]":
    """Losses, rewards, pass rates, temperature curves, AR-ness."""
    from diffucoder.evaluation.measures import full_steps
    from diffucoder.report import figures

    stages = {
        "backbone": backbone_metrics,
        "adaptation": adaptation_metrics,
        "instruction": instruction_metrics,
    }
    return (
        figures.losses(stages),
        figures.rewards(grpo_metrics),
        figures.pass_rates(pass_at_k),
        figures.temperatures(full_steps(temperature_pass_at_k)),
        figures.autoregressiveness(autoregressiveness),
    )


def write_report(
    completions: pd.DataFrame,
    pass_at_k: pd.DataFrame,
    evaluation_notes: dict[str, Any],
    temperature_completions: pd.DataFrame,
    temperature_reveals: pd.DataFrame,
    temperature_pass_at_k: pd.DataFrame,
    data_report: dict[str, Any],
    losses_figure: "go.Figure",
    reward_figure: "go.Figure",
    pass_rate_figure: "go.Figure",
    temperature_figure: "go.Figure",
    ar_figure: "go.Figure",
    studies: dict[str, Any],
    parameters: dict[str, Any],
) -> str:
    """The page that tells the run from top to bottom; the studies' part if they were run."""
    from diffucoder.evaluation.measures import full_steps, orders
    from diffucoder.report import report
    from diffucoder.studies.claims import Tables, all_claims

    analysis = AnalysisParams.model_validate(parameters["analysis"])
    order = orders(full_steps(temperature_completions), analysis.ar_ks)
    run = Tables(
        completions,
        temperature_completions,
        order,
        analysis.half_step_temperature,
        studies.get("estimator_noise"),
        studies.get("ablation_pass_rates"),
    )
    return report.render(
        pass_at_k=pass_at_k,
        sweep_pass_at_k=temperature_pass_at_k,
        claims=all_claims([run], analysis.bootstrap, parameters["seed"]),
        samples=report.sample_problems(completions),
        traces=report.traces(temperature_completions, temperature_reveals),
        figures={
            "losses": losses_figure,
            "rewards": reward_figure,
            "pass_rates": pass_rate_figure,
            "temperatures": temperature_figure,
            "autoregressiveness": ar_figure,
        },
        studies=report.Studies(
            noise=studies.get("estimator_noise"),
            cost=studies.get("estimator_cost"),
            estimators=studies.get("estimator_figure"),
            cells=studies.get("ablation_summary"),
            curves=studies.get("ablation_figure"),
        ),
        data_report=data_report,
        notes=evaluation_notes,
        parameters=parameters,
    )


def write_summary(
    pass_at_k: pd.DataFrame, evaluation_notes: dict[str, Any], seed: int
) -> dict[str, Any]:
    """The headline numbers: pass@1 on held-out problems, sampled and greedy."""
    from diffucoder.report.report import headline

    found = headline(pass_at_k)
    return {
        "pass_at_1": found["sampled"],
        "greedy": found["greedy"],
        "seed": seed,
        "sandbox_tier": evaluation_notes["sandbox_tier"],
    }


def _decodings(analysis: AnalysisParams) -> dict[str, DecodingParams]:
    """Each temperature in all steps, and one of them in half the steps."""
    from diffucoder.evaluation.measures import HALF

    def at(temperature: float, steps: int) -> DecodingParams:
        changes = {"temperature": temperature, "steps": steps}
        return analysis.decoding.model_copy(update=changes)

    steps = analysis.decoding.steps
    full = {f"T = {value:g}": at(value, steps) for value in analysis.temperatures}
    return full | {HALF: at(analysis.half_step_temperature, max(1, steps // 2))}
