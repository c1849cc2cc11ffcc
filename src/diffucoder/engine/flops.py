"""Model FLOP utilisation: the share of a device's peak that goes into the model's own arithmetic.

Counted as in PaLM (Chowdhery et al., arXiv 2204.02311, appendix B): two operations for each weight
of a matrix and token, two products of attention, three times that with the backward pass.
Activations that are computed again do not count.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Dense bf16 operations per second by part of the device's name, from the makers' data sheets.
PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
}


def peak(device: torch.device) -> float | None:
    """The device's bf16 peak in operations per second; None on a CPU or an unknown GPU."""
    if device.type != "cuda":
        return None
    return peak_of(torch.cuda.get_device_name(device))


def peak_of(name: str) -> float | None:
    """The bf16 peak of a device called `name`, in operations per second, or None if unknown."""
    words = name.replace("-", " ").split()
    known = [key for key in PEAKS if set(key.split()) <= set(words)]
    return PEAKS[max(known, key=len)] if known else None


def of_forward(rows: int, length: int, weights: float, width: float) -> float:
    """Operations of one forward and backward pass.

    Args:
        rows: rows of the batch.
        length: tokens per row.
        weights: what `body_weights` gives: each takes part in a forward pass and in the backward
            pass's two products.
        width: what `attention_width` gives.
    """
    return 6 * weights * rows * length + 12 * width * rows * length**2


def body_weights(model: "PreTrainedModel") -> float:
    """Weights of the body's matrices, those that are not trained as two thirds.

    A weight without a gradient of its own takes part in two products of three.
    """
    matrices = [
        weight
        for module in model.get_decoder().modules()
        if not isinstance(module, nn.Embedding)
        for weight in module.parameters(recurse=False)
        if weight.dim() == 2
    ]
    return sum(w.numel() * (1.0 if w.requires_grad else 2 / 3) for w in matrices)


def attention_width(model: "PreTrainedModel") -> int:
    """Channels of all heads of all layers."""
    config = model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_hidden_layers * config.num_attention_heads * head


class Counter:
    """Adds up the operations of training passes through a model's body.

    The head is left out: it runs at the positions of the loss alone, in ways of its own.
    Passes without gradient (sampling, scoring) are left out as well.
    """

    def __init__(self, model: "PreTrainedModel") -> None:
        self.done = 0.0
        # Counted here, since ZeRO-3 leaves empty weights between passes.
        self._weights, self._width = body_weights(model), attention_width(model)
        model.get_decoder().register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            tokens_BL = named["input_ids"] if "input_ids" in named else arguments[0]
            rows, length = tokens_BL.shape
            self.done += of_forward(rows, length, self._weights, self._width)
