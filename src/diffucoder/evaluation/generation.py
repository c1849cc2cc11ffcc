"""Completions of a table of requests, each row with a random stream of its own.

A request is a row with `checkpoint`, `suite`, `problem_id`, `sample`, `decoding` (a label) and
`prompt` (what the user says).
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from diffucoder.config.decoding import DecodingParams
from diffucoder.data.tokenizer import special_ids
from diffucoder.decoding import generate

Request = Mapping[str, Any]
Tokenizer = Any  # a transformers tokenizer; named here to keep the import out


def row_seed(seed: int, request: Request) -> int:
    """The seed of a request's random stream.

    It is a function of what is asked, not of who answers or in which batch: checkpoints meet
    the same random numbers, which makes their difference less noisy.
    """
    asked = (seed, *(request[key] for key in ("suite", "problem_id", "sample", "decoding")))
    digest = hashlib.sha256(repr(asked).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def encode_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Tokens of a user's turn and of the header of the answer."""
    turns = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def batches(requests: Sequence[Request], lengths: Sequence[int], size: int) -> list[list[int]]:
    """Indices of the requests in batches of `size` with prompts of similar length."""
    ordered = sorted(range(len(requests)), key=lambda index: (lengths[index], index))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def answer(
    model: nn.Module,
    tokenizer: Tokenizer,
    requests: Sequence[Request],
    decoding: DecodingParams,
    seed: int,
    batch_size: int,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[list[dict[str, Any]]]:
    """Decode the requests batch by batch.

    Args:
        model: a bidirectional causal-LM module that predicts with the shift-by-one.
        tokenizer: its tokenizer, with a chat template.
        requests: rows that share `decoding`.
        decoding: how to denoise.
        seed: of the run.
        batch_size: requests decoded together.
        shard: this rank and the number of ranks; a rank answers every so-manieth batch.

    Yields:
        For each batch the requests with `text`, `tokens`, `pieces` (each token as text),
        `reveal_step`, `length` and `excluded`: empty, or why no answer was asked for.

    Raises:
        BadData: if the tokenizer lacks one of the special tokens.
    """
    special = special_ids(tokenizer)
    prompts = [encode_prompt(tokenizer, str(request["prompt"])) for request in requests]
    context = model.config.max_position_embeddings
    rank, ranks = shard
    for indices in batches(requests, [len(prompt) for prompt in prompts], batch_size)[rank::ranks]:
        fits = [
            index for index in indices if len(prompts[index]) + decoding.max_new_tokens <= context
        ]
        rows = [
            {**requests[index], **_unanswered(len(prompts[index]), decoding, context)}
            for index in indices
            if index not in fits
        ]
        if fits:
            streams = [
                torch.Generator().manual_seed(row_seed(seed, requests[index])) for index in fits
            ]
            decoded = generate(
                model,
                [prompts[index] for index in fits],
                decoding,
                special.mask,
                special.turn_end,
                special.pad,
                streams,
            )
            for index, tokens, steps in zip(
                fits, decoded.completions, decoded.reveal_step.tolist(), strict=True
            ):
                rows.append({**requests[index], **_answered(tokenizer, tokens, steps)})
        yield rows


def _answered(tokenizer: Tokenizer, tokens: list[int], steps: list[int]) -> dict[str, Any]:
    return {
        "text": tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        ),
        "tokens": tokens,
        "pieces": [
            tokenizer.decode([token], clean_up_tokenization_spaces=False) for token in tokens
        ],
        "reveal_step": steps[: len(tokens)],
        "length": len(tokens),
        "excluded": "",
    }


def _unanswered(prompt_tokens: int, decoding: DecodingParams, context: int) -> dict[str, Any]:
    reason = (
        f"the prompt has {prompt_tokens} tokens and the completion {decoding.max_new_tokens}, "
        f"together more than the model's context of {context}"
    )
    empty = {"text": "", "tokens": [], "pieces": [], "reveal_step": [], "length": 0}
    return {**empty, "excluded": reason}
