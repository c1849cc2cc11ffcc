"""The environments for GPUs are complete: every stage is valid, and fits by the engine's plan."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import Qwen2Config, Qwen2ForCausalLM

from diffucoder.config.adaptation import AdaptationParams
from diffucoder.config.backbone import BackboneParams
from diffucoder.config.grpo import GrpoParams
from diffucoder.config.instruction import InstructionParams
from diffucoder.config.training import TrainingParams
from diffucoder.engine.plan import USABLE, check, estimate, shape_of

ROOT = Path(__file__).parents[2]
# Of the model cards.
SIZES = {
    "Qwen/Qwen2.5-Coder-0.5B": {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen2.5-Coder-7B": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
    },
}


@pytest.mark.parametrize(
    ("env", "config", "ranks", "device_gb", "host_gb"),
    [
        ("h200", None, 1, 141, 0),
        ("h200", "conf/h200/7b.yml", 1, 141, 200),
        ("paper", None, 8, 80, 0),
    ],
)
def test_every_stage_fits_its_machine(
    env: str,
    config: str | None,
    ranks: int,
    device_gb: float,
    host_gb: float,
    parameters: Callable[..., dict[str, Any]],
) -> None:
    given = yaml.safe_load((ROOT / config).read_text())["run"]["params"] if config else None

    def read(stage: str) -> dict[str, Any]:
        return parameters(env, stage, given)

    source = BackboneParams(**read("backbone")).source
    assert read("ingestion")["tokenizer"]["load"] == source
    with torch.device("meta"):
        model = Qwen2ForCausalLM(Qwen2Config(**SIZES[source]))
    weights = sum(weight.numel() for weight in model.parameters())
    length = read("ingestion")["packing"]["length"]
    adaptation = AdaptationParams(**read("adaptation"))
    instruction = InstructionParams(**read("instruction"))
    grpo = GrpoParams(**read("grpo"))
    canvas = grpo.max_prompt_tokens + grpo.decoding.max_new_tokens
    stages: list[tuple[TrainingParams, int, int, int]] = [
        (adaptation.pretraining, length, 1, 0),
        (adaptation.mid_training, length, 1, 0),
        (instruction.training, instruction.row_length, 1, 0),
        (grpo.training, canvas, 2 * grpo.estimator.pairs + 1, weights),
    ]
    for training, row, forward_passes, frozen_params in stages:
        assert training.engine.nproc_per_node == ranks
        shape = shape_of(model, row, forward_passes, frozen_params)
        check(env, shape, training.engine, ranks, USABLE * device_gb * 1e9)
        assert estimate(shape, training.engine, ranks).host <= host_gb * 1e9
