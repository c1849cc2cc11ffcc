"""The sampler against the published rules, written out plainly for one row without padding.

Dream's four rules, LLaDA's blocks from left to right and Fast-dLLM's confidence threshold.
"""

import math
from fractions import Fraction

import pytest
import torch
from tiny_vocabulary import END, MASK, SPECIAL
from transformers import PreTrainedModel

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding import Request, decode

LENGTH = 12
PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [2, 2]]
RULES = ["origin", "maskgit_plus", "topk_margin", "entropy"]
SHAPES = [
    {"steps": 6},
    {"steps": 4, "temperature": 1.0},
    {"steps": 9, "temperature": 0.8, "top_p": 0.7},
    {"steps": 3, "temperature": 1.2, "top_k": 4},
    {"steps": 5, "temperature": 0.6, "top_p": 0.9, "top_k": 3, "alg_temp": 0.5},
    {"steps": 12, "alg_temp": 0.3, "eps": 0.0},
    {"steps": 12, "temperature": 1.0},  # the budget of the first step is nothing
    {"steps": 1, "temperature": 1.0},
    {"steps": 6, "temperature": 0.9, "block_length": 4, "eps": 0.0},
    {"steps": 4, "temperature": 0.9, "block_length": 6},
]
THRESHOLDS = [
    {"threshold": 0.4, "steps": 12},
    {"threshold": 0.2, "steps": 6, "temperature": 0.8, "top_p": 0.9, "eps": 0.0},
    {"threshold": 0.3, "steps": 12, "block_length": 4, "temperature": 0.5},
    {"threshold": 1.0, "steps": 12, "temperature": 1.0},
]


def candidate(logits: list[float], uniform: float, config: DecodingParams) -> tuple[int, list]:
    """The token proposed at one position, and the distribution it came from."""
    warmth = config.temperature or 1.0
    weights = [0.0 if v == MASK else math.exp(logit / warmth) for v, logit in enumerate(logits)]
    probs = [weight / sum(weights) for weight in weights]
    ranked = sorted(range(len(probs)), key=lambda v: -probs[v])
    kept, held = [], 0.0
    for token in ranked:
        if held >= config.top_p and kept:
            break
        kept.append(token)
        held += probs[token]
    if config.top_k:
        kept = kept[: config.top_k]
    held = sum(probs[token] for token in kept)
    probs = [p / held if v in kept else 0.0 for v, p in enumerate(probs)]
    if config.temperature == 0:
        return ranked[0], probs
    reached = 0.0
    for token, p in enumerate(probs):
        reached += p
        if p and uniform < reached:
            return token, probs
    return max(kept), probs


def confidence(rule: str, token: int, probs: list[float]) -> float:
    if rule in ("maskgit_plus", "threshold"):
        return probs[token]
    if rule == "topk_margin":
        first, second = sorted(probs, reverse=True)[:2]
        return first - second
    return sum(p * math.log(p) for p in probs if p)


def chosen_places(
    config: DecodingParams,
    share: float,
    for_place: list[float],
    proposed: dict[int, tuple[int, list]],
) -> list[int]:
    masked = list(proposed)
    if config.rule == "origin":
        return [place for place in masked if for_place[place] < share]
    worth = {place: confidence(config.rule, *proposed[place]) for place in masked}
    if config.alg_temp > 0:
        for place in masked:
            gumbel = -math.log(-math.log(for_place[place]))
            worth[place] = worth[place] / config.alg_temp + gumbel
    best = sorted(masked, key=lambda place: -worth[place])
    count = math.floor(len(masked) * share)
    if config.rule == "threshold":
        count = max(count, 1, sum(worth[place] >= config.threshold for place in masked))
    return best[:count]


def plain_decode(
    model: PreTrainedModel, prompt: list[int], config: DecodingParams, draws: torch.Generator
) -> tuple[list[int], list[int]]:
    canvas, reveal_step = [MASK] * LENGTH, [-1] * LENGTH
    size = config.block_length or LENGTH
    steps = config.steps * size // LENGTH
    eps = Fraction(config.eps)
    times = [1 - Fraction(step, steps) * (1 - eps) for step in range(steps + 1)]
    taken = 0
    for first in range(0, LENGTH, size):
        for step in range(steps):
            masked = [place for place in range(first, first + size) if reveal_step[place] < 0]
            if not masked:
                break
            with torch.no_grad():
                logits_TV = model(torch.tensor([prompt + canvas])).logits[0].float()
            for_token, for_place = torch.rand(2, LENGTH, generator=draws).tolist()
            proposed = {
                place: candidate(
                    logits_TV[len(prompt) + place - 1].tolist(), for_token[place], config
                )
                for place in masked
            }
            share = 1 - times[step + 1] / times[step] if step < steps - 1 else Fraction(1)
            for place in chosen_places(config, share, for_place, proposed):
                canvas[place], reveal_step[place] = proposed[place][0], taken
            taken += 1
    return canvas, reveal_step


@pytest.mark.parametrize(
    "options",
    [{"rule": rule} | shape for rule in RULES for shape in SHAPES]
    + [{"rule": "threshold"} | shape for shape in THRESHOLDS],
    ids=str,
)
def test_a_padded_batch_decodes_as_the_plain_rule_does_row_by_row(
    model: PreTrainedModel, options: dict
) -> None:
    config = DecodingParams(max_new_tokens=LENGTH, **options)
    requests = [
        Request(prompt, [MASK] * LENGTH, config, END, torch.Generator().manual_seed(row))
        for row, prompt in enumerate(PROMPTS)
    ]
    generation = decode(model, requests, SPECIAL)
    for row, prompt in enumerate(PROMPTS):
        canvas, reveal_step = plain_decode(
            model, prompt, config, torch.Generator().manual_seed(row)
        )
        assert generation.canvas[row].tolist() == canvas
        assert generation.reveal_step[row].tolist() == reveal_step


def test_the_threshold_was_met_and_missed(model: PreTrainedModel) -> None:
    config = DecodingParams(rule="threshold", max_new_tokens=LENGTH, **THRESHOLDS[0])
    requests = [Request(prompt, [MASK] * LENGTH, config, END) for prompt in PROMPTS]
    steps = [len(set(row)) for row in decode(model, requests, SPECIAL).reveal_step.tolist()]
    assert len(PROMPTS) < sum(steps) < LENGTH * len(PROMPTS)
