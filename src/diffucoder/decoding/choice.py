"""One step's choice: a token for each masked position, and which of them to keep.

Shapes: B rows, L canvas positions, N masked positions, D hidden width, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding import rules, tokens
from diffucoder.decoding.row import Row

# Logits of so many numbers at once: 1 GiB in float32.
LOGITS = 2**28


class Reveal(NamedTuple):
    """What a step writes into a row: canvas positions and their tokens, int64."""

    row: Row
    places: Tensor
    tokens: Tensor


def choose(
    model: nn.Module,
    rows: Sequence[Row],
    states_ND: Tensor,
    mask_token_id: int,
    pad_token_id: int,
) -> list[Reveal]:
    """Apply a rule to the candidates of rows that share their config.

    Draws from each row's generator, and records the reveals of rows that want a trace.

    Args:
        model: for its vocabulary projection.
        rows: the rows.
        states_ND: aligned states of their candidates, row by row from left to right.
        mask_token_id: never chosen.
        pad_token_id: never chosen before given tokens.
    """
    config, device = rows[0].request.config, states_ND.device
    masked_BL = _padded([row.candidates for row in rows])
    uniform_BL2 = _padded([row.draw() for row in rows])
    uniform_N2 = uniform_BL2[masked_BL].to(device)
    banned_N3 = torch.cat([_banned(row, mask_token_id, pad_token_id) for row in rows]).to(device)
    size = max(1, LOGITS // model.get_output_embeddings().weight.shape[0])
    chosen, confidence = [], []
    for part in range(0, len(states_ND), size):
        at = slice(part, part + size)
        probs_NV = _distribution(model, states_ND[at], banned_N3[at], config)
        if config.temperature > 0:
            chosen.append(tokens.draw(probs_NV, uniform_N2[at, 0]))
        else:
            chosen.append(probs_NV.argmax(1))
        confidence_of = rules.RULES[config.rule].confidence
        confidence.append(confidence_of(probs_NV, chosen[-1], uniform_N2[at, 1]))
    chosen_N, confidence_N = torch.cat(chosen).cpu(), torch.cat(confidence).cpu()
    chosen_BL = torch.zeros_like(masked_BL, dtype=torch.long)
    chosen_BL = chosen_BL.masked_scatter(masked_BL, chosen_N)
    confidence_BL = torch.zeros(masked_BL.shape).masked_scatter(masked_BL, confidence_N)
    revealed_BL = _places(rows, confidence_BL, masked_BL, uniform_BL2[..., 1])
    revealed_N = revealed_BL[masked_BL].to(device)
    made = []
    for index, row in enumerate(rows):
        places = revealed_BL[index].nonzero()[:, 0]
        made.append(Reveal(row, places, chosen_BL[index, places]))
    _record(model, made, states_ND[revealed_N], banned_N3[revealed_N], config)
    return made


def _padded(rows: Sequence[Tensor]) -> Tensor:
    return pad_sequence(rows, batch_first=True)


def _banned(row: Row, mask: int, pad: int) -> Tensor:
    """The tokens that each candidate may not become, `[N, 3]`."""
    places = row.candidates.nonzero()[:, 0]
    anywhere = torch.full((len(places), 3), mask)
    # A text that goes on cannot end, nor be filled up.
    inside = torch.tensor([mask, pad, row.request.end_token_id])
    return torch.where((places < row.open)[:, None], inside, anywhere)


def _distribution(
    model: nn.Module, states_ND: Tensor, banned_N3: Tensor, config: DecodingParams
) -> Tensor:
    logits_NV = model.get_output_embeddings()(states_ND).float()
    logits_NV.scatter_(1, banned_N3, -torch.inf)
    return tokens.distribution(logits_NV, config.temperature, config.top_p, config.top_k)


def _places(
    rows: Sequence[Row], confidence_BL: Tensor, masked_BL: Tensor, uniform_BL: Tensor
) -> Tensor:
    """bool `[B, L]`: what to reveal."""
    config = rows[0].request.config
    rule = rules.RULES[config.rule]
    budget = rules.Budget(
        torch.tensor([row.count for row in rows]),
        torch.tensor([row.fraction for row in rows]),
        config.threshold,
    )
    if config.alg_temp > 0 and rule.choose is rules.most_confident:
        confidence_BL = rules.perturb(confidence_BL, uniform_BL, config.alg_temp)
    return rule.choose(confidence_BL, masked_BL, budget)


def _record(
    model: nn.Module,
    reveals: Sequence[Reveal],
    states_ND: Tensor,
    banned_N3: Tensor,
    config: DecodingParams,
) -> None:
    """Record the reveals of rows that want a trace.

    Their distributions are computed again: that costs a projection of what was revealed alone,
    and nothing where no trace is wanted.
    """
    counts = [len(reveal.places) for reveal in reveals]
    parts = zip(states_ND.split(counts), banned_N3.split(counts), strict=True)
    for (row, places, written), (states, banned) in zip(reveals, parts, strict=True):
        if row.request.alternatives is not None and len(places):
            probs_NV = _distribution(model, states, banned, config)
            row.recorder.add(row.step, places, written, probs_NV)
