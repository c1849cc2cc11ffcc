"""The lab with a real worker process and a tiny model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from helpers import changed, rank_context
from pydantic import ValidationError
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from diffucoder.config.lab import LabParams
from diffucoder.data.tokenizer import special_ids
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.errors import BadData, MissingInput
from diffucoder.model import set_bidirectional
from diffucoder.rl import estimators
from diffucoder.studies import lab_measurements
from diffucoder.studies.lab import EstimatorCost, EstimatorNoise, figure
from diffucoder.studies.lab_run import measure_estimators, reported_names
from diffucoder.studies.lab_worker import sample, work

Parameters = Callable[..., dict[str, Any]]


def small(parameters: Parameters, work: Path, **changes: Any) -> LabParams:
    read = parameters("test", "lab", work=str(work)) | changes
    return LabParams(**changed(read, {"decoding.max_new_tokens": 12, "decoding.steps": 4}))


@pytest.fixture
def problems() -> pd.DataFrame:
    names = [f"p{n}" for n in range(6)]
    return pd.DataFrame(
        {
            "problem_id": names,
            "prompt": [f"add {n}" for n in range(6)],
            "split": ["rl"] + ["validation"] * 5,
        }
    )


def context(work: Path, rank: int = 0, world_size: int = 1) -> Context:
    job = Job(stage="lab", parameters={}, inputs={}, work=work, output=work, seed=0)
    return rank_context(job, rank, world_size)


@pytest.mark.parametrize("env", ["base", "test", "h200", "paper"])
def test_every_environment_has_valid_parameters(parameters: Parameters, env: str) -> None:
    lab = LabParams(**parameters(env, "lab"))
    named = {options.name for options in lab.estimators.values()}
    assert named == set(estimators.NAMES), "every estimator is measured"
    lab_measurements.make_estimators(lab, mask_token_id=0)


@pytest.mark.slow
def test_measure(
    parameters: Parameters, problems: pd.DataFrame, checkpoint: Path, tmp_path: Path
) -> None:
    lab = small(parameters, tmp_path / "work", checkpoint=str(checkpoint))
    noise, cost = measure_estimators(lab, 0, problems)
    EstimatorNoise.validate(noise)
    EstimatorCost.validate(cost)
    assert (
        list(dict.fromkeys(noise["estimator"]))
        == cost["estimator"].tolist()
        == [label.replace("_", " ") for label in lab.estimators]
    )
    assert (noise["low"] <= noise["mean"] + 1e-12).all()
    assert (noise["mean"] <= noise["high"] + 1e-12).all()

    def means(level: str, measure: str) -> pd.Series:
        rows = noise[(noise["level"] == level) & (noise["measure"] == measure)]
        return rows.set_index("estimator")["mean"]

    assert (means("token", "variance")[["full mask", "trace"]] == 0).all(), "nothing is drawn"
    assert means("token", "variance").drop(["full mask", "trace"]).gt(0).all()
    assert means("sequence", "variance_share")["decoupled"] == pytest.approx(1)
    assert means("token", "variance_share")["coupled"] < 1
    assert means("gradient", "cosine").between(-1, 1).all()
    costs = cost.set_index("estimator")
    assert costs["forwards"]["coupled"] == 3 and costs["forwards"]["full mask"] == 1
    assert costs["activations_mb"]["coupled"] > 2 * costs["activations_mb"]["full mask"]
    drawn = figure(noise, reported_names(lab))
    assert len(drawn.data) == 3 * len(lab.estimators)


def test_ranks_share_the_estimators_and_agree_on_the_completions(
    parameters: Parameters,
    problems: pd.DataFrame,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = small(parameters, tmp_path, checkpoint=str(checkpoint))
    problems.to_parquet(tmp_path / "problems.parquet")
    job = Job(
        stage="lab",
        parameters=lab.model_dump(mode="json"),
        inputs={"checkpoint": checkpoint, "problems": tmp_path / "problems.parquet"},
        work=tmp_path,
        output=tmp_path,
        seed=0,
    )
    found = {}
    for ranks in (1, 2):
        for rank in range(ranks):
            work(job, rank_context(job, rank, ranks))
        tables = [pd.read_parquet(path) for path in sorted(tmp_path.glob("noise-*.parquet"))]
        keys = ["estimator", "forwards", "level", "measure", "unit"]
        found[ranks] = pd.concat(tables).sort_values(keys).reset_index(drop=True)
    pd.testing.assert_frame_equal(found[1], found[2])


def test_completions_carry_their_trace(
    parameters: Parameters,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    set_bidirectional(model)
    lab = small(parameters, tmp_path, max_prompt_tokens=40)
    prompts = ["add 1", "add 22", "a prompt with many more words than the others have " * 3]
    batch = sample(context(tmp_path), model.eval(), tokenizer, prompts, lab)
    assert len(batch.completion_ids) == 2, "too long a prompt is left out"
    assert sorted(batch.reveal_step.unique().tolist()) == [0, 1, 2, 3]
    assert not (batch.completion_ids == special_ids(tokenizer).mask).any()
    with pytest.raises(BadData, match="0 of 3 prompts have at most 1 tokens"):
        few = lab.model_copy(update={"max_prompt_tokens": 1})
        sample(context(tmp_path), model, tokenizer, prompts, few)


def test_the_policy_gradient_is_that_of_its_loss(
    parameters: Parameters,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    set_bidirectional(model)
    lab = small(parameters, tmp_path)
    batch = sample(context(tmp_path), model.eval(), tokenizer, ["add 1", "add 22"], lab)
    estimator = estimators.make("full_mask", mask_token_id=special_ids(tokenizer).mask)
    gradient_N = lab_measurements.policy_gradient(estimator, model, batch, torch.Generator())
    direction = gradient_N / gradient_N.norm()
    step, at = 1e-2, 0

    def loss() -> float:
        with torch.no_grad():
            scores_B = estimator.log_likelihood(model, batch, torch.Generator()).sum(1)
        return (-(scores_B[0] - scores_B[1]) / batch.completion_mask.sum()).item()

    before = loss()
    with torch.no_grad():
        for weight in model.parameters():
            part = direction[at : at + weight.numel()].view_as(weight)
            weight += step * part
            at += weight.numel()
    assert at == len(gradient_N)
    assert loss() - before == pytest.approx(step * gradient_N.norm().item(), rel=0.1)


def test_mistakes_are_named_before_anything_is_sampled(
    parameters: Parameters, problems: pd.DataFrame, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(MissingInput, match=r"no checkpoint at .*nowhere"):
        measure_estimators(
            small(parameters, tmp_path, checkpoint=str(tmp_path / "nowhere")), 0, problems
        )
    lab = small(parameters, tmp_path, checkpoint=str(checkpoint))
    with pytest.raises(BadData, match="none is of split `validation`"):
        measure_estimators(lab, 0, problems[problems["split"] == "rl"])
    wrong = {"decoupled": {"name": "decoupled", "lambda": 2}}
    with pytest.raises(ValidationError, match=r"decoupled.lambda\n  Extra inputs are not"):
        small(parameters, tmp_path, checkpoint=str(checkpoint), estimators=wrong)
    with pytest.raises(ValidationError, match="baseline 'none' is not one of estimators"):
        small(parameters, tmp_path, baseline="none")
    # MLflow would refuse it, after everything is measured.
    commas = {"a, b": {"name": "decoupled"}}
    with pytest.raises(ValidationError, match="should match pattern"):
        small(parameters, tmp_path, estimators=commas, baseline="a, b")
