"""Estimates against what really is kept, and against DeepSpeed's own."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs
from tiny_stage import tiny_model
from transformers import Qwen2Config, Qwen2ForCausalLM

from diffucoder.config.training import TrainingParams
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.plan import PLAN_FILE, Shape, announce, check, estimate, shape_of
from diffucoder.errors import BadParameters

# Qwen2.5-Coder-7B.
LARGE = Shape(
    weights=7_615_616_512,
    trained=7_615_616_512,
    largest=152_064 * 3_584,
    layers=28,
    hidden=3_584,
    heads_width=3_584,
    intermediate=18_944,
    vocabulary=152_064,
    length=4_096,
    forward_passes=1,
    frozen_params=0,
)


def kept_bytes(model: Qwen2ForCausalLM, rows: int, length: int) -> int:
    """What autograd keeps of a pass through the body, weights left out."""
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}
    alive = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            alive.append(tensor)
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.model(torch.zeros(rows, length, dtype=torch.long))
    return sum(kept.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("intermediate", [64, 512])
def test_activations_are_what_autograd_keeps(
    precision: str, intermediate: int, training: Callable[..., TrainingParams]
) -> None:
    config = Qwen2Config(
        vocab_size=64,
        hidden_size=96,
        intermediate_size=intermediate,
        num_hidden_layers=6,
        num_attention_heads=3,
        num_key_value_heads=1,
        attn_implementation="sdpa",
    )
    model = Qwen2ForCausalLM(config)
    settings = {"precision": precision, "zero_stage": 1, "micro_batch": 4}
    plan = estimate(shape_of(model, 64), training(engine=settings).engine, 1)
    if precision == "bf16":
        model = model.bfloat16()
    assert plan.activations == pytest.approx(kept_bytes(model, 4, 64), rel=0.2)


@pytest.mark.parametrize("ranks", [1, 8])
@pytest.mark.parametrize("offload", ["none", "optimizer"])
def test_states_are_what_deepspeed_estimates(
    ranks: int, offload: str, training: Callable[..., TrainingParams]
) -> None:
    numbers = {"num_gpus_per_node": ranks, "cpu_offload": offload != "none"}
    for stage in (2, 3):
        if stage == 2:
            _, theirs = estimate_zero2_model_states_mem_needs(LARGE.weights, **numbers)
        else:
            _, theirs, _ = estimate_zero3_model_states_mem_needs(
                LARGE.weights, LARGE.largest, cpu_offload_params=False, **numbers
            )
        engine = {
            "precision": "bf16",
            "zero_stage": stage,
            "offload": offload,
            "nproc_per_node": ranks,
        }
        plan = estimate(LARGE, training(engine=engine).engine, ranks)
        assert plan.states == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize(
    ("engine", "ranks", "gigabytes", "remedy"),
    [
        ({"micro_batch": 8, "gradient_checkpointing": True}, 1, 165, "engine.micro_batch: 4"),
        ({"micro_batch": 1}, 1, 170, "engine.gradient_checkpointing: True"),
        ({"micro_batch": 1, "gradient_checkpointing": True}, 8, 45, "engine.zero_stage: 2"),
        (
            {"micro_batch": 1, "gradient_checkpointing": True},
            1,
            75,
            "engine.offload: optimizer, engine.zero_stage: 1",
        ),
        (
            {"micro_batch": 2},
            1,
            20,
            "engine.micro_batch: 1, engine.gradient_checkpointing: True, "
            "engine.offload: optimizer+weights, engine.zero_stage: 3",
        ),
        ({"micro_batch": 1}, 1, 5, "no setting of the engine makes it fit: use more ranks"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_setting_that_would(
    engine: dict[str, Any],
    ranks: int,
    gigabytes: float,
    remedy: str,
    training: Callable[..., TrainingParams],
) -> None:
    given = training(
        engine={"precision": "bf16", "zero_stage": 1, "nproc_per_node": ranks, **engine}
    ).engine
    with pytest.raises(BadParameters, match="a rank needs about") as caught:
        check("adaptation", LARGE, given, ranks, gigabytes * 1e9)
    assert remedy in str(caught.value)


def test_a_plan_is_printed_and_written(
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    context_of: Callable[[Job], Context],
    capfd: pytest.CaptureFixture[str],
) -> None:
    context = context_of(job(training()))
    announce(context, tiny_model(0), training(), length=12)
    said = capfd.readouterr().out
    assert "tiny: 0.0 M weights, 0.0 M of them trained" in said
    assert "tiny: 6 steps of 8 rows of 12 tokens: 0.0 M tokens" in said
    assert "1 rank, ZeRO stage 0, fp32: 8 rows of a step each, 8 at a time" in said
    assert "2 kept" in said
    plan = json.loads((context.job.work / PLAN_FILE).read_text())
    weights = sum(weight.numel() for weight in tiny_model(0).parameters())
    assert plan["shape"]["weights"] == weights
    assert plan["bytes"]["states"] == 16 * weights


def test_logits_are_held_together_only_where_they_fit(
    training: Callable[..., TrainingParams],
) -> None:
    short = replace(LARGE, length=8)
    engine = training(engine={"logits_mib": 256, "micro_batch": 1}).engine
    assert estimate(short, engine, 1).logits == 12 * 8 * 152_064
    # A chunk, and the sum of the head's gradients.
    assert estimate(LARGE, engine, 1).logits == 256 * 2**20 + 4 * 152_064 * 3_584
