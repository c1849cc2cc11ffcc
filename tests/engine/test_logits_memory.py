"""Logits in chunks, under DeepSpeed: the head's weight is used outside of its module there."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from large_head import train

from diffucoder.config.training import TrainingParams
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job

# Memory for all logits of the tiny model, and for those of five positions.
AT_ONCE, IN_CHUNKS = 1.0, 0.002


def assert_close(
    got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float
) -> None:
    assert got.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(got[name].float(), weight, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("engine", "tolerance"),
    [
        ({}, 1e-5),
        ({"zero_stage": 3, "gradient_checkpointing": True}, 1e-5),
        ({"precision": "bf16"}, 0.05),
        ({"precision": "bf16", "zero_stage": 3}, 0.05),
    ],
    ids=str,
)
def test_chunks_train_like_all_logits_at_once(
    engine: dict[str, Any],
    tolerance: float,
    tied: bool,
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    context_of: Callable[[Job], Context],
) -> None:
    plain = training(steps=3)
    expected = train(plain, context_of(job(plain, "plain")), AT_ONCE, tied)
    params = training(steps=3, engine=engine)
    got = train(params, context_of(job(params, "chunked")), IN_CHUNKS, tied)
    assert_close(got, expected, tolerance)


@pytest.mark.slow
def test_two_ranks_that_split_the_head_train_like_one(
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    context_of: Callable[[Job], Context],
    run_job: Callable[..., None],
) -> None:
    params = training(steps=3, engine={"nproc_per_node": 2, "zero_stage": 3})
    shared = job(params, logits_mib=IN_CHUNKS)
    run_job(shared, "large_head")
    alone = training(steps=3)
    expected = train(alone, context_of(job(alone, "alone")), AT_ONCE)
    assert_close(torch.load(shared.output, weights_only=True), expected, 1e-5)
