from collections.abc import Callable, Iterator

import pytest
import torch
from tiny_vocabulary import CONTEXT, VOCABULARY
from torch import Tensor, nn
from transformers import PreTrainedModel


@pytest.fixture(scope="module")
def model(make_model: Callable[..., PreTrainedModel]) -> PreTrainedModel:
    """In float64: rows of a batch round alike there, whatever its size."""
    return make_model(VOCABULARY, context=CONTEXT)


@pytest.fixture
def biased(model: PreTrainedModel) -> Iterator[Callable[[int], PreTrainedModel]]:
    """`biased(token)` is the model, made to want that token everywhere."""
    hooks: list[torch.utils.hooks.RemovableHandle] = []

    def bias(token: int) -> PreTrainedModel:
        def prefer(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
            output[..., token] += 100
            return output

        hooks.append(model.get_output_embeddings().register_forward_hook(prefer))
        return model

    yield bias
    for hook in hooks:
        hook.remove()


@pytest.fixture
def queries(model: PreTrainedModel) -> Iterator[list[torch.Size]]:
    """The shapes `[B, Q]` of what the model is asked to compute, as it goes."""
    shapes: list[torch.Size] = []

    def note(module: nn.Module, args: tuple, options: dict[str, Tensor]) -> None:
        shapes.append(options["input_ids"].shape)

    hook = model.base_model.register_forward_pre_hook(note, with_kwargs=True)
    yield shapes
    hook.remove()
