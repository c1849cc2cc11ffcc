"""Decoding with kept keys and values: against transformers' own cache, row by row, no padding."""

import math

import pytest
import torch
from tiny_vocabulary import END, MASK, PAD, SPECIAL
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding import Generation, Request, decode

LENGTH, BLOCK = 12, 4
PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [2, 2]]
RULES = ["origin", "maskgit_plus", "topk_margin", "entropy", "threshold"]


def params(cache: str = "none", **options: object) -> DecodingParams:
    chosen = {"rule": "maskgit_plus", "max_new_tokens": LENGTH, "steps": LENGTH, "eps": 0.0}
    return DecodingParams(**chosen | {"block_length": BLOCK, "cache": cache} | options)


def run(model: PreTrainedModel, config: DecodingParams, end: int = END) -> Generation:
    requests = [
        Request(prompt, [MASK] * LENGTH, config, end, torch.Generator().manual_seed(row))
        for row, prompt in enumerate(PROMPTS)
    ]
    return decode(model, requests, SPECIAL)


def part_logits(
    model: PreTrainedModel, tokens: list[int], span: tuple[int, int], full: DynamicCache
) -> Tensor:
    """Logits of a span whose surroundings are remembered as they were in a full pass."""
    first, last = span
    around = DynamicCache()
    for index, layer in enumerate(full.layers):
        kept = [
            torch.cat([x[:, :, :first], x[:, :, last : len(tokens)]], 2)
            for x in (layer.keys, layer.values)
        ]
        around.update(*kept, index)
    seen = torch.ones(1, 1, last - first, len(tokens), dtype=torch.bool)
    places = torch.arange(first, last)[None]
    ids = torch.tensor([tokens[first:last]])
    return model(ids, attention_mask=seen, position_ids=places, past_key_values=around).logits[0]


@torch.no_grad()
def plain_decode(
    model: PreTrainedModel, prompt: list[int], config: DecodingParams, end: int = END
) -> list[int]:
    """One token a step, the most probable first, in blocks with a cache."""
    tokens, begin = prompt + [MASK] * LENGTH, len(prompt)
    for start in range(begin, begin + LENGTH, BLOCK):
        for step in range(BLOCK):
            stop = min(start + BLOCK, len(tokens))
            masked = [place for place in range(start, stop) if tokens[place] == MASK]
            if not masked:
                break
            if step % (config.refresh_every or BLOCK) == 0:
                full = DynamicCache()
                seen = torch.ones(1, 1, len(tokens), len(tokens), dtype=torch.bool)
                ids = torch.tensor([tokens])
                first = 0
                logits = model(ids, attention_mask=seen, past_key_values=full).logits[0]
            else:
                first = start - 1
                last = len(tokens) if config.cache == "prefix" else stop
                logits = part_logits(model, tokens, (first, last), full)
            logits[:, MASK] = -math.inf
            best = {place: logits[place - 1 - first].softmax(0).max(0) for place in masked}
            place = max(masked, key=lambda place: best[place].values.item())
            tokens[place] = int(best[place].indices)
            if config.drop_after_end and tokens[place] in (end, PAD):
                del tokens[place + 1 :]
    return tokens[begin:]


@pytest.mark.parametrize("refresh_every", [None, 1, 2, 3])
@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_a_padded_batch_decodes_as_each_row_does_with_a_plain_cache(
    model: PreTrainedModel, cache: str, refresh_every: int | None
) -> None:
    config = params(cache, refresh_every=refresh_every)
    generation = run(model, config)
    for row, prompt in enumerate(PROMPTS):
        assert generation.canvas[row].tolist() == plain_decode(model, prompt, config)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("cache", ["prefix", "dual"])
@pytest.mark.parametrize("block_length", [None, 4])
def test_a_refresh_at_every_step_gives_the_tokens_of_the_uncached_sampler(
    model: PreTrainedModel, rule: str, cache: str, block_length: int | None
) -> None:
    shape = {"rule": rule, "steps": 6, "temperature": 0.9, "block_length": block_length}
    plain = run(model, params(**shape, threshold=0.4))
    cached = run(model, params(cache, **shape, threshold=0.4, refresh_every=1))
    assert torch.equal(plain.canvas, cached.canvas)
    assert torch.equal(plain.reveal_step, cached.reveal_step)


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_a_cache_that_is_not_refreshed_approximates(model: PreTrainedModel, cache: str) -> None:
    plain, cached = run(model, params()), run(model, params(cache))
    differing = (plain.canvas != cached.canvas).double().mean()
    assert 0 < differing < 1


@pytest.mark.parametrize(
    ("cache", "refresh_every", "computed"),
    [
        ("dual", None, [17, 5, 5, 5] * 3),
        ("dual", 2, [17, 5, 17, 5] * 3),
        ("prefix", None, [17, 13, 13, 13, 17, 9, 9, 9, 17, 5, 5, 5]),
        ("prefix", 1, [17] * 12),
    ],
)
def test_only_what_the_policy_asks_for_is_computed(
    model: PreTrainedModel,
    queries: list[torch.Size],
    cache: str,
    refresh_every: int | None,
    computed: list[int],
) -> None:
    generation = run(model, params(cache, refresh_every=refresh_every))
    # The longest prompt has five tokens; a part begins one before its block.
    assert queries == [torch.Size([4, width]) for width in computed]
    assert generation.computed_positions == 4 * sum(computed)
    assert generation.forwards == 12


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_what_was_dropped_is_not_looked_at(model: PreTrainedModel, cache: str) -> None:
    config = params(cache, drop_after_end=True)
    # The token that is written most often ends the text.
    end = int(run(model, params(cache)).canvas.mode().values.mode().values)
    generation = run(model, config, end)
    lengths = []
    for row, prompt in enumerate(PROMPTS):
        plain = plain_decode(model, prompt, config, end)
        assert generation.canvas[row].tolist() == plain + [PAD] * (LENGTH - len(plain))
        lengths.append(len(plain))
    assert min(lengths) < LENGTH
