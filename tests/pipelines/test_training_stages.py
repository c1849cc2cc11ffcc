"""Adaptation and instruction tuning through their nodes, with real worker processes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from helpers import changed
from transformers import PreTrainedTokenizerFast

from diffucoder.config.adaptation import AdaptationParams
from diffucoder.config.backbone import BackboneParams
from diffucoder.config.instruction import InstructionParams
from diffucoder.data.instructions import tokenize_pairs
from diffucoder.data.shards import Shards
from diffucoder.engine.training_metrics import TrainingMetrics
from diffucoder.model import load
from diffucoder.pipelines.adaptation.nodes import adapt_to_diffusion
from diffucoder.pipelines.instruction.nodes import finetune_instruct

Parameters = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("env", ["base", "test", "h200", "paper"])
def test_every_environment_has_valid_parameters(parameters: Parameters, env: str) -> None:
    BackboneParams(**parameters(env, "backbone"))
    AdaptationParams(**parameters(env, "adaptation"))
    InstructionParams(**parameters(env, "instruction"))


def curve(metrics: pd.DataFrame, name: str) -> pd.Series:
    TrainingMetrics.validate(metrics)
    return metrics[metrics["name"] == name].set_index("step")["value"]


@pytest.mark.slow
def test_adapt_then_tune(
    tmp_path: Path,
    parameters: Parameters,
    checkpoint: Path,
    tokenizer: PreTrainedTokenizerFast,
    shards: Shards,
) -> None:
    changes = {"work": str(tmp_path / "adapting"), "mid_training": None}
    params = AdaptationParams(**parameters("test", "adaptation", **changes))
    inputs = (params, 0, checkpoint, shards, shards)
    adapted, metrics = adapt_to_diffusion(*inputs)

    losses = curve(metrics, "loss")
    assert losses.index.tolist() == list(range(1, params.pretraining.steps + 1))
    assert losses.iloc[-4:].mean() < losses.iloc[:4].mean()
    model, its_tokenizer = load(adapted)
    assert its_tokenizer.get_vocab() == tokenizer.get_vocab()
    first = torch.tensor([[10, 11, 12, 13], [10, 11, 12, 99]])
    with torch.no_grad():
        logits = model(first).logits[:, 0]
    assert not torch.allclose(logits[0], logits[1]), "position 0 sees the last token"

    # As after a full disk when the result was to be moved: nothing is trained again.
    log = tmp_path / "adapting" / "pretraining" / "worker.log"
    log.unlink()
    assert adapt_to_diffusion(*inputs)[1].equals(metrics)
    assert not log.exists()

    pairs = [
        {"pair_id": str(n), "prompt": f"add {n}", "response": f"return x + {n}"} for n in range(8)
    ]
    rows = pd.DataFrame(tokenize_pairs(pairs, tokenizer, 128)).drop(columns="reason")
    changes = {"work": str(tmp_path / "tuning"), "row_length": 64}
    tuning = InstructionParams(**parameters("test", "instruction", **changes))
    tuned, metrics = finetune_instruct(tuning, 0, adapted, rows)
    losses = curve(metrics, "loss")
    assert losses.index.tolist() == list(range(1, tuning.training.steps + 1))
    assert losses.iloc[-4:].mean() < losses.iloc[:4].mean()
    assert load(tuned)[0].config.is_causal is False


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, found none")
def test_bf16_on_a_gpu_learns_as_fp32_on_the_processor(
    tmp_path: Path,
    parameters: Parameters,
    checkpoint: Path,
    shards: Shards,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def losses(device: str, precision: str) -> pd.Series:
        # Read by the ranks, which are processes of their own.
        monkeypatch.setenv("DS_ACCELERATOR", device)
        changes = {"work": str(tmp_path / device), "mid_training": None}
        read = changed(
            parameters("test", "adaptation", **changes), {"pretraining.engine.precision": precision}
        )
        adapted, metrics = adapt_to_diffusion(
            AdaptationParams(**read), 0, checkpoint, shards, shards
        )
        assert all(weight.isfinite().all() for weight in load(adapted)[0].parameters())
        return curve(metrics, "loss")

    on_gpu = losses("cuda", "bf16")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    on_processor = losses("cpu", "fp32")
    assert on_gpu.index.equals(on_processor.index)
    # Same rows and masks at each step; bf16 keeps 8 bits of a number.
    assert on_gpu.tolist() == pytest.approx(on_processor.tolist(), rel=0.03)
    assert on_gpu.iloc[-4:].mean() < on_gpu.iloc[:4].mean()
