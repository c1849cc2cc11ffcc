"""A tokenizer and models small enough for unit tests."""

from collections.abc import Callable

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from diffucoder.config.backbone import ArchitectureParams
from diffucoder.model import create

SPECIAL = ["<|mask|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|dlm_pad|>"]


def byte_tokenizer(special: list[str]) -> PreTrainedTokenizerFast:
    """One token a byte, then the special tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(special)
    roles = {"mask_token": "<|mask|>", "eos_token": "<|endoftext|>", "pad_token": "<|dlm_pad|>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        **{role: token for role, token in roles.items() if token in special},
    )


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[[list[str]], PreTrainedTokenizerFast]:
    return byte_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer(SPECIAL)


@pytest.fixture(scope="session")
def architecture() -> ArchitectureParams:
    return ArchitectureParams(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        rope_theta=10_000.0,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )


@pytest.fixture
def model(architecture: ArchitectureParams, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    return create(architecture, tokenizer, torch.Generator().manual_seed(0)).eval()
