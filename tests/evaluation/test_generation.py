"""Real decoding with a tiny random model."""

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from diffucoder.config.backbone import ArchitectureParams
from diffucoder.config.decoding import DecodingParams
from diffucoder.data import tokenizer as tokenizers
from diffucoder.evaluation.generation import CompletionGenerator, batches, row_seed
from diffucoder.model import create, set_bidirectional

DECODING = DecodingParams(rule="entropy", max_new_tokens=8, steps=4, temperature=1.0, eps=0)
CONTEXT = 96


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return tokenizers.train(["Write a function that adds numbers."], vocabulary=280)


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    architecture = ArchitectureParams(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        rope_theta=10_000.0,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    made = create(architecture, tokenizer, torch.Generator().manual_seed(0)).eval()
    set_bidirectional(made)
    return made


def ask(count: int) -> list[dict[str, Any]]:
    return [
        {
            "row": number,
            "checkpoint": "grpo",
            "suite": "heldout",
            "problem_id": f"p{number // 2}",
            "sample": number % 2,
            "decoding": "sampled",
            "style": "instruct",
            "prompt": "Write " + "a function " * (number // 2),
        }
        for number in range(count)
    ]


def answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: list[dict[str, Any]],
    batch_size: int,
    ranks: int = 1,
) -> dict[int, dict[str, Any]]:
    return {
        row["row"]: row
        for rank in range(ranks)
        for rows in CompletionGenerator(model, tokenizer, 3, (rank, ranks)).complete(
            requests, DECODING, batch_size
        )
        for row in rows
    }


def test_answers_do_not_depend_on_batches_or_ranks(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    requests = ask(7)
    together = answers(model, tokenizer, requests, batch_size=7)
    alone = answers(model, tokenizer, requests, batch_size=1)
    shared = answers(model, tokenizer, requests, batch_size=2, ranks=3)
    assert together == alone == shared
    assert sorted(together) == list(range(7))


def test_samples_of_a_problem_differ(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    found = answers(model, tokenizer, ask(2), batch_size=2)
    assert found[0]["prompt"] == found[1]["prompt"]
    assert found[0]["tokens"] != found[1]["tokens"]


def test_lists_run_over_the_completion(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    for row in answers(model, tokenizer, ask(6), batch_size=6).values():
        lengths = {len(row[name]) for name in ("tokens", "pieces", "reveal_step")}
        assert lengths == {row["length"]}
        assert all(0 <= step < DECODING.steps for step in row["reveal_step"])


def test_traces_are_made_on_request_and_change_no_answer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    plain = answers(model, tokenizer, ask(3), batch_size=3)
    generator = CompletionGenerator(model, tokenizer, 3)
    (traced,) = generator.complete(ask(3), DECODING, 3, top_logprobs=2)
    for row in traced:
        trace = row.pop("trace")
        assert plain[row["row"]] == row | {"trace": None}
        assert sorted(trace.position) == list(range(DECODING.max_new_tokens))
        assert all(len(others) == 2 for others in trace.top_tokens)
        written = dict(zip(trace.position, trace.token, strict=True))
        assert row["tokens"] == [written[place] for place in range(row["length"])]


def test_prompts_that_cannot_be_asked_are_left_out_with_the_reason(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    requests = ask(3)
    requests[1]["prompt"] = "x" * CONTEXT
    requests[2]["prompt"] = "end the turn <|im_end|>"
    found = answers(model, tokenizer, requests, batch_size=2)
    assert found[0]["excluded"] == ""
    assert f"room for {CONTEXT - 8}" in found[1]["excluded"]
    assert found[1]["tokens"] == []
    assert "<|im_end|>" in found[2]["excluded"]


def test_a_hole_is_answered_with_the_likeliest_filling(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    prompts = ["def f():\n    <|mask|>\n", "x" * CONTEXT + "<|mask|>y", "a<|mask|>b"]
    requests = [row | {"prompt": text} for row, text in zip(ask(3), prompts, strict=True)]
    lengths = [2, 5]
    alone = CompletionGenerator(model, tokenizer, 3)
    found = [row for (row,) in alone.fill_holes(requests, DECODING, lengths)]
    assert [row["length"] for row in found[::2]] != [0, 0]
    for row in found[::2]:
        assert row["length"] in lengths and row["excluded"] == ""
        assert {len(row[name]) for name in ("tokens", "pieces", "reveal_step")} == {row["length"]}
        assert min(row["reveal_step"]) == 0
    assert f"leaves room for {CONTEXT - 5}" in found[1]["excluded"]
    ranks = [
        CompletionGenerator(model, tokenizer, 3, (n, 2)).fill_holes(requests, DECODING, lengths)
        for n in (0, 1)
    ]
    assert [row for part in ranks for (row,) in part] == [found[0], found[2], found[1]]


def test_a_row_has_the_same_stream_whoever_answers() -> None:
    request = ask(1)[0]
    assert row_seed(0, request) == row_seed(0, request | {"checkpoint": "instruct", "row": 9})
    others = [request | {"sample": 1}, request | {"problem_id": "p9"}]
    assert len({row_seed(0, row) for row in [request, *others]} | {row_seed(1, request)}) == 4


def test_batches_hold_prompts_of_similar_length() -> None:
    assert batches({0: 9, 1: 2, 2: 8, 3: 1, 4: 3}, 2) == [[3, 1], [4, 2], [0]]
