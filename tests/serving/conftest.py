"""A small checkpoint that was never trained: what it writes is noise, and always the same."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from diffucoder.data.tokenizer import train
from diffucoder.serving import ChatModel, load_chat_model

CONTEXT = 96


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train(["def add(x):\n    return x + 1\n" * 20, "for x in range(9): print(x)"], 300)


def save_model(folder: Path, tokenizer: PreTrainedTokenizerFast, causal: bool = False) -> Path:
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        initializer_range=0.3,
    )
    config.is_causal = causal
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast
) -> Path:
    return save_model(tmp_path_factory.mktemp("diffusion"), tokenizer)


@pytest.fixture(scope="session")
def autoregressive(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast
) -> Path:
    return save_model(tmp_path_factory.mktemp("autoregressive"), tokenizer, causal=True)


@pytest.fixture(scope="session")
def chat_model(checkpoint: Path) -> ChatModel:
    torch.set_num_threads(1)
    return load_chat_model(checkpoint, "cpu")
