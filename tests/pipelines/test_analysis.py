"""Analysis through its nodes: the sweep decodes for real, the rest follows from its table."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from diffucoder.config.analysis import AnalysisParams
from diffucoder.config.checkpoints import CHECKPOINTS
from diffucoder.evaluation.schemas import Autoregressiveness, Completions, PassAtK, Reveals
from diffucoder.pipelines.analysis import nodes, pipeline
from diffucoder.report.inputs import FIGURES

Parameters = Callable[..., dict[str, Any]]

DATA_REPORT = {
    "documents": [
        {
            "step": "read",
            "documents_in": 5,
            "documents_out": 5,
            "bytes_in": 10,
            "bytes_out": 10,
            "rejected": [],
        }
    ],
    "token_shards": {"rows": 1, "tokens": 1, "documents": 1},
    "curated_shards": {"rows": 1, "tokens": 1, "documents": 1},
    "problems": {"in": 3, "out": 3, "splits": [], "rejected": []},
    "pairs": {"in": 1, "out": 1, "flawed": 0, "prompt_tokens": 1, "response_tokens": 1},
}


@pytest.mark.parametrize("env", ["base", "test", "h200", "paper"])
def test_every_environment_has_valid_parameters(parameters: Parameters, env: str) -> None:
    AnalysisParams(**parameters(env, "analysis"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"half_step_temperature": 0.3}, "half_step_temperature"),
        ({"ks": [2]}, "contain 1"),
        ({"temperatures": [-1.0, 0.2]}, "negative"),
        ({"decoding": {"rule": "entropy", "max_new_tokens": 8, "steps": 4, "eps": 0}}, "AR-ness"),
        ({"decoding": {"rule": "entropy", "max_new_tokens": 8, "steps": 8}}, "eps"),
        ({"decoding": {"rule": "origin", "max_new_tokens": 8, "steps": 8, "eps": 0}}, "origin"),
    ],
)
def test_parameters_without_an_order_or_a_comparison_are_refused(
    parameters: Parameters, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        AnalysisParams(**parameters("test", "analysis", **change))


@pytest.fixture(scope="module")
def metrics() -> pd.DataFrame:
    names = ["loss", "reward", "pass_rate", "kl"]
    return pd.DataFrame({"step": 1, "name": names, "value": [2.0, 0.5, 0.25, 0.0]})


@pytest.mark.slow
def test_from_sweep_to_report(
    tmp_path: Path, parameters: Parameters, checkpoint: Path, metrics: pd.DataFrame
) -> None:
    settings = {"seed": 0, "analysis": parameters("test", "analysis", work=str(tmp_path / "work"))}
    params = AnalysisParams(**settings["analysis"])
    steps = params.decoding.steps
    about = {"split": "heldout", "entry_point": "add", "tests": ["assert add(1) == 2"], "check": ""}
    problems = pd.DataFrame([about | {"problem_id": f"p{n}", "prompt": f"add_{n}"} for n in (1, 2)])

    sweep, reveals = nodes.sweep_temperature(
        problems, params, 0, **dict.fromkeys(CHECKPOINTS, checkpoint)
    )

    Completions.validate(sweep)
    Reveals.validate(reveals)
    known = reveals.set_index(["checkpoint", "problem_id", "sample", "decoding", "position"])
    for row in sweep.itertuples():
        for position, step in enumerate(row.reveal_step):
            found = known.loc[(row.checkpoint, row.problem_id, row.sample, row.decoding, position)]
            assert found["reveal_step"] == step
            assert len(found["alternatives"]) == params.trace
            if found["probability"] > 0.5:
                assert found["alternatives"][0] == row.pieces[position]
    decodings = sweep[["decoding", "temperature", "steps"]].drop_duplicates()
    assert decodings.to_numpy().tolist() == [
        ["T = 0.2", 0.2, steps],
        ["T = 1.2", 1.2, steps],
        ["half", 0.2, steps // 2],
    ]
    assert set(sweep["checkpoint"]) == {"instruct", "grpo"}
    full = sweep[sweep["decoding"] != "half"]
    assert all(len(set(order)) == len(order) for order in full["reveal_step"])
    half = sweep[
        (sweep["decoding"] == "half") & (sweep["length"] == params.decoding.max_new_tokens)
    ]
    assert all(
        list(pd.Series(order).value_counts()) == [2] * (steps // 2) for order in half["reveal_step"]
    )

    pass_at_k, order = nodes.measure_temperature_sweep(sweep, params, 0)
    PassAtK.validate(pass_at_k)
    Autoregressiveness.validate(order)
    assert set(order["temperature"]) == {0.2, 1.2}

    # The same rows under the names that evaluation gives.
    names = {"T = 0.2": "greedy", "T = 1.2": "sampled"}
    measured = full[full["sample"] == 0].assign(decoding=full["decoding"].map(names))
    headline, _ = nodes.measure_temperature_sweep(measured, params, 0)
    drawn = nodes.plot_figures(
        headline, pass_at_k, order, **dict.fromkeys(pipeline.TRAINED, metrics)
    )
    notes = {"sandbox_tier": "landlock", "skipped": [], "excluded": []}
    page = nodes.write_report(
        settings,
        {},
        completions=measured,
        pass_at_k=headline,
        evaluation_notes=notes,
        temperature_completions=sweep,
        temperature_reveals=reveals,
        temperature_pass_at_k=pass_at_k,
        data_report=DATA_REPORT,
        **{FIGURES[name]: figure for name, figure in drawn.items()},
    )
    assert page.startswith("<!doctype html>")
    assert "analysis.half_step_temperature" in page
    assert page.count("data-viewer ") == 4  # two problems, two checkpoints

    summary = nodes.write_summary(headline, notes, 0)
    assert json.loads(json.dumps(summary)) == summary
    assert set(summary) == {"pass_at_1", "greedy", "seed", "sandbox_tier"}
    assert set(summary["pass_at_1"]) == {"instruct", "grpo"}
    assert set(summary["pass_at_1"]["grpo"]) == {"mean", "low", "high", "n"}
