from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.model.positions import position_ids
from diffucoder.model.projection import aligned_states, logits, token_log_probs

VOCABULARY = 13


@pytest.fixture
def rows() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Input, targets, where to score and attention mask of three rows, one padded on the left."""
    generator = torch.Generator().manual_seed(0)
    input_BL, targets_BL = torch.randint(VOCABULARY, (2, 3, 7), generator=generator)
    where_BL = torch.rand(3, 7, generator=generator) < 0.5
    attended_BL = torch.ones(3, 7, dtype=torch.bool)
    attended_BL[1, :2] = where_BL[1, :3] = False
    where_BL[:, 0] = False
    return input_BL, targets_BL, where_BL, attended_BL


def plain(
    model: PreTrainedModel, input_BL: Tensor, targets_BL: Tensor, attended_BL: Tensor
) -> Tensor:
    """log p of every target, from the logits of every position."""
    positions_BL = position_ids(attended_BL)
    output = model(input_BL, attention_mask=attended_BL, position_ids=positions_BL)
    logits_BLV = output.logits[:, :-1].float().log_softmax(-1)
    scores_BL = logits_BLV.gather(2, targets_BL[:, 1:, None])[..., 0]
    return torch.cat([torch.zeros(len(scores_BL), 1), scores_BL], dim=1)


def scores(
    model: PreTrainedModel,
    input_BL: Tensor,
    targets_BL: Tensor,
    where_BL: Tensor,
    attended_BL: Tensor | None = None,
) -> Tensor:
    """log p of the targets where asked: `[N]`."""
    positions_BL = None if attended_BL is None else position_ids(attended_BL)
    states_BLD = aligned_states(model, input_BL, attended_BL, positions_BL)
    return token_log_probs(model, states_BLD[where_BL], targets_BL[where_BL])


def test_equals_the_full_log_softmax_where_asked(
    make_model: Callable[..., PreTrainedModel], rows: tuple[Tensor, ...]
) -> None:
    model = make_model(VOCABULARY)
    input_BL, targets_BL, where_BL, attended_BL = rows
    scores_N = scores(model, input_BL, targets_BL, where_BL, attended_BL)
    expected_BL = plain(model, input_BL, targets_BL, attended_BL)
    assert scores_N.dtype == torch.float32
    torch.testing.assert_close(scores_N, expected_BL[where_BL])


def test_gradient_equals_that_of_the_full_form(
    make_model: Callable[..., PreTrainedModel], rows: tuple[Tensor, ...]
) -> None:
    model = make_model(VOCABULARY)
    input_BL, targets_BL, where_BL, attended_BL = rows
    weights_BL = torch.randn(where_BL.shape, generator=torch.Generator().manual_seed(1))

    def gradients(scores_N: Tensor) -> list[Tensor]:
        model.zero_grad()
        (weights_BL[where_BL] * scores_N).sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    sparse = scores(model, input_BL, targets_BL, where_BL, attended_BL)
    full = plain(model, input_BL, targets_BL, attended_BL)[where_BL]
    for got, expected in zip(gradients(sparse), gradients(full), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_log_softmax_of_a_half_precision_model_runs_in_float32(
    make_model: Callable[..., PreTrainedModel], rows: tuple[Tensor, ...]
) -> None:
    model = make_model(VOCABULARY, dtype=torch.bfloat16)
    input_BL, targets_BL, where_BL, _ = rows
    with torch.no_grad():
        scores_N = scores(model, input_BL, targets_BL, where_BL)
        logits_NV = logits(model, aligned_states(model, input_BL)[where_BL])
    targets_N1 = targets_BL[where_BL][:, None]
    exact_N = logits_NV.double().log_softmax(-1).gather(1, targets_N1)[:, 0]
    rounded_N = logits_NV.log_softmax(-1).gather(1, targets_N1)[:, 0].double()
    assert logits_NV.dtype == torch.bfloat16
    assert (scores_N - exact_N).abs().max() < 1e-5
    assert (rounded_N - exact_N).abs().max() > 1e-3


def test_vocabulary_projection_sees_the_asked_positions_alone(
    make_model: Callable[..., PreTrainedModel], rows: tuple[Tensor, ...]
) -> None:
    model = make_model(VOCABULARY)
    input_BL, targets_BL, where_BL, _ = rows
    seen = []
    hook = model.get_output_embeddings().register_forward_hook(
        lambda module, args, output: seen.append(output.shape)
    )
    scores(model, input_BL, targets_BL, where_BL)
    hook.remove()
    assert seen == [(int(where_BL.sum()), VOCABULARY)]


def test_nothing_asked_gives_nothing(
    make_model: Callable[..., PreTrainedModel], rows: tuple[Tensor, ...]
) -> None:
    input_BL, targets_BL, where_BL, _ = rows
    assert not len(scores(make_model(VOCABULARY), input_BL, targets_BL, where_BL & False))
