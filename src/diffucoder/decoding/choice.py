"""One step's choice: a token for each masked position, and which positions to reveal.

Shapes: B rows, L canvas positions, N masked positions, D hidden width, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from diffucoder.config.decoding import DecodingParams
from diffucoder.data.tokenizer import SpecialIds
from diffucoder.decoding import rules, tokens
from diffucoder.decoding.row import Row
from diffucoder.model.projection import logits

# Most logits that are computed at once: 1 GiB in float32.
LOGITS = 2**28


class Reveal(NamedTuple):
    """What a step writes into a row.

    Attributes:
        row: the row.
        positions: int64 `[N]`, canvas positions.
        tokens: int64 `[N]`, the tokens to write there.
    """

    row: Row
    positions: Tensor
    tokens: Tensor


def choose(
    model: PreTrainedModel, rows: Sequence[Row], states_ND: Tensor, special: SpecialIds
) -> list[Reveal]:
    """Apply a rule to the candidates of rows that share their config.

    Draws from each row's generator, and records the reveals of rows that want a trace.

    Args:
        model: provides the vocabulary projection.
        rows: rows with equal configs.
        states_ND: aligned states of their candidates, row by row from left to right.
        special: ids of the model's special tokens. The mask is never chosen; filler and the end
            token are not chosen before given tokens.

    Returns:
        A reveal for each row, in the order of rows.
    """
    config, device = rows[0].request.config, states_ND.device
    masked_BL = _padded([row.candidates for row in rows])
    uniform_BL2 = _padded([row.draw() for row in rows])
    uniform_N2 = uniform_BL2[masked_BL].to(device)
    banned_N3 = torch.cat([_banned(row, special) for row in rows]).to(device)
    rule = config.rule_record
    chunk = max(1, LOGITS // model.config.vocab_size)
    chosen, confidence = [], []
    for start in range(0, len(states_ND), chunk):
        part = slice(start, start + chunk)
        probs_NV = _distribution(model, states_ND[part], banned_N3[part], config)
        if config.temperature > 0:
            chosen.append(tokens.draw(probs_NV, uniform_N2[part, 0]))
        else:
            chosen.append(probs_NV.argmax(1))
        confidence.append(rule.confidence(probs_NV, chosen[-1], uniform_N2[part, 1]))
    chosen_N, confidence_N = torch.cat(chosen).cpu(), torch.cat(confidence).cpu()
    chosen_BL = torch.zeros_like(masked_BL, dtype=torch.long)
    chosen_BL = chosen_BL.masked_scatter(masked_BL, chosen_N)
    confidence_BL = torch.zeros(masked_BL.shape).masked_scatter(masked_BL, confidence_N)
    revealed_BL = _positions(rows, confidence_BL, masked_BL, uniform_BL2[..., 1])
    revealed_N = revealed_BL[masked_BL].to(device)
    reveals = []
    for index, row in enumerate(rows):
        positions = revealed_BL[index].nonzero()[:, 0]
        reveals.append(Reveal(row, positions, chosen_BL[index, positions]))
    _record(model, reveals, states_ND[revealed_N], banned_N3[revealed_N], config)
    return reveals


def _padded(rows: Sequence[Tensor]) -> Tensor:
    return pad_sequence(list(rows), batch_first=True)


def _banned(row: Row, special: SpecialIds) -> Tensor:
    """The tokens that each candidate may not become, `[N, 3]`."""
    positions = row.candidates.nonzero()[:, 0]
    anywhere = torch.full((len(positions), 3), special.mask)
    # A text that goes on can neither end nor be filled up.
    inside = torch.tensor([special.mask, special.pad, row.request.end_token_id])
    return torch.where((positions < row.first_free)[:, None], inside, anywhere)


def _distribution(
    model: PreTrainedModel, states_ND: Tensor, banned_N3: Tensor, config: DecodingParams
) -> Tensor:
    logits_NV = logits(model, states_ND).float()
    logits_NV.scatter_(1, banned_N3, -torch.inf)
    return tokens.distribution(logits_NV, config.temperature, config.top_p, config.top_k)


def _positions(
    rows: Sequence[Row], confidence_BL: Tensor, masked_BL: Tensor, uniform_BL: Tensor
) -> Tensor:
    """Positions to reveal, bool `[B, L]`."""
    config = rows[0].request.config
    rule = config.rule_record
    budget = rules.Budget(
        torch.tensor([row.count for row in rows]),
        torch.tensor([row.fraction for row in rows]),
        config.threshold,
    )
    if config.alg_temp > 0 and rule.takes_alg_temp:
        confidence_BL = rules.perturb(confidence_BL, uniform_BL, config.alg_temp)
    return rule.choose(confidence_BL, masked_BL, budget)


def _record(
    model: PreTrainedModel,
    reveals: Sequence[Reveal],
    states_ND: Tensor,
    banned_N3: Tensor,
    config: DecodingParams,
) -> None:
    """Record the reveals of rows that want a trace.

    Their distributions are computed again: that costs a projection of the revealed positions
    alone, and nothing where no trace is wanted.
    """
    counts = [len(reveal.positions) for reveal in reveals]
    parts = zip(states_ND.split(counts), banned_N3.split(counts), strict=True)
    for (row, positions, written), (states, banned) in zip(reveals, parts, strict=True):
        if row.request.top_logprobs is not None and len(positions):
            probs_NV = _distribution(model, states, banned, config)
            row.recorder.add(row.step, positions, written, probs_NV)
