"""Coupled-GRPO through its node, with real worker processes, DeepSpeed and the sandbox."""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import custom_reward
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from diffucoder.config.grpo import GrpoParams
from diffucoder.config.problems import ProblemsParams
from diffucoder.data.families import generate
from diffucoder.engine import resume, zero
from diffucoder.engine.context import Context, Interrupted
from diffucoder.engine.reporter import Reporter
from diffucoder.engine.stage import new_job
from diffucoder.engine.training_metrics import TrainingMetrics
from diffucoder.errors import BadData, TrainingFailed
from diffucoder.model import load
from diffucoder.pipelines.grpo.nodes import train_grpo
from diffucoder.rl.tables import Rollouts, read_rollouts
from diffucoder.training.grpo import GrpoState, keep_best
from diffucoder.training.grpo import work as train

Parameters = Callable[..., dict[str, Any]]


@pytest.fixture
def problems(parameters: Parameters) -> pd.DataFrame:
    drawn = generate(ProblemsParams(**parameters("test", "problems")), seed=0)
    return pd.DataFrame([problem.record() for problem in drawn])


@pytest.mark.parametrize("env", ["base", "test", "h200", "paper"])
def test_every_environment_has_valid_parameters(parameters: Parameters, env: str) -> None:
    GrpoParams(**parameters(env, "grpo"))
    ProblemsParams(**parameters(env, "problems"))


def test_ranks_must_share_whole_groups(parameters: Parameters) -> None:
    read = parameters("test", "grpo")
    read["training"]["engine"]["nproc_per_node"] = 4
    with pytest.raises(ValidationError, match="2 prompts per step"):
        GrpoParams(**read)


def test_a_split_without_problems_is_refused(
    parameters: Parameters, problems: pd.DataFrame, checkpoint: Path, tmp_path: Path
) -> None:
    params = GrpoParams(**parameters("test", "grpo", work=str(tmp_path / "work")))
    with pytest.raises(BadData, match="split 'validation'"):
        train_grpo(params, 0, checkpoint, problems[problems["split"] != "validation"])
    assert not (tmp_path / "work").exists()


def small(parameters: Parameters, work: Path, ranks: int) -> GrpoParams:
    read = parameters("test", "grpo", work=str(work))
    read["decoding"] |= {"max_new_tokens": 12, "steps": 4}
    read["validation"]["decoding"] |= {"max_new_tokens": 12, "steps": 4}
    read["training"]["engine"]["nproc_per_node"] = ranks
    # The tiny model writes no program that tests could tell apart.
    own = {"function": "custom_reward.longer_is_better", "weight": 1.0}
    read["rewards"]["terms"]["length"] = own
    return GrpoParams(**read)


def inputs_of(problems: pd.DataFrame, checkpoint: Path, folder: Path) -> dict[str, Path]:
    """What a job trains on."""
    table = folder / "problems.parquet"
    kept = problems[problems["split"].isin(["rl", "validation"])]
    # Words of the tiny tokenizer are letters, and its model has a short context.
    kept.assign(prompt="add 1").to_parquet(table)
    return {"instruct": checkpoint, "problems": table}


@pytest.fixture
def inputs(problems: pd.DataFrame, checkpoint: Path, tmp_path: Path) -> dict[str, Path]:
    return inputs_of(problems, checkpoint, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_train_grpo(
    parameters: Parameters,
    problems: pd.DataFrame,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ranks: int,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(custom_reward.__file__).parent), prepend=os.pathsep)
    params = small(parameters, tmp_path / "work", ranks)
    # Words of the tiny tokenizer are letters, and its model has a short context.
    path, metrics, rollouts = train_grpo(params, 0, checkpoint, problems.assign(prompt="add 1"))
    TrainingMetrics.validate(metrics)
    Rollouts.validate(rollouts)
    assert len(rollouts) == params.training.steps * params.training.batch_size
    names = set(metrics["name"])
    assert {"reward/total", "reward/tests", "reward/format", "reward/length"} <= names
    assert {"loss", "kl", "clip_ratio", "grad_norm", "lr", "tokens_per_s"} <= names
    assert {"pass_rate", "completion_length", "frac_reward_zero_std"} <= names
    assert metrics[metrics["name"] == "validation/pass_rate"]["step"].tolist() == [0, 2]
    loaded, _ = load(path)
    assert loaded.config.is_causal is False
    before = load(checkpoint)[0].state_dict()
    moved = [not torch.equal(before[name], w) for name, w in loaded.state_dict().items()]
    assert any(moved), "equal validation scores keep the later checkpoint, which was updated"


def test_a_stopped_run_ends_as_an_uninterrupted_one(
    parameters: Parameters,
    inputs: dict[str, Path],
    tmp_path: Path,
    train_here: Callable[..., list[dict[str, Any]]],
) -> None:
    def run(name: str, *stop_signals: int) -> tuple[dict, pd.DataFrame, list[dict]]:
        params = small(parameters, tmp_path / name, ranks=1)
        # The reference moves, and pulls enough to be missed if it were not restored.
        objective = params.objective.model_copy(update={"beta": 1.0})
        params = params.model_copy(update={"ref_model_sync_steps": 1, "objective": objective})
        job = new_job("grpo", params, inputs, tmp_path / name, seed=0)
        records = train_here(job, *stop_signals)
        return load(job.output)[0].state_dict(), read_rollouts(job.work), records

    weights, rollouts, records = run("whole")
    with pytest.raises(Interrupted, match="stopped and saved after step 1"):
        run("cut", 15)
    resumed, its_rollouts, its_records = run("cut")
    assert all(torch.equal(weights[name], weight) for name, weight in resumed.items())
    pd.testing.assert_frame_equal(its_rollouts, rollouts)
    assert [r["step"] for r in its_records] == [r["step"] for r in records] == [0, 1, 2, 2]


@pytest.mark.parametrize("every", [1, 64])
def test_reference_is_synced_as_often_as_said(
    parameters: Parameters,
    inputs: dict[str, Path],
    checkpoint: Path,
    tmp_path: Path,
    process_group: None,
    every: int,
) -> None:
    params = small(parameters, tmp_path / "work", ranks=1)
    params = params.model_copy(update={"ref_model_sync_steps": every})
    job = new_job("grpo", params, inputs, tmp_path / "work", seed=0)
    job.work.mkdir()
    reporter = Reporter(job.work, 1)
    here = Context(job, job.identity(), 0, 1, torch.device("cpu"), reporter, [15])
    with pytest.raises(Interrupted):
        train(job, here)
    model, _ = load(checkpoint)
    start = copy.deepcopy(model.state_dict())
    engine = zero.initialize(model, params.training)
    step, extra = resume.resume(here, engine)
    assert step == 1
    policy = model.state_dict()
    assert any(not torch.equal(start[name], weight) for name, weight in policy.items())
    expected = policy if every == 1 else start
    assert extra["reference"].keys() == dict(model.named_parameters()).keys()
    assert all(torch.equal(expected[name], w) for name, w in extra["reference"].items())


def test_a_reward_that_is_not_there_is_told_before_anything_is_loaded(
    parameters: Parameters, problems: pd.DataFrame, tmp_path: Path
) -> None:
    read = parameters("test", "grpo", work=str(tmp_path / "work"))
    read["rewards"]["terms"]["tests"]["function"] = "diffucoder.rewards.functions.no_such"
    empty = tmp_path / "checkpoint"
    empty.mkdir()
    with pytest.raises(TrainingFailed, match=r"no_such.*write package\.module\.name"):
        train_grpo(GrpoParams(**read), 0, empty, problems)


def test_the_curriculum_begins_with_the_end_of_the_reference(
    parameters: Parameters,
    problems: pd.DataFrame,
    checkpoint: Path,
    tmp_path: Path,
    train_here: Callable[..., list[dict[str, Any]]],
) -> None:
    short = problems.assign(reference="def f(x):\n    return 1\n")
    inputs = inputs_of(short, checkpoint, tmp_path)
    params = small(parameters, tmp_path / "work", ranks=1)
    curriculum = params.curriculum.model_copy(update={"stages": 2})
    params = params.model_copy(update={"curriculum": curriculum})
    job = new_job("grpo", params, inputs, tmp_path / "work", 0)
    records = train_here(job)
    rollouts = read_rollouts(job.work)
    # A model that was never trained passes nothing, so it stays at the first stage.
    assert rollouts["completion"].str.startswith("```python\ndef f(x):\n").all()
    stages = [line["curriculum_stage"] for line in records if "reward/total" in line]
    assert stages and set(stages) == {1.0}


def test_rollouts_keep_their_cache_where_training_recomputes_layers(
    parameters: Parameters,
    inputs: dict[str, Path],
    tmp_path: Path,
    train_here: Callable[..., list[dict[str, Any]]],
) -> None:
    def rollouts(recompute: bool) -> pd.DataFrame:
        work = tmp_path / f"recompute-{recompute}"
        params = small(parameters, work, ranks=1).model_dump()
        params["training"]["engine"]["gradient_checkpointing"] = recompute
        params["decoding"] |= {"block_length": 6, "cache": "dual"}
        job = new_job("grpo", GrpoParams(**params), inputs, work, 0)
        train_here(job)
        return read_rollouts(job.work)

    pd.testing.assert_frame_equal(rollouts(True), rollouts(False))


def test_a_loaded_state_is_the_saved_one(model: PreTrainedModel) -> None:
    saved = GrpoState(copy.deepcopy(model), best_score=0.5, score=0.25, curriculum_stage=2)
    with torch.no_grad():
        saved.reference.get_input_embeddings().weight.fill_(1.0)
    loaded = GrpoState(model)
    assert loaded.newest_score() is None
    loaded.load_state_dict(saved.state_dict())
    assert (loaded.best_score, loaded.newest_score(), loaded.curriculum_stage) == (0.5, 0.25, 2)
    assert bool((model.get_input_embeddings().weight == 1).all())


def test_best_checkpoint_is_the_latest_of_the_highest_scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    parameters: Parameters,
    tmp_path: Path,
    process_group: None,
) -> None:
    params = GrpoParams(**parameters("test", "grpo", work="unused"))
    engine = zero.initialize(model, params.training)
    output = tmp_path / "model"
    best, exported = -1.0, []
    for step, score in enumerate([0.5, 0.2, 0.5, 0.4]):
        with torch.no_grad():
            model.model.norm.weight.fill_(float(step))
        best = keep_best(engine, tokenizer, output, score, best)
        exported.append(load(output)[0].model.norm.weight[0].item())
    assert exported == [0.0, 0.0, 2.0, 2.0]
    assert best == 0.5
