"""A run that was cut short and resumed ends with the weights of one that was not."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_stage import loss, prepare, rows_between, tiny_model

from diffucoder.config.training import TrainingParams
from diffucoder.engine import checkpoints, resume
from diffucoder.engine.context import Context, Interrupted
from diffucoder.engine.job import Job
from diffucoder.engine.launch import STOP_FILE
from diffucoder.engine.loop import fit
from diffucoder.engine.reporter import read_metrics
from diffucoder.engine.zero import Engine, export, full_weights, initialize
from diffucoder.errors import BadCheckpoint, TrainingFailed
from diffucoder.io.atomic import atomic_directory

pytestmark = pytest.mark.filterwarnings("ignore:.*all_gather_into_tensor:FutureWarning")


def train(context: Context, training: TrainingParams, stop_in: int | None = None) -> Engine:
    """Train, and ask for a stop during step `stop_in`."""
    engine = initialize(tiny_model(context.job.seed), training)

    def reader(first: int, last: int) -> list[torch.Tensor]:
        if first // training.batch_size == stop_in:
            context.stop_signals.append(15)
        return rows_between(first, last)

    fit(context, engine, reader, prepare, loss)
    return engine


def weights(engine: Engine) -> list[torch.Tensor]:
    with full_weights(engine) as model:
        return [weight.detach().clone() for weight in model.parameters()]


def test_nothing_is_dropped_out_of_a_gathered_model(
    training: Callable[..., TrainingParams], context_of: Callable[[Job], Context]
) -> None:
    engine = initialize(tiny_model(0), training())
    with pytest.raises(KeyError), full_weights(engine) as model:
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert all(module.training for module in engine.model.modules())


@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_a_resumed_run_equals_an_uninterrupted_one(
    zero_stage: int,
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    context_of: Callable[[Job], Context],
) -> None:
    params = training(engine={"zero_stage": zero_stage, "micro_batch": 4})
    whole = train(context_of(job(params, "whole")), params)
    cut = job(params, "cut")
    with pytest.raises(Interrupted, match="stopped and saved after step 3"):
        train(context_of(cut), params, stop_in=2)
    resumed = train(context_of(cut), params)
    for one, other in zip(weights(whole), weights(resumed), strict=True):
        assert torch.equal(one, other)
    assert [record["step"] for record in read_metrics(cut.work / "metrics.jsonl")] == [*range(1, 7)]


def test_saves_are_made_by_the_clock_and_the_last_are_kept(
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    context_of: Callable[[Job], Context],
) -> None:
    params = training(engine={"save_every_s": 1e-9, "save_total_limit": 2})
    timed = job(params)
    train(context_of(timed), params)
    # The end is no save: what comes out of it is the checkpoint.
    assert [save.step for save in checkpoints.saves_of(timed.work)] == [4, 5]


def test_what_a_stage_adds_comes_back(
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    context_of: Callable[[Job], Context],
) -> None:
    params = training()
    context = context_of(job(params))
    engine = initialize(tiny_model(0), params)
    assert resume.resume(context, engine) == (0, {})
    extra = {"rewards": torch.arange(3), "synced": 4, "names": ["a"]}
    resume.save(context, engine, 5, extra)
    step, back = resume.resume(context, engine)
    assert step == 5
    assert torch.equal(back.pop("rewards"), torch.arange(3))
    assert back == {"synced": 4, "names": ["a"]}


def test_a_full_disk_is_one_error_and_spares_earlier_saves(
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    context_of: Callable[[Job], Context],
    full_disk: Callable[[], AbstractContextManager[None]],
) -> None:
    params = training()
    context = context_of(job(params))
    engine = initialize(tiny_model(0), params)
    resume.save(context, engine, 1, {})
    with full_disk(), pytest.raises(TrainingFailed, match=r"cannot save.* step 1 is intact"):
        resume.save(context, engine, 2, {})
    assert [path.name for path in (context.job.work / "saves").iterdir()] == ["step-00000001"]
    assert resume.resume(context, engine) == (1, {})


@pytest.mark.parametrize(
    ("world_size", "files", "message"),
    [
        (1, [], "holds no 'engine' folder"),
        (1, ["engine/mp_rank_00_model_states.pt"], "cannot be read"),
        (4, ["engine/mp_rank_00_model_states.pt"], "cannot be laid out for another number of"),
    ],
)
def test_a_save_that_cannot_be_resumed_is_refused(
    world_size: int,
    files: list[str],
    message: str,
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    context_of: Callable[[Job], Context],
) -> None:
    params = training(engine={"zero_stage": 1})
    context = context_of(job(params))
    with atomic_directory(checkpoints.folder(context.job.work, 1)) as partial:
        checkpoints.write_manifest(partial, 1, world_size, None, context.identity)
        for name in files:
            (partial / name).parent.mkdir()
            (partial / name).write_bytes(b"half of it")
    with pytest.raises(BadCheckpoint, match=message):
        resume.resume(context, initialize(tiny_model(0), params))


@pytest.mark.parametrize("zero_stage", [0, 1, 3])
def test_an_export_loads_with_stock_classes(
    zero_stage: int,
    training: Callable[..., TrainingParams],
    process_group: None,
    tokenizer_dir: Path,
    tmp_path: Path,
) -> None:
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    engine = initialize(tiny_model(3), training(engine={"zero_stage": zero_stage}))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_dir)
    export(engine, tokenizer, tmp_path / "model")
    assert (tmp_path / "model" / "COMPLETE").is_file()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    for name, weight in tiny_model(3).named_parameters():
        assert torch.equal(loaded.get_parameter(name), weight)
    assert len(PreTrainedTokenizerFast.from_pretrained(tmp_path / "model")) == 3


def test_a_full_disk_at_export_spares_the_earlier_checkpoint(
    training: Callable[..., TrainingParams],
    process_group: None,
    tokenizer_dir: Path,
    tmp_path: Path,
    full_disk: Callable[[], AbstractContextManager[None]],
) -> None:
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_dir)
    engine = initialize(tiny_model(3), training())
    path = tmp_path / "model"
    export(engine, tokenizer, path)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with full_disk(), pytest.raises(TrainingFailed, match="cannot write the checkpoint"):
        export(engine, tokenizer, path)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("zero_stage", "before", "after"), [(0, 2, 1), (1, 1, 2), (1, 2, 1), (2, 1, 2), (3, 2, 1)]
)
def test_another_number_of_ranks_goes_on(
    zero_stage: int,
    before: int,
    after: int,
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    context_of: Callable[[Job], Context],
    ranks: Any,
) -> None:
    params = training(engine={"nproc_per_node": 2, "zero_stage": zero_stage, "micro_batch": 2})
    cut = job(params, fault={"kind": "stop", "step": 2})
    assert ranks.wait(*ranks.start(cut, "tiny_stage", before)) == [0 if before > 1 else 75] * before
    assert checkpoints.latest(cut.work).step == 3
    (cut.work / STOP_FILE).unlink()
    assert ranks.wait(*ranks.start(cut, "tiny_stage", after)) == [0] * after
    said = (cut.work / "rank-0.log").read_text()
    assert (f"written by {before} ranks; laying it out for {after}" in said) == (zero_stage > 0)
    assert not (cut.work / resume.RESHARDED).exists()
    records = read_metrics(cut.work / "metrics.jsonl")
    assert [record["step"] for record in records] == [*range(1, 7)]

    whole = train(context_of(job(training(), "whole")), training())
    found = load_file(cut.output / "model.safetensors")
    for name, weight in whole.model.state_dict().items():
        if name in found:
            # AdamW makes whole steps of the rounding in a gradient of 0, as keys' biases have.
            torch.testing.assert_close(found[name], weight, rtol=1e-5, atol=1e-5)
    assert len(found) >= len(list(whole.model.parameters()))
