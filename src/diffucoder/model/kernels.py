"""Attention kernels that keep documents apart by their lengths instead of a mask.

A mask of packed rows has B * L * L entries, and shuts out the fastest kernels. Those take all
rows laid end to end and where each document begins. They know bidirectional attention within a
document and no other pattern: everything else runs on torch's `scaled_dot_product_attention`.

Shapes: B rows, L positions, T = B * L, S segments, H query heads, G key and value heads, D
channels of a head.
"""

import inspect
import logging
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from diffucoder.model.attention import document_mask

Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, int, float], Tensor]

# Values of `engine.attention`, and the names under which transformers knows these kernels. A name
# with "flash" in it would make transformers look for kernels of its own.
NAMES = {"varlen": "documents_varlen", "flash": "documents_fa2"}


class Segments(NamedTuple):
    """Runs of positions that attend to themselves alone, all rows laid end to end.

    Attributes:
        cu_seqlens: int32 `[S + 1]`, where each begins, and T.
        max_seqlen: positions of the longest.
    """

    cu_seqlens: Tensor
    max_seqlen: int


def segments(document_ids_BL: Tensor) -> Segments:
    """The documents of packed rows; a row's filler is one more.

    Args:
        document_ids_BL: the document of each position, equal ids side by side, -1 on filler.
    """
    begins_BL = torch.ones_like(document_ids_BL, dtype=torch.bool)
    begins_BL[:, 1:] = document_ids_BL[:, 1:] != document_ids_BL[:, :-1]
    starts_S = begins_BL.flatten().nonzero()[:, 0].int()
    cu_seqlens = nn.functional.pad(starts_S, (0, 1), value=begins_BL.numel())
    return Segments(cu_seqlens, int(cu_seqlens.diff().max()))


def document_attention(model: PreTrainedModel, document_ids_BL: Tensor) -> Tensor | Segments:
    """Bidirectional attention within each document, in the form that the model's kernel takes.

    Args:
        model: a bidirectional causal-LM module of transformers.
        document_ids_BL: as in `segments`.
    """
    if model.config._attn_implementation in NAMES.values():
        return segments(document_ids_BL)
    return document_mask(document_ids_BL)


def forward_inputs(model: PreTrainedModel, attention: Tensor | Segments | None) -> dict[str, Any]:
    """The arguments that make a transformers body attend as `attention` says.

    Args:
        model: a causal-LM module of transformers.
        attention: as in `projection.aligned_states`.
    """
    if isinstance(attention, Segments):
        cu_seqlens, max_seqlen = attention
        return {
            "cu_seq_lens_q": cu_seqlens,
            "cu_seq_lens_k": cu_seqlens,
            "max_length_q": max_seqlen,
            "max_length_k": max_seqlen,
        }
    if attention is not None and attention.dim() == 4:
        warn_that_masks_run_on_sdpa(model.config._attn_implementation)
    return {"attention_mask": attention}


@cache
def warn_that_masks_run_on_sdpa(implementation: str) -> None:
    """Say once per kernel that a pattern of its own makes attention run on sdpa.

    Args:
        implementation: Name of the model's kernel, as transformers knows it.
    """
    for kernel, name in NAMES.items():
        if name == implementation:
            logging.getLogger(__name__).warning(
                "attention kernel %r takes no mask such as that of annealed or causal attention: "
                "steps with one run on sdpa",
                kernel,
            )


def attention_by(kernel: Kernel) -> Callable[..., tuple[Tensor, None]]:
    """An attention function of transformers: `kernel` where segments are given, else sdpa.

    Args:
        kernel: `kernel(query_THD, key_TGD, value_TGD, cu_seqlens, max_seqlen, scale)`, which gives
            `[T, H, D]`.
    """

    def attend(
        module: nn.Module,
        query_BHLD: Tensor,
        key_BGLD: Tensor,
        value_BGLD: Tensor,
        attention_mask: Tensor | None,
        scaling: float,
        cu_seq_lens_q: Tensor | None = None,
        max_length_q: int | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        states = query_BHLD, key_BGLD, value_BGLD
        if cu_seq_lens_q is None:
            return sdpa_attention_forward(
                module, *states, attention_mask, scaling=scaling, **kwargs
            )
        # Under autocast the rotation leaves queries and keys in float32.
        laid_out = [
            part.transpose(1, 2).flatten(0, 1).to(value_BGLD.dtype).contiguous() for part in states
        ]
        output_THD = kernel(*laid_out, cu_seq_lens_q, max_length_q, scaling)
        rows, _, length, _ = query_BHLD.shape
        return output_THD.unflatten(0, (rows, length)), None

    return attend


def _flash(
    query_THD: Tensor,
    key_TGD: Tensor,
    value_TGD: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    scale: float,
) -> Tensor:
    from flash_attn import flash_attn_varlen_func

    return flash_attn_varlen_func(
        query_THD,
        key_TGD,
        value_TGD,
        cu_seqlens,
        cu_seqlens,
        max_seqlen,
        max_seqlen,
        softmax_scale=scale,
        causal=False,
    )


def _varlen(
    query_THD: Tensor,
    key_TGD: Tensor,
    value_TGD: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    scale: float,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    options: dict[str, Any] = {"scale": scale}
    groups = query_THD.shape[1] // key_TGD.shape[1]
    if "enable_gqa" in inspect.signature(varlen_attn).parameters:
        options["enable_gqa"] = groups > 1
    else:
        # torch 2.11 wants as many key heads as query heads.
        key_TGD, value_TGD = (
            part.repeat_interleave(groups, dim=1) for part in (key_TGD, value_TGD)
        )
    return varlen_attn(
        query_THD, key_TGD, value_TGD, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen, **options
    )


def register() -> None:
    """Make the kernels known to transformers under `NAMES`; to do so twice changes nothing.

    The packages that the kernels come from are imported when the kernels first run.
    """
    for name, kernel in {"varlen": _varlen, "flash": _flash}.items():
        AttentionInterface.register(NAMES[name], attention_by(kernel))
        AttentionMaskInterface.register(NAMES[name], sdpa_mask)
