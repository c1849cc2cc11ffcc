"""The diffusion sampler: from a canvas of masks to text, a few tokens a step.

Shapes: B rows, Q prompt positions, L canvas positions, V vocabulary, N masked positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffucoder.config.decoding import DecodingParams
from diffucoder.decoding import rules, tokens
from diffucoder.errors import BadCheckpoint, BadData
from diffucoder.model.positions import position_ids
from diffucoder.model.projection import aligned_states, logits_at


@dataclass(frozen=True)
class Generation:
    """What a decode returns.

    Attributes:
        completions: token lists, each cut after its end token (before filler, where the end
            token is missing).
        canvas: int64 `[B, L]`, everything that was written.
        reveal_step: int64 `[B, L]`, the step at which each position was revealed, from 0.
        forwards: model calls, 0 if there was no prompt.
    """

    completions: list[list[int]]
    canvas: Tensor
    reveal_step: Tensor
    forwards: int


@torch.inference_mode()
def generate(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    config: DecodingParams,
    mask_token_id: int,
    eos_token_id: int,
    pad_token_id: int,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
) -> Generation:
    """Denoise a completion for each prompt.

    Rows are independent: each has its own budget and its own random stream, and padding is
    neither attended to nor counted in positions.

    Args:
        model: a bidirectional causal-LM module that predicts with the shift-by-one.
        prompts: token lists, of unequal length if need be.
        config: rule, length, steps and temperatures.
        mask_token_id: the mask token; it is never sampled.
        eos_token_id: the token that ends a completion.
        pad_token_id: the filler after the end token.
        generator: one CPU generator, from which a stream for each row is derived, or one a row;
            None draws from torch's default generator.

    Raises:
        BadCheckpoint: for a model with no mask token.
        BadData: for an empty prompt, or one that with its canvas is longer than the model's
            context.
        ValueError: for several generators but not one a prompt.
    """
    _check(model, prompts, config, mask_token_id)
    if not prompts:
        nothing_BL = torch.zeros(0, config.max_new_tokens, dtype=torch.long)
        return Generation([], nothing_BL, nothing_BL, forwards=0)
    device = next(model.parameters()).device
    prompt_BQ, prompt_mask_BQ = _pad_left(prompts, pad_token_id, device)
    rows, length = len(prompts), config.max_new_tokens
    canvas_BL = torch.full((rows, length), mask_token_id, device=device)
    reveal_step_BL = torch.full((rows, length), -1, device=device)
    attended_BT = torch.cat([prompt_mask_BQ, torch.ones_like(canvas_BL, dtype=torch.bool)], dim=1)
    positions_BT = position_ids(attended_BT)
    streams = _row_streams(generator, rows)
    for step in range(config.steps):
        states_BTD = aligned_states(
            model, torch.cat([prompt_BQ, canvas_BL], dim=1), attended_BT, positions_BT
        )
        masked_BL = reveal_step_BL < 0
        logits_NV = logits_at(model, states_BTD[:, prompt_BQ.shape[1] :], masked_BL)
        uniform_2BL = _uniform(streams, length, config).to(device)
        chosen_BL, revealed_BL = _step(
            logits_NV, masked_BL, uniform_2BL, step, config, mask_token_id
        )
        canvas_BL = torch.where(revealed_BL, chosen_BL, canvas_BL)
        reveal_step_BL = reveal_step_BL.masked_fill(revealed_BL, step)
    completions = [_cut(row, eos_token_id, pad_token_id) for row in canvas_BL.tolist()]
    return Generation(completions, canvas_BL.cpu(), reveal_step_BL.cpu(), config.steps)


def _step(
    logits_NV: Tensor,
    masked_BL: Tensor,
    uniform_2BL: Tensor,
    step: int,
    config: DecodingParams,
    mask_token_id: int,
) -> tuple[Tensor, Tensor]:
    """Tokens proposed at each masked position, and which of them to keep."""
    probs_NV = tokens.distribution(
        logits_NV, [mask_token_id], config.temperature, config.top_p, config.top_k
    )
    if config.temperature > 0:
        chosen_N = tokens.draw(probs_NV, uniform_2BL[0][masked_BL])
    else:
        chosen_N = probs_NV.argmax(1)
    chosen_BL = torch.zeros_like(masked_BL, dtype=torch.long).masked_scatter(masked_BL, chosen_N)
    fraction = rules.reveal_fraction(step, config.steps, config.eps)
    if config.rule == "origin":
        return chosen_BL, masked_BL & (uniform_2BL[1] < fraction)
    confidence_N = rules.CONFIDENCE[config.rule](probs_NV, chosen_N)
    confidence_BL = torch.zeros(masked_BL.shape, device=masked_BL.device)
    confidence_BL = confidence_BL.masked_scatter(masked_BL, confidence_N)
    if config.alg_temp > 0:
        confidence_BL = rules.perturb(confidence_BL, uniform_2BL[1], config.alg_temp)
    budget_B = rules.budgets(masked_BL, fraction)
    return chosen_BL, rules.most_confident(confidence_BL, masked_BL, budget_B)


def _check(
    model: nn.Module, prompts: Sequence[Sequence[int]], config: DecodingParams, mask: int | None
) -> None:
    if mask is None:
        raise BadCheckpoint(
            "mask_token_id is None: a diffusion sampler needs a model with a mask token; "
            "adapt the model first"
        )
    context = getattr(model.config, "max_position_embeddings", None)
    for row, prompt in enumerate(prompts):
        if not prompt:
            raise BadData(
                f"prompt {row} is empty: the first token is predicted from the one before it, "
                "so give at least one token"
            )
        if context is not None and len(prompt) + config.max_new_tokens > context:
            raise BadData(
                f"prompt {row} has {len(prompt)} tokens and max_new_tokens is "
                f"{config.max_new_tokens}, together more than the model's context of {context}: "
                "shorten the prompt or lower max_new_tokens"
            )


def _pad_left(
    prompts: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    longest = max(len(prompt) for prompt in prompts)
    ids = [[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    real = [[False] * (longest - len(prompt)) + [True] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(real, device=device)


def _row_streams(
    generator: torch.Generator | Sequence[torch.Generator] | None, rows: int
) -> list[torch.Generator]:
    if isinstance(generator, Sequence):
        if len(generator) != rows:
            raise ValueError(f"got {len(generator)} generators for {rows} prompts: give one each")
        return list(generator)
    seeds = torch.randint(2**62, (rows,), generator=generator).tolist()
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def _uniform(streams: list[torch.Generator], length: int, config: DecodingParams) -> Tensor:
    """Two uniform numbers for each position: one for its token, one for the choice of places."""
    if config.temperature == 0 and config.alg_temp == 0 and config.rule != "origin":
        return torch.zeros(2, len(streams), length)
    drawn = [torch.rand(2, length, generator=stream) for stream in streams]
    return torch.stack(drawn, dim=1)


def _cut(row: list[int], eos: int, pad: int) -> list[int]:
    for place, token in enumerate(row):
        if token == eos:
            return row[: place + 1]
        if token == pad:
            return row[:place]
    return row
