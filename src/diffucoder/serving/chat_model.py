"""A checkpoint that takes text and returns text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jinja2 import TemplateError
from pydantic import ValidationError
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from diffucoder.config.decoding import DecodingParams
from diffucoder.data.tokenizer import (
    MASK,
    SpecialIds,
    encode_messages,
    encode_texts,
    special_ids,
    token_texts,
)
from diffucoder.decoding import Completion
from diffucoder.decoding.infilling import Filling, fill
from diffucoder.errors import BadCheckpoint, BadData, BadParameters
from diffucoder.model import load

# Most combinations of lengths that are tried together for the holes of one text.
MAX_COMBINATIONS = 512


@dataclass(frozen=True)
class ChatModel:
    """A loaded checkpoint.

    Attributes:
        name: the path or hub name that it was loaded from.
        model: a bidirectional model in evaluation mode.
        tokenizer: the model's tokenizer.
        special: ids of its special tokens.
        text_of: gives the text of a single token.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    special: SpecialIds
    text_of: Callable[[int], str]

    @property
    def context(self) -> int:
        """Most tokens of prompt and canvas together."""
        return self.model.config.max_position_embeddings

    def chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """A conversation as a prompt, up to where the assistant's answer begins.

        Args:
            messages: the turns, each with `role` and `content`.

        Raises:
            BadData: for a message with the text of a special token, a conversation that the chat
                template refuses, and a tokenizer without a template.
        """
        try:
            return encode_messages(self.tokenizer, messages)
        except BadData:
            raise
        except (TemplateError, ValueError) as error:
            raise BadData(f"the chat template of {self.name} refuses this: {error}") from error

    def encode(self, text: str) -> list[int]:
        """Tokens of a text to continue; what looks like a special token in it is plain text."""
        return next(encode_texts(self.tokenizer, [text]))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without special tokens."""
        texts = self.tokenizer.batch_decode(
            [list(tokens)], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return texts[0]

    def canvas(self, prompt: Sequence[int], tokens: int) -> list[int]:
        """Masks to put after a prompt: as many as are wanted and have room.

        Args:
            prompt: tokens of the prompt.
            tokens: number of masks that are wanted.

        Raises:
            BadData: if the prompt leaves no room.
        """
        room = self.context - len(prompt)
        if room < 1:
            raise BadData(
                f"the prompt has {len(prompt)} tokens and the context of {self.name} "
                f"{self.context}: shorten it"
            )
        return [self.special.mask] * min(tokens, room)

    def infill(
        self, text: str, lengths: Sequence[int], config: DecodingParams, seed: int
    ) -> tuple[str, Filling]:
        """Fill every `<|mask|>` in a text.

        Args:
            text: the given text, with `<|mask|>` for each hole.
            lengths: lengths to try for each hole, in tokens.
            config: how to decode.
            seed: random seed.

        Returns:
            The whole text, and what was written into it. A text that begins with a hole is
            filled after the token that separates documents.

        Raises:
            BadData: for a text without a hole or too long for the context, and too many
                combinations of lengths.
        """
        parts = list(encode_texts(self.tokenizer, text.split(MASK)))
        holes = len(parts) - 1
        if not holes:
            raise BadData(f"the text has no hole: write {MASK} where something is missing")
        if len(lengths) ** holes > MAX_COMBINATIONS:
            raise BadData(
                f"{len(lengths)} lengths in {holes} holes are {len(lengths) ** holes} combinations "
                f"and at most {MAX_COMBINATIONS} are tried: give fewer lengths"
            )
        parts[0] = parts[0] or [self.special.end_of_text]
        generator = torch.Generator().manual_seed(seed)
        filling = fill(self.model, parts, [lengths] * holes, config, self.special, generator)[0]
        given = text.split(MASK)
        filled = [
            self.decode(hole) + part for hole, part in zip(filling.holes, given[1:], strict=True)
        ]
        return given[0] + "".join(filled), filling

    def pieces(self, completion: Completion) -> list[str]:
        """The text of each token of a completion."""
        return [self.text_of(token) for token in completion.tokens]


def load_chat_model(path: str | Path, device: str | None = None) -> ChatModel:
    """Load a checkpoint to chat with.

    Args:
        path: a directory in any layout that `diffucoder.model.load` takes, or a hub name.
        device: the device to compute on; if not given, a GPU if there is one.

    Raises:
        BadCheckpoint: if it cannot be loaded, is autoregressive, or lacks special tokens.
    """
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = torch.float32 if target.type == "cpu" else torch.bfloat16
    model, tokenizer = load(path, dtype=dtype)
    if getattr(model.config, "is_causal", True):
        raise BadCheckpoint(
            f"{path}: attention is causal, and a diffusion sampler looks both ways: give a "
            "checkpoint that went through adaptation"
        )
    try:
        special = special_ids(tokenizer)
    except BadData as error:
        raise BadCheckpoint(f"{path}: {error}") from error
    # In place; the type that transformers gives its own `to` takes no device.
    cast(nn.Module, model).to(target)
    return ChatModel(str(path), model, tokenizer, special, token_texts(tokenizer))


def decoding_params(
    tokens_per_step: int = 1, block_length: int | None = None, **options: Any
) -> DecodingParams:
    """How to decode canvases of any length.

    Args:
        tokens_per_step: number of tokens to reveal per step.
        block_length: length of a block in tokens, a multiple of `tokens_per_step`; None is one
            block.
        **options: further fields of `DecodingParams`, but for the length and the steps.

    Raises:
        BadParameters: for options that `DecodingParams` refuses.
    """
    steps = block_length or 1
    try:
        return DecodingParams(
            max_new_tokens=tokens_per_step * steps,
            steps=steps,
            block_length=block_length,
            **{"rule": "entropy", "eps": 0.0, "drop_after_end": True, "max_padding": 0.1} | options,
        )
    except ValidationError as error:
        mistakes = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'decoding'}: {e['msg']}" for e in error.errors()
        )
        raise BadParameters(mistakes) from error
