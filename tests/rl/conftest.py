"""Models and batches for tests of the estimators."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.rl.batch import CompletionBatch

VOCABULARY, MASK, PAD = 13, 12, 11


@pytest.fixture
def model(make_model: Callable[..., PreTrainedModel]) -> PreTrainedModel:
    return make_model(VOCABULARY)


@pytest.fixture
def make_batch() -> Callable[..., CompletionBatch]:
    return random_batch


def random_batch(
    prompts: list[int], completions: list[int], seed: int = 0, left: int = 0, right: int = 0
) -> CompletionBatch:
    """Completions of the given lengths; `left` and `right` add columns of padding.

    Padding holds arbitrary tokens, since nobody may look at it, and the real tokens do not
    depend on how much of it there is.
    """
    width, length = max(prompts) + left, max(completions) + right
    noise = torch.Generator().manual_seed(left * 100 + right + 1)
    sizes = (len(prompts), width), (len(prompts), length)
    prompt_BQ, completion_BL = (torch.randint(PAD, size, generator=noise) for size in sizes)
    prompt_mask_BQ = torch.zeros(sizes[0], dtype=torch.bool)
    completion_mask_BL = torch.zeros(sizes[1], dtype=torch.bool)
    for row, (asked, written) in enumerate(zip(prompts, completions, strict=True)):
        tokens = torch.Generator().manual_seed(seed + 1000 * row)
        prompt_BQ[row, width - asked :] = torch.randint(PAD, (asked,), generator=tokens)
        prompt_mask_BQ[row, width - asked :] = True
        completion_BL[row, :written] = torch.randint(PAD, (written,), generator=tokens)
        completion_mask_BL[row, :written] = True
    return CompletionBatch(prompt_BQ, prompt_mask_BQ, completion_BL, completion_mask_BL)


@pytest.fixture
def make_bigram(
    make_model: Callable[..., PreTrainedModel],
) -> Callable[[Tensor], PreTrainedModel]:
    """Makes a model that looks at one token, the one before, from log probabilities `[V, V]`."""

    def make(bigram_VV: Tensor) -> PreTrainedModel:
        model = make_model(len(bigram_VV))
        with torch.no_grad():
            for layer in model.base_model.layers:
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()
            # One-hot embeddings; the norm scales them to 4 = sqrt(16), its weights back to 1.
            model.base_model.norm.weight.fill_(1 / 4)
            torch.nn.init.eye_(model.get_input_embeddings().weight)
            model.get_output_embeddings().weight.zero_()[:, : len(bigram_VV)] = bigram_VV.T
        return model

    return make


@pytest.fixture
def views_of(model: PreTrainedModel) -> Callable[..., list[Tensor]]:
    """Runs a function and returns what the model was shown, one `[B, T]` a forward pass."""

    def watch(score: Callable[[], object]) -> list[Tensor]:
        shown: list[Tensor] = []
        hook = model.base_model.register_forward_pre_hook(
            lambda module, args, kwargs: shown.append(kwargs["input_ids"]), with_kwargs=True
        )
        score()
        hook.remove()
        return shown

    return watch


@pytest.fixture
def score_row(model: PreTrainedModel) -> Callable[..., list[float]]:
    """log p of the hidden tokens of one completion, token by token, without any padding."""

    def score(prompt: list[int], completion: list[int], hidden: list[bool]) -> list[float]:
        noised = [MASK if h else token for h, token in zip(hidden, completion, strict=True)]
        with torch.no_grad():
            logits_TV = model(torch.tensor([prompt + noised])).logits[0].double()
        return [
            logits_TV[len(prompt) + place - 1].log_softmax(-1)[token].item() if h else 0.0
            for place, (token, h) in enumerate(zip(completion, hidden, strict=True))
        ]

    return score
