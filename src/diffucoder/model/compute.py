"""How a model computes on this machine: which attention kernel."""

import inspect
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from diffucoder.config.engine import Attention, EngineParams
from diffucoder.errors import BadParameters
from diffucoder.imports import load_object
from diffucoder.model import kernels


@dataclass(frozen=True)
class Conditions:
    """What attention kernels depend on.

    Attributes:
        ampere: whether there is a CUDA device of compute capability 8.0 or above.
        half: whether the model computes in half precision.
        dropout: whether the model's config drops attention weights in training.
        flash_attn: whether the package flash-attn can be imported.
        torch_varlen: whether torch has `torch.nn.attention.varlen` with a scale.
    """

    ampere: bool
    half: bool
    dropout: bool
    flash_attn: bool
    torch_varlen: bool


def configure(model: PreTrainedModel, engine: EngineParams, device: torch.device) -> str:
    """Set a model's attention kernel, in place.

    Args:
        model: a causal-LM module of transformers.
        engine: `attention` and `precision` are read.
        device: where the model will compute.

    Returns:
        One line that says which kernel was chosen, and why.

    Raises:
        BadParameters: if the kernel that `engine` names cannot run here.
    """
    kernel, reason = choose(engine.attention, conditions(model, engine.precision == "bf16", device))
    kernels.register()
    model.set_attn_implementation(kernels.NAMES.get(kernel, kernel))
    return f"attention: {kernel} ({reason})"


def conditions(model: PreTrainedModel, half: bool, device: torch.device) -> Conditions:
    """Look at this machine and at the model.

    Args:
        model: a causal-LM module of transformers.
        half: whether it computes in half precision.
        device: where it will compute.
    """
    ampere = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return Conditions(
        ampere=ampere,
        half=half,
        dropout=getattr(model.config, "attention_dropout", 0.0) > 0,
        # An installed flash-attn may have been built for another torch, or want CUDA at once.
        flash_attn=ampere and _takes("flash_attn", "flash_attn_varlen_func", "softmax_scale"),
        torch_varlen=_takes("torch.nn.attention.varlen", "varlen_attn", "scale"),
    )


def choose(wanted: Attention, here: Conditions) -> tuple[str, str]:
    """The attention kernel for document-separated bidirectional rows.

    Args:
        wanted: a kernel, or `auto`: flash, else varlen, else sdpa with a mask.
        here: what the kernels depend on.

    Returns:
        `sdpa`, `varlen` or `flash`, and the reason.

    Raises:
        BadParameters: if a kernel is asked for that cannot run here.
    """
    obstacles = {name: _obstacle(name, here) for name in ("flash", "varlen", "sdpa")}
    if wanted == "auto":
        kernel = next(name for name, obstacle in obstacles.items() if obstacle is None)
        reasons = {why for why in obstacles.values() if why is not None}
        passed_over = [
            f"not {' or '.join(name for name in obstacles if obstacles[name] == why)}: {why}"
            for why in sorted(reasons)
        ]
        return kernel, "; ".join(["the fastest that runs here", *passed_over])
    if (obstacle := obstacles[wanted]) is not None:
        raise BadParameters(
            f"engine.attention is {wanted!r}, but {obstacle}: set it to auto, or to sdpa"
        )
    return wanted, "as engine.attention says"


def _obstacle(kernel: str, here: Conditions) -> str | None:
    if kernel == "sdpa":
        return None
    if not here.ampere:
        return "there is no GPU of compute capability 8.0 or above"
    if not here.half:
        return "it computes in half precision, and engine.precision is fp32"
    if here.dropout:
        return "it drops no attention weights, and the model's attention_dropout is above 0"
    if kernel == "flash" and not here.flash_attn:
        return "flash-attn cannot be imported (pip install 'diffucoder[flash]')"
    if kernel == "varlen" and not here.torch_varlen:
        return f"torch {torch.__version__} lacks torch.nn.attention.varlen (2.11 brings it)"
    return None


def _takes(module: str, function: str, parameter: str) -> bool:
    try:
        found = load_object(f"{module}.{function}", "attention kernel")
    except BadParameters:
        return False
    return parameter in inspect.signature(found).parameters
