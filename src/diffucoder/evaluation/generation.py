"""Completions of a table of requests, each row with a random generator of its own.

A request is a row with `checkpoint`, `suite`, `problem_id`, `sample`, `decoding` (a label),
`prompt`, and `style`: `instruct` puts the prompt into a user's turn, `completion` lets the model
continue it as it would any text, `infilling` lets it fill the hole that `<|mask|>` stands for.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from diffucoder.config.decoding import DecodingParams
from diffucoder.data.tokenizer import MASK, encode_chat, encode_texts, special_ids, token_texts
from diffucoder.decoding import Completion, Request, decode
from diffucoder.decoding.infilling import fill
from diffucoder.errors import BadData

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A row of the table of requests.
RequestRow = Mapping[str, Any]

# The columns of a request that is not answered.
UNANSWERED: dict[str, Any] = {
    "text": "",
    "tokens": [],
    "pieces": [],
    "reveal_step": [],
    "length": 0,
    "trace": None,
}


def encode_text(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> list[int]:
    """Encode a text that is to be continued.

    Args:
        tokenizer: The model's tokenizer.
        prompt: The text.

    Returns:
        Its tokens.
    """
    return next(encode_texts(tokenizer, [prompt]))


ENCODE = {"instruct": encode_chat, "completion": encode_text}


def row_seed(seed: int, request: RequestRow) -> int:
    """The seed of a request's random generator.

    It is a function of what is asked, not of who answers or in which batch: checkpoints meet
    the same random numbers, which makes their difference less noisy.

    Args:
        seed: Random seed of the run.
        request: The request.
    """
    asked = (seed, *(request[key] for key in ("suite", "problem_id", "sample", "decoding")))
    digest = hashlib.sha256(repr(asked).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def batches(lengths: Mapping[int, int], size: int) -> list[list[int]]:
    """Group keys whose lengths are similar, so that little is padded.

    Args:
        lengths: Number of tokens of each prompt, by its index.
        size: Prompts per batch.

    Returns:
        The indices of each batch, the shortest prompts first.
    """
    ordered = sorted(lengths, key=lambda index: (lengths[index], index))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


@dataclass(frozen=True)
class CompletionGenerator:
    """Answers requests with one model, on one rank.

    Attributes:
        model: A bidirectional causal-LM module whose logits predict the next position.
        tokenizer: The model's tokenizer, with a chat template and the special tokens.
        seed: Random seed of the run.
        shard: This rank and the number of ranks, which take the batches in turn.
    """

    model: PreTrainedModel
    tokenizer: "PreTrainedTokenizerBase"
    seed: int
    shard: tuple[int, int] = (0, 1)

    def complete(
        self,
        requests: Sequence[RequestRow],
        decoding: DecodingParams,
        batch_size: int,
        top_logprobs: int | None = None,
    ) -> Iterator[list[dict[str, Any]]]:
        """Decode requests batch by batch.

        Args:
            requests: Rows that share `decoding` and `style`.
            decoding: How to denoise.
            batch_size: Requests decoded together.
            top_logprobs: Number of most probable tokens to record at each reveal; None records
                no trace.

        Yields:
            For each batch the requests with `text`, `tokens`, `pieces` (each token as text),
            `reveal_step`, `length`, `trace` (or None) and `excluded`: empty, or the reason why
            the request was not answered.

        Raises:
            BadData: If the tokenizer lacks one of the special tokens.
        """
        special = special_ids(self.tokenizer)
        # A chat ends with its turn, any other text with itself.
        chat = all(request["style"] == "instruct" for request in requests)
        end = special.turn_end if chat else special.end_of_text
        prompts, reasons = _encoded(
            self.tokenizer, requests, self._context_length() - decoding.max_new_tokens
        )
        rank, ranks = self.shard
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
                    self._generator(requests[index]),
                    top_logprobs=top_logprobs,
                )
                for index in indices
            ]
            found = decode(self.model, rows, special).rows
            yield [
                {**requests[index], **_answered(self.tokenizer, completion)}
                for index, completion in zip(indices, found, strict=True)
            ]

    def fill_holes(
        self, requests: Sequence[RequestRow], decoding: DecodingParams, lengths: Sequence[int]
    ) -> Iterator[list[dict[str, Any]]]:
        """Fill the hole of each request: all lengths together, and the likeliest is the answer.

        Args:
            requests: Rows that share `decoding` and have the style `infilling`.
            decoding: How to denoise; sets the tokens per step, not the length.
            lengths: Numbers of tokens to try for the hole.

        Yields:
            Each request as `complete` does, in a list of its own; its lists run over the hole.

        Raises:
            BadData: If the tokenizer lacks one of the special tokens.
        """
        special = special_ids(self.tokenizer)
        room = self._context_length() - max(lengths)
        rank, ranks = self.shard
        for request in requests[rank::ranks]:
            parts = list(encode_texts(self.tokenizer, request["prompt"].split(MASK)))
            given = sum(map(len, parts))
            if given > room:
                reason = (
                    f"the text around the hole has {given} tokens, and the model's context leaves "
                    f"room for {room}"
                )
                yield [{**request, **UNANSWERED, "excluded": reason}]
                continue
            generator = self._generator(request)
            found = fill(self.model, parts, [lengths], decoding, special, generator)[0]
            hole = replace(found.completion, tokens=found.holes[0])
            yield [{**request, **_answered(self.tokenizer, hole)}]

    def _context_length(self) -> int:
        return self.model.config.max_position_embeddings

    def _generator(self, request: RequestRow) -> torch.Generator:
        return torch.Generator().manual_seed(row_seed(self.seed, request))


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
