"""Completions of a table of requests, each row with a random stream of its own.

A request is a row with `checkpoint`, `suite`, `problem_id`, `sample`, `decoding` (a label),
`prompt`, and `style`: `instruct` puts the prompt into a user's turn, `completion` lets the model
go on with it as with any text, `infilling` lets it fill the hole that `<|mask|>` stands for.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from diffucoder.config.decoding import DecodingParams
from diffucoder.data.tokenizer import MASK, encode_chat, encode_texts, special_ids, token_texts
from diffucoder.decoding import Completion, Request, decode
from diffucoder.decoding.infilling import fill
from diffucoder.errors import BadData

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RequestRow = Mapping[str, Any]

UNANSWERED: dict[str, Any] = {
    "text": "",
    "tokens": [],
    "pieces": [],
    "reveal_step": [],
    "length": 0,
    "trace": None,
}


def encode_text(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> list[int]:
    """Tokens of a text that is to be continued."""
    return next(encode_texts(tokenizer, [prompt]))


ENCODE = {"instruct": encode_chat, "completion": encode_text}


def row_seed(seed: int, request: RequestRow) -> int:
    """The seed of a request's random stream.

    It is a function of what is asked, not of who answers or in which batch: checkpoints meet
    the same random numbers, which makes their difference less noisy.
    """
    asked = (seed, *(request[key] for key in ("suite", "problem_id", "sample", "decoding")))
    digest = hashlib.sha256(repr(asked).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def batches(lengths: Mapping[int, int], size: int) -> list[list[int]]:
    """Batches of `size` keys whose lengths are similar, so that little is padded.

    Args:
        lengths: tokens of each prompt, by its index.
        size: prompts a batch.
    """
    ordered = sorted(lengths, key=lambda index: (lengths[index], index))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def answer(
    model: nn.Module,
    tokenizer: "PreTrainedTokenizerBase",
    requests: Sequence[RequestRow],
    decoding: DecodingParams,
    seed: int,
    batch_size: int,
    shard: tuple[int, int] = (0, 1),
    top_logprobs: int | None = None,
) -> Iterator[list[dict[str, Any]]]:
    """Decode the requests batch by batch.

    Args:
        model: a bidirectional causal-LM module that predicts with the shift-by-one.
        tokenizer: its tokenizer, with a chat template.
        requests: rows that share `decoding` and `style`.
        decoding: how to denoise.
        seed: of the run.
        batch_size: requests decoded together.
        shard: this rank and the number of ranks, which take the batches in turn.
        top_logprobs: number of most probable tokens to record at each reveal; None records no
            trace.

    Yields:
        For each batch the requests with `text`, `tokens`, `pieces` (each token as text),
        `reveal_step`, `length`, `trace` (or None) and `excluded`: empty, or why no answer was
        asked for.

    Raises:
        BadData: if the tokenizer lacks one of the special tokens.
    """
    special = special_ids(tokenizer)
    # A chat ends with its turn, any other text with itself.
    chat = all(request["style"] == "instruct" for request in requests)
    end = special.turn_end if chat else special.end_of_text
    room = model.config.max_position_embeddings - decoding.max_new_tokens
    prompts, reasons = _encoded(tokenizer, requests, room)
    rank, ranks = shard
    if mine := sorted(reasons)[rank::ranks]:
        yield [{**requests[index], **UNANSWERED, "excluded": reasons[index]} for index in mine]
    lengths = {index: len(prompt) for index, prompt in prompts.items()}
    for indices in batches(lengths, batch_size)[rank::ranks]:
        rows = [
            Request(
                prompts[index],
                [special.mask] * decoding.max_new_tokens,
                decoding,
                end,
                torch.Generator().manual_seed(row_seed(seed, requests[index])),
                top_logprobs=top_logprobs,
            )
            for index in indices
        ]
        found = decode(model, rows, special).rows
        yield [
            {**requests[index], **_answered(tokenizer, completion)}
            for index, completion in zip(indices, found, strict=True)
        ]


def fill_in(
    model: nn.Module,
    tokenizer: "PreTrainedTokenizerBase",
    requests: Sequence[RequestRow],
    decoding: DecodingParams,
    lengths: Sequence[int],
    seed: int,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[list[dict[str, Any]]]:
    """Fill the hole of each request: all lengths together, and the likeliest is the answer.

    Args:
        model: as in `answer`.
        tokenizer: as in `answer`.
        requests: rows that share `decoding` and have the style `infilling`.
        decoding: how to denoise; sets the pace, not the length.
        lengths: tokens to try for the hole.
        seed: of the run.
        shard: this rank and the number of ranks, which take the requests in turn.

    Yields:
        Each request as `answer` does, in a list of its own; its lists run over the hole.

    Raises:
        BadData: if the tokenizer lacks one of the special tokens.
    """
    special = special_ids(tokenizer)
    room = model.config.max_position_embeddings - max(lengths)
    for request in requests[shard[0] :: shard[1]]:
        parts = list(encode_texts(tokenizer, request["prompt"].split(MASK)))
        given = sum(map(len, parts))
        if given > room:
            reason = (
                f"the text around the hole has {given} tokens, and the model's context leaves room "
                f"for {room}"
            )
            yield [{**request, **UNANSWERED, "excluded": reason}]
            continue
        draws = torch.Generator().manual_seed(row_seed(seed, request))
        found = fill(
            model,
            parts,
            [lengths],
            decoding,
            special,
            draws,
        )[0]
        hole = replace(found.completion, tokens=found.holes[0])
        yield [{**request, **_answered(tokenizer, hole)}]


def _encoded(
    tokenizer: "PreTrainedTokenizerBase", requests: Sequence[RequestRow], room: int
) -> tuple[dict[int, list[int]], dict[int, str]]:
    """Prompts of at most `room` tokens, and why the others are left out; by index."""
    prompts, reasons = {}, {}
    for index, request in enumerate(requests):
        try:
            tokens = ENCODE[request["style"]](tokenizer, request["prompt"])
        except BadData as error:
            reasons[index] = str(error)
            continue
        if len(tokens) > room:
            reasons[index] = (
                f"the prompt has {len(tokens)} tokens, and the model's context leaves room for "
                f"{room} before the completion"
            )
        else:
            prompts[index] = tokens
    return prompts, reasons


def _answered(tokenizer: "PreTrainedTokenizerBase", completion: Completion) -> dict[str, Any]:
    tokens, text_of = completion.tokens, token_texts(tokenizer)
    return {
        "text": tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        ),
        "tokens": tokens,
        "pieces": [text_of(token) for token in tokens],
        "reveal_step": completion.reveal_step[: len(tokens)].tolist(),
        "length": len(tokens),
        "trace": completion.trace,
        "excluded": "",
    }
