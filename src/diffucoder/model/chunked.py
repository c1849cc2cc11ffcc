"""Cross-entropy over a large vocabulary, a chunk of positions at a time.

The logits of a batch would outweigh everything else in memory, and so would their gradient. But
the gradient of a position's loss with respect to its logits is softmax - onehot, times what the
loss weighs: it is known as soon as the logits are. So a chunk's logits become its gradient in
place, are multiplied into the gradients of states and head, and are dropped.

Shapes: N positions, C positions of a chunk, D hidden width, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx


class Head(NamedTuple):
    """What the logits are made of.

    Attributes:
        states: last hidden states, `[N, D]`.
        weight: weight of the output embedding, `[V, D]`.
        bias: its bias, `[V]`, if it has one.
    """

    states: Tensor
    weight: Tensor
    bias: Tensor | None


class ChunkedLoss(NamedTuple):
    """Losses of all positions, and gradients of what they are made of.

    Attributes:
        losses: `[N]`, in nats.
        correct: bool `[N]`, whether the target is the likeliest token.
        gradients: gradients of the `Head`'s states, weight and bias; None where not needed.
    """

    losses: Tensor
    correct: Tensor
    gradients: tuple[Tensor | None, Tensor | None, Tensor | None]


def cross_entropy(head: Head, targets_N: Tensor, chunk: int) -> Tensor:
    """-log p(target) at each position, in nats: `[N]`, in float32 at least.

    The backward pass computes the logits once more, since it alone knows their weights.

    Args:
        head: states and output embedding, of one precision.
        targets_N: tokens.
        chunk: positions whose logits are held together.
    """
    return _Losses.apply(*head, targets_N, chunk)


def weighted_cross_entropy(
    head: Head, targets_N: Tensor, weights_N: Tensor, chunk: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of `weights_N * cross_entropy`, differentiable in `head` alone.

    With the weights at hand the gradients are made while the logits are there, so nothing is
    computed twice.

    Args:
        head: as in `cross_entropy`.
        targets_N: tokens.
        weights_N: weight of each position in the sum.
        chunk: as in `cross_entropy`.

    Returns:
        The sum; and without gradient the losses `[N]` and, bool `[N]`, whether the target is the
        likeliest token.
    """
    if torch.is_grad_enabled():
        return _WeightedSum.apply(*head, targets_N, weights_N, chunk)
    result = _forward_backward(head, targets_N, chunk)
    return (weights_N * result.losses).sum(), result.losses, result.correct


class _Losses(Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        states_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        chunk: int,
    ) -> Tensor:
        ctx.save_for_backward(states_ND, weight_VD, bias_V, targets_N)
        ctx.chunk = chunk
        return _forward_backward(Head(states_ND, weight_VD, bias_V), targets_N, chunk).losses

    @staticmethod
    def backward(ctx: Any, grad_output_N: Tensor) -> tuple[Tensor | None, ...]:
        *head, targets_N = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        result = _forward_backward(Head(*head), targets_N, ctx.chunk, grad_output_N, wanted)
        return *result.gradients, None, None


class _WeightedSum(Function):
    @staticmethod
    def forward(
        ctx: Any,
        states_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        weights_N: Tensor,
        chunk: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        head = Head(states_ND, weight_VD, bias_V)
        result = _forward_backward(head, targets_N, chunk, weights_N, ctx.needs_input_grad[:3])
        ctx.save_for_backward(*result.gradients)
        ctx.mark_non_differentiable(result.losses, result.correct)
        return (weights_N * result.losses).sum(), result.losses, result.correct

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        # In place: the head's gradient is as large as the head.
        scaled = [None if saved is None else saved.mul_(grad_output) for saved in ctx.saved_tensors]
        return *scaled, None, None, None


@torch.no_grad()
def _forward_backward(
    head: Head,
    targets_N: Tensor,
    chunk: int,
    grad_output_N: Tensor | None = None,
    wanted: tuple[bool, ...] = (False, False, False),
) -> ChunkedLoss:
    """Walk over the positions.

    Args:
        head: as in `cross_entropy`.
        targets_N: tokens.
        chunk: as in `cross_entropy`.
        grad_output_N: derivative of whatever is differentiated with respect to each loss; None
            makes no gradient.
        wanted: which gradients to make: of states, weight, bias.
    """
    states_ND, weight_VD, bias_V = head
    wide = torch.promote_types(states_ND.dtype, torch.float32)
    losses_N = states_ND.new_empty(len(states_ND), dtype=wide)
    correct_N = torch.empty_like(targets_N, dtype=torch.bool)
    grad_states_ND = torch.empty_like(states_ND) if wanted[0] else None
    # Chunks are added up in float32, as the plain form's one product does inside.
    grad_weight_VD = torch.zeros_like(weight_VD, dtype=wide) if wanted[1] else None
    grad_bias_V = torch.zeros_like(bias_V, dtype=wide) if wanted[2] else None
    # Autocast would round anew what the caller has already rounded.
    with torch.autocast(states_ND.device.type, enabled=False):
        for start in range(0, len(states_ND), chunk):
            part = slice(start, start + chunk)
            logits_CV = nn.functional.linear(states_ND[part], weight_VD, bias_V).to(wide)
            targets_C1 = targets_N[part, None]
            highest_C1, likeliest_C1 = logits_CV.max(1, keepdim=True)
            logits_CV -= highest_C1
            target_C1 = logits_CV.gather(1, targets_C1)
            total_C1 = logits_CV.exp_().sum(1, keepdim=True)
            losses_N[part] = (total_C1.log() - target_C1)[:, 0]
            correct_N[part] = (likeliest_C1 == targets_C1)[:, 0]
            if grad_output_N is None:
                continue
            grad_output_C1 = grad_output_N[part, None].to(wide)
            logits_CV *= grad_output_C1 / total_C1
            logits_CV.scatter_add_(1, targets_C1, -grad_output_C1)
            grad_logits_CV = logits_CV.to(states_ND.dtype)
            if grad_states_ND is not None:
                torch.mm(grad_logits_CV, weight_VD, out=grad_states_ND[part])
            if grad_weight_VD is not None:
                _add_product(grad_weight_VD, grad_logits_CV.T, states_ND[part])
            if grad_bias_V is not None:
                grad_bias_V += logits_CV.sum(0)
    gradients = (
        grad_states_ND,
        None if grad_weight_VD is None else grad_weight_VD.to(weight_VD.dtype),
        None if grad_bias_V is None else grad_bias_V.to(bias_V.dtype),
    )
    return ChunkedLoss(losses_N, correct_N, gradients)


def _add_product(total_VD: Tensor, left_VC: Tensor, right_CD: Tensor) -> None:
    if total_VD.dtype == left_VC.dtype:
        total_VD.addmm_(left_VC, right_CD)
    else:
        total_VD += left_VC @ right_CD
