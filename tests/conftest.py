"""Fixtures shared by all tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

ROOT = Path(__file__).parent.parent

# A busy machine is no failure, and neither is an unlucky day: examples are the same each time.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")


@pytest.fixture(scope="session")
def benchmarks_dir() -> Path:
    """The folder with HumanEval, MBPP and their relatives; skips where there is none."""
    candidates = [
        os.environ.get("DIFFUCODER_BENCHMARKS"),
        ROOT / "data" / "01_raw" / "benchmarks",
        ROOT.parent / "shared" / "data" / "benchmarks",
    ]
    for candidate in candidates:
        if candidate and (Path(candidate) / "HumanEval.jsonl.gz").exists():
            return Path(candidate)
    pytest.skip(
        "benchmark files are missing: put HumanEval.jsonl.gz and mbpp.jsonl in "
        "data/01_raw/benchmarks or set DIFFUCODER_BENCHMARKS"
    )


@pytest.fixture(scope="session")
def make_model() -> Callable[..., PreTrainedModel]:
    """Makes a bidirectional Qwen2 model small enough for tests of the mathematics."""
    return tiny_model


def tiny_model(
    vocabulary: int, seed: int = 0, dtype: torch.dtype = torch.float64, context: int = 64
) -> PreTrainedModel:
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=context,
        tie_word_embeddings=False,
        attn_implementation="sdpa",
    )
    config.is_causal = False
    model = Qwen2ForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Large enough that every token and position matters to every output.
            noise = 0.4 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise + 1 if "norm" in name else noise)
    return model.to(dtype).eval()
