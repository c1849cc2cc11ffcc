"""What estimators estimate, by enumeration of all masks; for short completions.

Shapes: B completions, L completion positions, S = 2^n - 1 sets of masked positions of a
completion with n positions that can be masked.
"""

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.errors import BadData
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.views import View, view_log_probs

# 65,535 views of one completion.
MOST_POSITIONS = 16
ROWS_AT_ONCE = 512


def subset_scores(
    model: PreTrainedModel, completion: CompletionBatch, mask_token_id: int
) -> tuple[Tensor, Tensor]:
    """Log p of a completion's tokens under each of its possible masks.

    Args:
        model: a bidirectional causal-LM module.
        completion: a batch of one row.
        mask_token_id: the mask token.

    Returns:
        `(masked_SL, scores_SL)`: every non-empty set of masked canvas positions (bool), and the
        scores under it (float64), 0 where nothing is scored.

    Raises:
        BadData: for a row with more than 16 positions to mask.
    """
    maskable = completion.context_mask[0].nonzero()[:, 0]
    count = len(maskable)
    if count > MOST_POSITIONS:
        raise BadData(
            f"a completion with {count} positions has 2^{count} masks; enumerate at most "
            f"{MOST_POSITIONS}, or take a reference of many draws"
        )
    sets = torch.arange(1, 2**count, device=maskable.device)
    masked_SL = torch.zeros(
        (len(sets), completion.completion_ids.shape[1]), dtype=torch.bool, device=maskable.device
    )
    bits = torch.arange(count, device=maskable.device)
    masked_SL[:, maskable] = (sets[:, None] >> bits) % 2 == 1
    scores = []
    with torch.no_grad():
        for part_SL in masked_SL.split(ROWS_AT_ONCE):
            rows = completion.rows(torch.zeros(len(part_SL), dtype=torch.long))
            scores.append(view_log_probs(model, rows, View(part_SL), mask_token_id).double())
    return masked_SL, torch.cat(scores)


def exact_elbo(
    model: PreTrainedModel,
    batch: CompletionBatch,
    mask_token_id: int,
    low: float = 0.0,
    high: float = 1.0,
) -> Tensor:
    """Each token's term of the ELBO, without sampling error.

        ELBO_k = 1 / (high - low) * integral over t from low to high of
                 sum over sets h with k of t^(|h| - 1) * (1 - t)^(n - |h|) * log p(x_k | h masked)

    which over (0, 1) is the mean of log p(x_k) over all orders in which the completion can be
    written, one token at a time (LLaDA, arXiv 2502.09992, appendix A; Ou et al., arXiv
    2406.03736). It is what `monte_carlo` and `stratified_t` estimate over the same times.

    Args:
        model: a bidirectional causal-LM module.
        batch: B completions of at most 16 canvas positions each.
        mask_token_id: the mask token.
        low: smallest time.
        high: largest time.

    Returns:
        float64 `[B, L]`, 0 at padding.

    Raises:
        BadData: for a longer completion.
    """
    rows = []
    for row in range(len(batch.completion_ids)):
        completion = batch.rows(slice(row, row + 1))
        masked_SL, scores_SL = subset_scores(model, completion, mask_token_id)
        weights = _set_weights(int(completion.context_mask.sum()), low, high)
        weights_S = torch.from_numpy(weights).to(scores_SL.device)[masked_SL.sum(1)]
        rows.append((weights_S[:, None] * scores_SL).sum(0))
    return torch.stack(rows)


def _set_weights(count: int, low: float, high: float) -> np.ndarray:
    """The mean over t of t^(m - 1) * (1 - t)^(count - m), for set sizes m = 0 ... count."""
    # The integrand is a polynomial of degree count - 1: Gauss's rule gives it exactly.
    nodes, masses = np.polynomial.legendre.leggauss(count // 2 + 1)
    t = low + (high - low) * (nodes + 1) / 2
    sizes = np.arange(count + 1)[:, None]
    powers = np.where(sizes > 0, t ** np.maximum(sizes - 1, 0) * (1 - t) ** (count - sizes), 0.0)
    return powers @ masses / 2
