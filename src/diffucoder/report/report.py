"""The report: one self-contained HTML page, from tables to text.

Everything that a model, a problem file or a source wrote is escaped by the template engine; the
page's own policy forbids it any request.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from diffucoder.config.analysis import AnalysisParams
from diffucoder.config.checkpoints import CHECKPOINTS
from diffucoder.decoding.trace import DecodingTrace
from diffucoder.evaluation.measures import (
    HALF,
    autoregressiveness,
    completion_orders,
    full_steps,
)
from diffucoder.evaluation.suites import suite_label
from diffucoder.report.inputs import RunTables, Studies
from diffucoder.report.viewer import environment, watched
from diffucoder.studies.claims import Claim, Measurements, all_claims
from diffucoder.tracking.flatten import flatten

# Numbers of sample problems shown of each kind of outcome, and of denoising traces.
SAMPLES_PER_KIND = 2
TRACED_PROBLEMS = 2

KINDS = {
    (False, True): "solved only after coupled-GRPO",
    (True, False): "solved only before coupled-GRPO",
    (True, True): "solved before and after",
    (False, False): "solved neither before nor after",
}


def write_report(
    tables: RunTables,
    figures: Mapping[str, go.Figure],
    studies: Studies,
    parameters: Mapping[str, Any],
) -> str:
    """Tell a run from top to bottom, and what the studies found if they were run.

    Args:
        tables: What the chain left.
        figures: The figures that `diffucoder.report.figures.draw_all` draws, by name.
        studies: What there is of the lab's and the ablation's results.
        parameters: All parameters of the run, nested.

    Returns:
        The page as HTML.
    """
    analysis = AnalysisParams.model_validate(parameters["analysis"])
    measured = Measurements(
        tables.completions,
        tables.temperature_completions,
        completion_orders(full_steps(tables.temperature_completions), analysis.ar_ks),
        analysis.half_step_temperature,
        noise=studies.estimator_noise,
        pass_rates=studies.ablation_pass_rates,
    )
    claims = all_claims([measured], analysis.bootstrap, parameters["seed"])
    return render(tables, figures, studies, claims, parameters)


def summarise(
    pass_at_k: pd.DataFrame, evaluation_notes: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """The headline numbers of a run.

    Args:
        pass_at_k: pass@k of the evaluation stage.
        evaluation_notes: What evaluation skipped and left out, and the sandbox's tier.
        seed: Random seed of the run.

    Returns:
        `pass_at_1` (sampled) and `greedy`, each by checkpoint, `seed` and `sandbox_tier`.
    """
    found = headline(pass_at_k)
    return {
        "pass_at_1": found["sampled"],
        "greedy": found["greedy"],
        "seed": seed,
        "sandbox_tier": evaluation_notes["sandbox_tier"],
    }


def headline(pass_at_k: pd.DataFrame) -> dict[str, dict[str, dict[str, float | int]]]:
    """pass@1 on held-out problems.

    Args:
        pass_at_k: pass@k of the evaluation stage.

    Returns:
        decoding -> checkpoint -> `mean`, `low`, `high`, `n` (problems).
    """
    rows = pass_at_k[(pass_at_k["suite"] == "heldout") & (pass_at_k["k"] == 1)]
    found: dict[str, dict[str, dict[str, float | int]]] = {"sampled": {}, "greedy": {}}
    for row in rows.itertuples():
        found[row.decoding][row.checkpoint] = {
            "mean": float(row.mean),
            "low": float(row.low),
            "high": float(row.high),
            "n": int(row.n_problems),
        }
    return found


def ingested(data_report: Mapping[str, Any]) -> dict[str, Any]:
    """What the report shows of the data report: documents by step, tokens, problems, pairs.

    Args:
        data_report: What ingestion kept and left out.
    """
    splits: dict[str, int] = {}
    for row in data_report["problems"]["splits"]:
        splits[row["split"]] = splits.get(row["split"], 0) + row["count"]
    steps = [
        {
            "step": step["step"],
            "documents": step["documents_out"],
            "bytes": step["bytes_out"],
            "reasons": [(row["reason"], row["documents"]) for row in step["rejected"]],
        }
        for step in data_report["documents"]
    ]
    first = data_report["documents"][0]
    found = {"step": "found", "documents": first["documents_in"], "bytes": first["bytes_in"]}
    return {
        "steps": [found | {"reasons": []}, *steps],
        "shards": [
            (name, data_report[key])
            for name, key in (("pretraining", "token_shards"), ("mid-training", "curated_shards"))
        ],
        "splits": splits,
        "problems": data_report["problems"],
        "pairs": data_report["pairs"],
    }


def sample_problems(
    completions: pd.DataFrame,
) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Choose held-out problems, with the greedy answers of all checkpoints side by side.

    They are the first few of each kind in the order of the table, so that nobody picked them.

    Args:
        completions: Scored completions of the evaluation stage.

    Returns:
        The number of problems of each kind, and the chosen ones.
    """
    rows = completions[(completions["suite"] == "heldout") & (completions["decoding"] == "greedy")]
    counts, chosen = dict.fromkeys(KINDS.values(), 0), []
    for problem_id, answers in rows.groupby("problem_id", sort=False):
        by_checkpoint = answers.set_index("checkpoint")
        if not {"instruct", "grpo"} <= set(by_checkpoint.index):
            continue
        passed = by_checkpoint["passed"]
        kind = KINDS[bool(passed["instruct"]), bool(passed["grpo"])]
        counts[kind] += 1
        if counts[kind] <= SAMPLES_PER_KIND:
            present = [name for name in CHECKPOINTS if name in by_checkpoint.index]
            shown = [_answer(by_checkpoint.loc[name], name) for name in present]
            prompt = answers["prompt"].iloc[0]
            chosen.append({"kind": kind, "id": problem_id, "prompt": prompt, "answers": shown})
    order = list(KINDS.values())
    return counts, sorted(chosen, key=lambda sample: order.index(sample["kind"]))


def traces(sweep: pd.DataFrame, reveals: pd.DataFrame) -> list[dict[str, Any]]:
    """Choose problems of the sweep, with a completion of each checkpoint at the lowest temperature.

    Those that some checkpoint solves come first, in the order of the table.

    Args:
        sweep: Completions of the temperature sweep.
        reveals: What is known of their reveals; may lack any of them.

    Returns:
        For each problem `prompt`, `temperature` and `runs`: what `viewer.watched` makes of each
        completion, its checkpoint, its verdict and its AR-ness.
    """
    full = full_steps(sweep[sweep["length"] >= 2])
    coldest = full[(full["temperature"] == full["temperature"].min()) & (full["sample"] == 0)]
    solved = coldest.groupby("problem_id", sort=False)["passed"].any()
    wanted = solved.sort_values(ascending=False, kind="stable").index[:TRACED_PROBLEMS]
    shown = [coldest[coldest["problem_id"] == problem_id] for problem_id in wanted]
    return [
        {
            "prompt": rows["prompt"].iloc[0],
            "temperature": float(rows["temperature"].iloc[0]),
            "runs": [_trace(row, reveals) for row in rows.itertuples()],
        }
        for rows in shown
    ]


def render(
    tables: RunTables,
    figures: Mapping[str, go.Figure],
    studies: Studies,
    claims: Sequence[Claim],
    parameters: Mapping[str, Any],
) -> str:
    """Fill the page's template.

    Args:
        tables: What the chain left.
        figures: `losses`, `rewards`, `pass_rates`, `temperatures`, `autoregressiveness`.
        studies: What there is of the lab's and the ablation's results.
        claims: What the numbers say.
        parameters: All parameters of the run, nested.

    Returns:
        The page as HTML.
    """
    kinds, samples = sample_problems(tables.completions)
    sweep = tables.temperature_pass_at_k
    pages = environment()
    pages.filters["suite_label"] = suite_label
    pages.filters["percent"] = lambda share: f"{share:.1%}"
    pages.filters["count"] = lambda number: f"{number:,}"
    pages.filters["short"] = lambda number: f"{number:.3g}"
    pages.filters["size"] = lambda size: f"{size / 1e6:,.2f} MB"
    return pages.get_template("report.html.jinja").render(
        plotly_js=Markup(get_plotlyjs()),
        figures={
            name: _embedded(figure) for name, figure in {**figures, **studies.figures}.items()
        },
        lab=studies.lab,
        ablation=studies.ablation,
        checkpoints=CHECKPOINTS,
        headline=headline(tables.pass_at_k),
        pass_at_k=tables.pass_at_k.to_dict("records"),
        sweep=sweep.to_dict("records"),
        halves=_halves(sweep).to_dict("records"),
        claims=claims,
        kinds=kinds,
        samples=samples,
        traces=traces(tables.temperature_completions, tables.temperature_reveals),
        data=ingested(tables.data_report),
        notes=tables.evaluation_notes,
        settings={stage: setting_rows(stage, value) for stage, value in parameters.items()},
        seed=parameters["seed"],
    )


def setting_rows(stage: str, value: Any) -> list[tuple[str, str]]:
    """Parameters of a stage as rows of a table.

    Args:
        stage: Name of the stage, which begins every key.
        value: Its nested parameters, or a single value.

    Returns:
        Dotted keys, and values as JSON.
    """
    return [(key, json.dumps(leaf, default=str)) for key, leaf in flatten({stage: value}).items()]


def _halves(sweep_pass_at_k: pd.DataFrame) -> pd.DataFrame:
    """pass@1 of decoding in half the steps, and in all of them at the same temperature."""
    half = sweep_pass_at_k[sweep_pass_at_k["decoding"] == HALF]
    alike = sweep_pass_at_k["temperature"].isin(half["temperature"])
    return sweep_pass_at_k[alike & (sweep_pass_at_k["k"] == 1)]


def _answer(row: pd.Series, checkpoint: str) -> dict[str, Any]:
    return {
        "checkpoint": checkpoint,
        "status": row["status"],
        "passed": bool(row["passed"]),
        "pass_rate": float(row["pass_rate"]),
        "source": row["code"] or row["text"],
    }


def _trace(row: Any, reveals: pd.DataFrame) -> dict[str, Any]:
    steps = [int(step) for step in row.reveal_step]
    keys = ("checkpoint", "problem_id", "sample", "decoding")
    own = reveals[(reveals[list(keys)] == [getattr(row, key) for key in keys]).all(axis=1)]
    # What was revealed after the end of the text is not shown.
    own = own[own["position"] < row.length]
    columns = ("position", "reveal_step", "probability", "alternative_probabilities")
    place, step, probability, shares = (own[column].tolist() for column in columns)
    tokens = [row.tokens[at] for at in place]
    trace = DecodingTrace(place, tokens, step, probability, [], shares)
    return {
        "checkpoint": row.checkpoint,
        "status": row.status,
        "passed": bool(row.passed),
        **autoregressiveness(steps, k=1),
        **watched(row.pieces, steps, trace, own["alternatives"].tolist()),
    }


def _embedded(figure: go.Figure) -> Markup:
    # No "<" survives, so no text in a figure can end the script element that holds it.
    return Markup(figure.to_json().replace("<", "\\u003c"))
