"""The masked diffusion loss.

Shapes: B rows, L positions, D hidden width, V vocabulary, N masked positions.
"""

from torch import Tensor, nn
from transformers import PreTrainedModel

from diffucoder.config.engine import LOGITS_MIB
from diffucoder.diffusion.weights import inverse_time
from diffucoder.loss import LossOutput, Metrics
from diffucoder.model import chunked
from diffucoder.model.projection import chunk_for, head, logits


def masked_diffusion_loss(
    logits_BLV: Tensor,
    tokens_BL: Tensor,
    masked_BL: Tensor,
    t_B: Tensor,
    denominator: float | Tensor,
) -> LossOutput:
    """The weighted cross-entropy at masked positions, over a denominator.

    L = (1 / denominator) * sum over rows (1/t) * sum over masked i of -log p(x_i | x_t), the
    negative evidence lower bound of masked diffusion (LLaDA, arXiv 2502.09992, eq. 3).

    Args:
        logits_BLV: aligned logits: index i predicts token i.
        tokens_BL: the clean tokens.
        masked_BL: bool, the positions that were masked.
        t_B: the time of each row, in (0, 1].
        denominator: what the sum is divided by; give the number of maskable tokens of the whole
            global batch, so that accumulation and ranks change nothing.

    Returns:
        The loss and the metrics of `masked_cross_entropy`.
    """
    weights_BL = inverse_time(masked_BL, t_B)
    return masked_cross_entropy(
        logits_BLV[masked_BL], tokens_BL[masked_BL], weights_BL[masked_BL], denominator
    )


def masked_cross_entropy(
    logits_NV: Tensor, targets_N: Tensor, weights_N: Tensor, denominator: float | Tensor
) -> LossOutput:
    """The same loss from the logits of the masked positions alone.

    Args:
        logits_NV: logits at the masked positions.
        targets_N: their clean tokens.
        weights_N: their weights: 1/t, or CART's.
        denominator: as in `masked_diffusion_loss`.

    Returns:
        The loss, and metrics as sums, for exact means over micro-batches and ranks:
        `cross_entropy` (nats), `correct` and `masked` (counts).
    """
    losses_N = nn.functional.cross_entropy(logits_NV.float(), targets_N, reduction="none")
    loss = (weights_N * losses_N).sum() / denominator
    return LossOutput(loss, _sums(losses_N, logits_NV.detach().argmax(-1) == targets_N))


def projected_loss(
    model: PreTrainedModel,
    states_BLD: Tensor,
    targets_BL: Tensor,
    where_BL: Tensor,
    weights_BL: Tensor,
    denominator: float | Tensor,
    logits_mib: float = LOGITS_MIB,
) -> LossOutput:
    """`masked_cross_entropy` from hidden states, within a given memory.

    Args:
        model: a causal-LM module of transformers.
        states_BLD: aligned last hidden states.
        targets_BL: the clean tokens.
        where_BL: bool, the positions to predict.
        weights_BL: the weight of each.
        denominator: as in `masked_diffusion_loss`.
        logits_mib: memory for logits and what the loss computes from them, in MiB; what does not
            fit is done in chunks.

    Returns:
        As `masked_cross_entropy`.
    """
    states_ND, targets_N = states_BLD[where_BL], targets_BL[where_BL]
    weights_N = weights_BL[where_BL]
    chunk = chunk_for(model.config.vocab_size, len(targets_N), logits_mib)
    if chunk is None:
        return masked_cross_entropy(logits(model, states_ND), targets_N, weights_N, denominator)
    loss, losses_N, correct_N = chunked.weighted_cross_entropy(
        head(model, states_ND), targets_N, weights_N / denominator, chunk
    )
    return LossOutput(loss, _sums(losses_N, correct_N))


def _sums(losses_N: Tensor, correct_N: Tensor) -> Metrics:
    return {
        "cross_entropy": losses_N.detach().sum(),
        "correct": correct_N.sum(),
        "masked": correct_N.new_tensor(correct_N.numel(), dtype=losses_N.dtype),
    }
