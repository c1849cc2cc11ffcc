"""How a model computes on this machine: which attention kernel, how many logits at once."""

import importlib.util
import inspect
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from diffucoder.config.training import Attention, EngineParams
from diffucoder.errors import BadParameters
from diffucoder.model import kernels
from diffucoder.model.projection import limit_logits


@dataclass(frozen=True)
class Machine:
    """What attention kernels depend on.

    Attributes:
        ampere: whether there is a CUDA device of compute capability 8.0 or above.
        half: whether the model computes in half precision.
        flash_attn: whether the package flash-attn is installed.
        torch_varlen: whether torch has `torch.nn.attention.varlen` with a scale.
    """

    ampere: bool
    half: bool
    flash_attn: bool
    torch_varlen: bool


def configure(model: PreTrainedModel, engine: EngineParams, device: torch.device) -> str:
    """Set a model's attention kernel and memory for logits, in place.

    Args:
        model: a causal-LM module of transformers.
        engine: `attention`, `logits_mib` and `precision` are read.
        device: where the model will compute.

    Returns:
        One line that says which kernel was chosen, and why.

    Raises:
        BadParameters: if the kernel that `engine` names cannot run here.
    """
    limit_logits(model, engine.logits_mib)
    kernel, reason = choose(engine.attention, machine(device, engine.precision == "bf16"))
    model.set_attn_implementation(kernels.NAMES.get(kernel, kernel))
    return f"attention: {kernel} ({reason})"


def machine(device: torch.device, half: bool) -> Machine:
    """Look at this machine.

    Args:
        device: where the model will compute.
        half: whether it computes in half precision.
    """
    return Machine(
        ampere=device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0),
        half=half,
        flash_attn=importlib.util.find_spec("flash_attn") is not None,
        torch_varlen=_torch_has_varlen(),
    )


def choose(wanted: Attention, here: Machine) -> tuple[str, str]:
    """The attention kernel for document-separated bidirectional rows.

    Args:
        wanted: a kernel, or `auto`: flash, else varlen, else sdpa with a mask.
        here: the machine.

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


def _obstacle(kernel: str, here: Machine) -> str | None:
    if kernel == "sdpa":
        return None
    if not here.ampere:
        return "there is no GPU of compute capability 8.0 or above"
    if not here.half:
        return "it computes in half precision, and engine.precision is fp32"
    if kernel == "flash" and not here.flash_attn:
        return "flash-attn is not installed (pip install 'diffucoder[flash]')"
    if kernel == "varlen" and not here.torch_varlen:
        return f"torch {torch.__version__} lacks torch.nn.attention.varlen (2.11 brings it)"
    return None


def _torch_has_varlen() -> bool:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    return "scale" in inspect.signature(varlen_attn).parameters
