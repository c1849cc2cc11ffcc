"""One step is one step, however its rows are spread over ranks and micro-batches."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_stage import Rows, loss, prepare, rows_between, tiny_model
from torch import nn
from zero_stages import train

from diffucoder.config.training import TrainingParams
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.loop import MicroBatch, fit, learning_rate, optimizer_step
from diffucoder.engine.zero import full_weights, initialize
from diffucoder.errors import BadData, TrainingFailed
from diffucoder.loss import LossOutput

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*all_gather_into_tensor:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning"),
]

Trained = tuple[dict[str, torch.Tensor], list[dict[str, float]]]
ZERO = torch.zeros(())
# What differs from one run to the next.
TIMED = {"tokens_per_s", "peak_memory_mib"} | {
    f"seconds/{part}" for part in ("forward", "backward", "step")
}


def assert_equal(one: Trained, other: Trained, tolerance: float) -> None:
    for name, weight in one[0].items():
        torch.testing.assert_close(
            other[0][name], weight, rtol=tolerance, atol=tolerance, check_dtype=False
        )
    for mine, theirs in zip(one[1], other[1], strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine.keys() - TIMED:
            assert theirs[name] == pytest.approx(mine[name], rel=tolerance, abs=tolerance), name


def plain_training(training: TrainingParams, context: Context) -> Trained:
    """The same training written out without the engine."""
    model = tiny_model(context.job.seed).train()
    decayed = [w for w in model.parameters() if w.dim() >= 2]
    others = [w for w in model.parameters() if w.dim() < 2]
    numbers = training.optimizer
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(
        groups, betas=numbers.betas, eps=numbers.epsilon, weight_decay=numbers.weight_decay
    )
    records = []
    for step in range(training.steps):
        rows = range(step * training.batch_size, (step + 1) * training.batch_size)
        generators = [context.generator(step, row) for row in rows]
        batch = prepare(rows_between(rows.start, rows.stop), step, generators)
        value, metrics = loss(model, batch.batch, batch.denominator)
        value.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), numbers.max_grad_norm)
        rate = learning_rate(step, training)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        accuracy = float(metrics["accuracy"])
        record = {"loss": value.item(), "accuracy": accuracy, "grad_norm": norm.item(), "lr": rate}
        records.append(record | {"skipped": 0} | dict.fromkeys(TIMED, 0.0))
    return {name: weight.detach() for name, weight in model.named_parameters()}, records


@pytest.mark.parametrize(
    ("engine", "tolerance"),
    [
        ({}, 0.0),
        ({"gradient_checkpointing": True}, 1e-6),
        ({"micro_batch": 2}, 1e-5),
        ({"micro_batch": 3}, 1e-5),
        ({"zero_stage": 1, "micro_batch": 2}, 1e-5),
        ({"zero_stage": 2, "micro_batch": 2}, 1e-5),
        ({"zero_stage": 3, "micro_batch": 2}, 1e-5),
        ({"zero_stage": 1, "offload": "optimizer"}, 1e-5),
        ({"zero_stage": 3, "offload": "optimizer+weights", "micro_batch": 2}, 1e-5),
        ({"precision": "bf16"}, 0.05),
        ({"precision": "bf16", "zero_stage": 2, "micro_batch": 4}, 0.05),
    ],
    ids=str,
)
def test_every_setting_trains_like_the_plain_loop(
    engine: dict[str, Any],
    tolerance: float,
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    context_of: Callable[[Job], Context],
) -> None:
    params = training(steps=4, engine=engine)
    context = context_of(job(params))
    assert_equal(plain_training(params, context), train(params, context), tolerance)


@pytest.mark.parametrize("zero_stage", [0, 2])
def test_a_fused_update_is_the_same_update(
    zero_stage: int,
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    context_of: Callable[[Job], Context],
) -> None:
    params = training(steps=4, engine={"zero_stage": zero_stage})
    fused = params.optimizer.model_copy(update={"fused": True})
    params = params.model_copy(update={"optimizer": fused})
    context = context_of(job(params))
    assert_equal(plain_training(params, context), train(params, context), 1e-5)


@pytest.mark.slow
def test_two_ranks_train_like_one(
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    context_of: Callable[[Job], Context],
    run_job: Callable[..., None],
) -> None:
    params = training(steps=2, engine={"nproc_per_node": 2, "micro_batch": 2})
    shared = job(params, stages=[0, 1, 2, 3])
    run_job(shared, "zero_stages")
    results = torch.load(shared.output, weights_only=True)
    alone = plain_training(params, context_of(job(params, "alone")))
    for stage in (0, 1, 2, 3):
        assert_equal(alone, results[stage], 1e-5)


def test_bf16_training_keeps_rotary_frequencies_exact(
    training: Callable[..., TrainingParams], process_group: None
) -> None:
    exact = tiny_model(0).model.rotary_emb.inv_freq
    engine = initialize(tiny_model(0), training(engine={"precision": "bf16", "zero_stage": 1}))
    assert engine.model.lm_head.weight.dtype == torch.bfloat16
    assert torch.equal(engine.model.model.rotary_emb.inv_freq, exact)


@pytest.mark.parametrize("zero_stage", [0, 1, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_scores_outside_of_a_step_are_those_inside(
    zero_stage: int,
    precision: str,
    training: Callable[..., TrainingParams],
    process_group: None,
) -> None:
    params = training(engine={"zero_stage": zero_stage, "precision": precision})
    engine = initialize(tiny_model(0), params)
    batch = prepare(rows_between(0, 4), 0, [torch.Generator() for _ in range(4)])
    with torch.no_grad(), full_weights(engine) as model:
        outside, _ = loss(model, batch.batch, batch.denominator)
    assert optimizer_step(engine, [batch], loss)["loss"] == outside.item()


def test_the_schedule_warms_up_and_falls_to_its_floor(
    training: Callable[..., TrainingParams],
) -> None:
    schedule = {"kind": "cosine", "warmup_steps": 2, "floor": 0.1}
    params = training(steps=7, schedule=schedule)
    rates = [learning_rate(step, params) / 0.01 for step in range(8)]
    # (1 + cos(pi k / 4)) / 2 for k = 0 ... 4, between 1 and the floor.
    falling = [1.0, 0.8681981, 0.55, 0.2318019, 0.1]
    assert rates == pytest.approx([0.5, 1.0, *falling, 0.1], abs=1e-6)
    constant = training(steps=7, schedule={"kind": "constant", "warmup_steps": 2})
    assert [learning_rate(step, constant) for step in (0, 2, 6)] == [0.005, 0.01, 0.01]


def test_a_step_without_a_scored_position_is_an_error(
    training: Callable[..., TrainingParams], process_group: None
) -> None:
    engine = initialize(tiny_model(0), training())
    with pytest.raises(BadData, match="no position"):
        optimizer_step(engine, [MicroBatch(torch.zeros(0), 0.0, 0)], loss)


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_update_that_is_not_finite_is_skipped_and_counted(
    zero_stage: int,
    precision: str,
    training: Callable[..., TrainingParams],
    process_group: None,
) -> None:
    params = training(engine={"zero_stage": zero_stage, "precision": precision})
    engine = initialize(tiny_model(0), params)
    batch = prepare(rows_between(0, 2), 0, [torch.Generator() for _ in range(2)])

    def step(factor: float) -> dict[str, float]:
        return optimizer_step(
            engine, [batch], lambda *of: LossOutput(loss(*of).loss * factor, {"accuracy": ZERO})
        )

    def weights() -> list[torch.Tensor]:
        with full_weights(engine) as model:
            return [weight.detach().clone() for weight in model.parameters()]

    first = step(1.0)
    before = weights()
    skipped = [step(float("nan")), step(float("inf"))]
    assert all(torch.equal(*pair) for pair in zip(before, weights(), strict=True))
    assert [metrics["skipped"] for metrics in (first, *skipped)] == [0, 1, 2]
    assert not any(math.isfinite(metrics["grad_norm"]) for metrics in skipped)
    assert (engine.skipped.in_a_row, engine.optimizer_steps) == (2, 3)
    assert math.isfinite(step(1.0)["grad_norm"])
    assert (engine.skipped.in_a_row, engine.skipped.total) == (0, 2)
    assert not all(torch.equal(*pair) for pair in zip(before, weights(), strict=True))


def test_updates_in_a_row_that_are_not_finite_end_the_training(
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    context_of: Callable[[Job], Context],
) -> None:
    params = training(engine={"nonfinite_limit": 2, "save_every_s": 1e-9})
    context = context_of(job(params))
    engine = initialize(tiny_model(0), params)

    def diverging(model: nn.Module, rows: Rows, denominator: float) -> LossOutput:
        value, metrics = loss(model, rows, denominator)
        # Updates 2, 4 and 5 of the six.
        factor = float("nan") if engine.optimizer_steps in (1, 3, 4) else 1.0
        return LossOutput(value * factor, metrics)

    expected = r"tiny: step 5: loss nan.* 2 updates in a row .* 3 in all.*step-00000004; lower"
    with pytest.raises(TrainingFailed, match=expected):
        fit(context, engine, rows_between, prepare, diverging)


def test_draws_depend_on_their_names_alone(
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    context_of: Callable[[Job], Context],
) -> None:
    context = context_of(job(training()))
    draws = [torch.rand(4, generator=context.generator(*k)).tolist() for k in ((1,), (2,), (1, 2))]
    assert draws[0] == torch.rand(4, generator=context.generator(1)).tolist()
    assert len({tuple(draw) for draw in draws}) == 3
