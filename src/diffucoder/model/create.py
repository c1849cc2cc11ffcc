"""A new model of a given size, and the switch to bidirectional attention."""

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
)

from diffucoder.config.backbone import ArchitectureParams


def create(
    architecture: ArchitectureParams,
    tokenizer: PreTrainedTokenizerBase,
    generator: torch.Generator,
) -> PreTrainedModel:
    """Make a Qwen2-shaped causal language model with random weights, in float32.

    Args:
        architecture: widths and depths.
        tokenizer: sets the size of the vocabulary.
        generator: source of the weights, on the CPU.
    """
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=architecture.hidden_size,
        intermediate_size=architecture.intermediate_size,
        num_hidden_layers=architecture.num_hidden_layers,
        num_attention_heads=architecture.num_attention_heads,
        num_key_value_heads=architecture.num_key_value_heads,
        max_position_embeddings=architecture.max_position_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": architecture.rope_theta},
        tie_word_embeddings=architecture.tie_word_embeddings,
        initializer_range=architecture.initializer_range,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    _draw_weights(model, architecture.initializer_range, generator)
    train_pad_embedding(model)
    return model


@torch.no_grad()
def _draw_weights(model: nn.Module, spread: float, generator: torch.Generator) -> None:
    # The library draws from the global generator, so its matrices are drawn again here; its
    # zero biases and unit norms stand.
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.normal_(std=spread, generator=generator)


def set_bidirectional(model: PreTrainedModel) -> None:
    """Let every position look at every other, in place; the saved config says so too."""
    model.config.is_causal = False


def train_pad_embedding(model: PreTrainedModel) -> None:
    """Let the padding token's embedding be trained like any other, in place.

    The library gives the embedding its config's padding token, and torch then drops that row's
    gradient. Here padding is a token that the model reads and writes.
    """
    model.get_input_embeddings().padding_idx = None
