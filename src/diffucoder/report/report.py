"""The report: one self-contained HTML page, from tables to text.

Everything that a model, a problem file or a source wrote is escaped by the template engine; the
page's own policy forbids it any request.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from diffucoder.config.checkpoints import CHECKPOINTS
from diffucoder.decoding.trace import DecodingTrace
from diffucoder.evaluation.measures import HALF, autoregressiveness, full_steps
from diffucoder.evaluation.suites import suite_label
from diffucoder.report.viewer import environment, watched
from diffucoder.studies.claims import Claim

# Sample problems shown of each kind of outcome, and denoising traces.
SAMPLES_PER_KIND = 2
TRACED_PROBLEMS = 2

KINDS = {
    (False, True): "solved only after coupled-GRPO",
    (True, False): "solved only before coupled-GRPO",
    (True, True): "solved before and after",
    (False, False): "solved neither before nor after",
}


@dataclass(frozen=True)
class Studies:
    """What the pipelines `lab` and `ablation` found; None what was not measured.

    Attributes:
        noise: `diffucoder.studies.lab.EstimatorNoise`.
        cost: `diffucoder.studies.lab.EstimatorCost`.
        estimators: the lab's figure.
        cells: `diffucoder.studies.ablation.Summary`.
        curves: the ablation's figure.
    """

    noise: pd.DataFrame | None = None
    cost: pd.DataFrame | None = None
    estimators: go.Figure | None = None
    cells: pd.DataFrame | None = None
    curves: go.Figure | None = None

    @property
    def lab(self) -> dict[str, list[dict[str, Any]]] | None:
        """Rows of the lab's tables, if all of it is there."""
        if self.noise is None or self.cost is None or self.estimators is None:
            return None
        return {"noise": self.noise.to_dict("records"), "cost": self.cost.to_dict("records")}

    @property
    def ablation(self) -> list[dict[str, Any]] | None:
        """Rows of the ablation's summary, if all of it is there."""
        if self.cells is None or self.curves is None:
            return None
        return self.cells.to_dict("records")

    @property
    def figures(self) -> dict[str, go.Figure]:
        """Those of the sections that are shown."""
        found = {"estimators": self.estimators} if self.lab else {}
        return found | ({"ablation": self.curves} if self.ablation else {})


def headline(pass_at_k: pd.DataFrame) -> dict[str, dict[str, dict[str, float | int]]]:
    """pass@1 on held-out problems: decoding -> checkpoint -> mean, low, high, n (problems)."""
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
    """What the report shows of the data report: documents by step, tokens, problems, pairs."""
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
    """Held-out problems with the greedy answers of all checkpoints side by side.

    The first few of each kind in the order of the table, so that nobody picked them.

    Returns:
        How many problems are of each kind, and the chosen ones.
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
    """Problems of the sweep with a completion of each checkpoint at the lowest temperature.

    Those that some checkpoint solves come first, in the order of the table.

    Args:
        sweep: completions.
        reveals: what is known of their reveals; may lack any of them.

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


def flatten(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Nested parameters as dotted keys and their values, written as JSON."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from flatten(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, json.dumps(value, default=str)


def render(
    *,
    pass_at_k: pd.DataFrame,
    sweep_pass_at_k: pd.DataFrame,
    claims: Sequence[Claim],
    samples: tuple[Mapping[str, int], Sequence[Mapping[str, Any]]],
    traces: Sequence[Mapping[str, Any]],
    figures: Mapping[str, go.Figure],
    studies: Studies,
    data_report: Mapping[str, Any],
    notes: Mapping[str, Any],
    parameters: Mapping[str, Any],
) -> str:
    """The page.

    Args:
        pass_at_k: estimates of the evaluation stage.
        sweep_pass_at_k: estimates of the temperature sweep.
        claims: what the numbers say.
        samples: what `sample_problems` returned.
        traces: what `traces` returned.
        figures: `losses`, `rewards`, `pass_rates`, `temperatures`, `autoregressiveness`.
        studies: what there is of the lab's and the ablation's results.
        data_report: what ingestion wrote.
        notes: what evaluation skipped and left out, and the sandbox's tier.
        parameters: all of the run's, nested.
    """
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
        headline=headline(pass_at_k),
        pass_at_k=pass_at_k.to_dict("records"),
        sweep=sweep_pass_at_k.to_dict("records"),
        halves=_halves(sweep_pass_at_k).to_dict("records"),
        claims=claims,
        kinds=samples[0],
        samples=samples[1],
        traces=traces,
        data=ingested(data_report),
        notes=notes,
        settings={stage: list(flatten(value, stage)) for stage, value in parameters.items()},
        seed=parameters["seed"],
    )


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
