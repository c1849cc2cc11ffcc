"""Low-rank adaptation (Hu et al., arXiv 2106.09685) through peft.

Adapters are put into the model where it stands, so that the model keeps its class and its parts;
what is saved as a checkpoint has them added to the weights and is a plain model again.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffucoder.config.training import LoraParams
from diffucoder.errors import BadCheckpoint, BadParameters

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER = "default"


def add(model: "PreTrainedModel", params: LoraParams, generator: torch.Generator) -> None:
    """Freeze the weights and put trainable adapters beside them, in place.

    The model's outputs are unchanged until the first update: one factor of each adapter is 0.

    Args:
        model: a causal-LM module of transformers.
        params: rank, scale, and the modules meant.
        generator: source of the other factor, on the CPU.

    Raises:
        BadParameters: if the model has no module of a name that `params` gives.
    """
    from peft import LoraConfig, inject_adapter_in_model

    known = {part for name, _ in model.named_modules() for part in name.split(".")}
    if unknown := sorted({*params.target_modules, *params.modules_to_save} - known):
        raise BadParameters(f"lora: the model has no modules {unknown}; it has {sorted(known)}")
    config = LoraConfig(
        r=params.r,
        lora_alpha=params.lora_alpha,  # pyright: ignore[reportArgumentType] (any number works)
        target_modules=params.target_modules,
    )
    inject_adapter_in_model(config, model, ADAPTER)
    for name, weight in model.named_parameters():
        if set(params.modules_to_save) & set(name.split(".")):
            weight.requires_grad_(True)
        if "lora_A" in name:
            # As torch draws a linear layer's weights; peft takes the global generator.
            bound = 1 / math.sqrt(weight.shape[1])
            with torch.no_grad():
                weight.uniform_(-bound, bound, generator=generator)


def trained(model: "PreTrainedModel") -> dict[str, Tensor]:
    """Weights that get gradients, by name: with adapters those, without any all of them."""
    return {name: w.detach() for name, w in model.named_parameters() if w.requires_grad}


def restore(model: "PreTrainedModel", weights: Mapping[str, Tensor]) -> None:
    """Give a model the weights that `trained` took from one like it.

    Args:
        model: the model to change, in place.
        weights: what `trained` gave.

    Raises:
        BadCheckpoint: if they are not just those that get gradients here.
    """
    if odd := sorted(trained(model).keys() ^ weights.keys()):
        raise BadCheckpoint(
            f"weights of another model: {odd[0]!r} and {len(odd) - 1} more are trained in one of "
            "the two alone; remove the saves of the run to start anew"
        )
    # Not strict: frozen weights are not among them, and tied ones are there once.
    model.load_state_dict(weights, strict=False)


def merged(model: "PreTrainedModel") -> dict[str, Tensor] | None:
    """The state dict of the plain model with adapters added to the weights; None without any.

    The model is not touched: adding and subtracting would round its weights.
    """
    from peft.tuners.lora import LoraLayer

    # Only some of peft's kinds of layers declare what all that are used here have.
    adapted: dict[str, Any] = {
        name: part for name, part in model.named_modules() if isinstance(part, LoraLayer)
    }
    if not adapted:
        return None
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        layer, _, leaf = name.partition(".base_layer.")
        if leaf == "weight":
            delta = adapted[layer].get_delta_weight(ADAPTER)
            state[f"{layer}.{leaf}"] = (value.float() + delta.float()).to(value.dtype)
        elif leaf:
            state[f"{layer}.{leaf}"] = value
        elif ".lora_" not in name:
            state[name] = value
    return state
