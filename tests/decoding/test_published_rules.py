"""The sampler against the published rules, written out plainly for one row without padding."""

import math
from fractions import Fraction

import pytest
import torch
from transformers import PreTrainedModel

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding import generate

MASK, END, PAD = 12, 10, 11
PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [2, 2]]
RULES = ["origin", "maskgit_plus", "topk_margin", "entropy"]
SHAPES = [
    {"steps": 6},
    {"steps": 4, "temperature": 1.0},
    {"steps": 9, "temperature": 0.8, "top_p": 0.7},
    {"steps": 3, "temperature": 1.2, "top_k": 4},
    {"steps": 5, "temperature": 0.6, "top_p": 0.9, "top_k": 3, "alg_temp": 0.5},
    {"steps": 12, "alg_temp": 0.3, "eps": 0.0},
    {"steps": 1, "temperature": 1.0},
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
    if rule == "maskgit_plus":
        return probs[token]
    if rule == "topk_margin":
        first, second = sorted(probs, reverse=True)[:2]
        return first - second
    return sum(p * math.log(p) for p in probs if p)


def plain_decode(
    model: PreTrainedModel, prompt: list[int], config: DecodingParams, draws: torch.Generator
) -> tuple[list[int], list[int]]:
    length, steps = config.max_new_tokens, config.steps
    canvas, reveal_step = [MASK] * length, [-1] * length
    eps = Fraction(config.eps)
    times = [1 - Fraction(step, steps) * (1 - eps) for step in range(steps + 1)]
    for step in range(steps):
        with torch.no_grad():
            logits_TV = model(torch.tensor([prompt + canvas])).logits[0].float()
        for_token, for_place = torch.rand(2, length, generator=draws).tolist()
        masked = [place for place in range(length) if reveal_step[place] < 0]
        proposed = {}
        for place in masked:
            logits = logits_TV[len(prompt) + place - 1].tolist()
            proposed[place] = candidate(logits, for_token[place], config)
        share = 1 - times[step + 1] / times[step] if step < steps - 1 else Fraction(1)
        if config.rule == "origin":
            revealed = [place for place in masked if for_place[place] < share]
        else:
            worth = {p: confidence(config.rule, *proposed[p]) for p in masked}
            if config.alg_temp > 0:
                for place in masked:
                    gumbel = -math.log(-math.log(for_place[place]))
                    worth[place] = worth[place] / config.alg_temp + gumbel
            best = sorted(masked, key=lambda place: -worth[place])
            revealed = best[: math.floor(len(masked) * share)]
        for place in revealed:
            canvas[place], reveal_step[place] = proposed[place][0], step
    return canvas, reveal_step


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_a_padded_batch_decodes_as_the_plain_rule_does_row_by_row(
    model: PreTrainedModel, rule: str, shape: dict[str, float]
) -> None:
    config = DecodingParams(rule=rule, max_new_tokens=12, **shape)
    rows = range(len(PROMPTS))
    draws = [torch.Generator().manual_seed(row) for row in rows]
    generation = generate(model, PROMPTS, config, MASK, END, PAD, draws)
    for row in rows:
        canvas, reveal_step = plain_decode(
            model, PROMPTS[row], config, torch.Generator().manual_seed(row)
        )
        assert generation.canvas[row].tolist() == canvas
        assert generation.reveal_step[row].tolist() == reveal_step
