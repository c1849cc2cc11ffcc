from collections.abc import Callable

import pytest
import torch
from choices import estimator_of
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.errors import BadParameters
from diffucoder.rl import diagnostics
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.exact import exact_elbo

MASK = 12
Batches = Callable[..., CompletionBatch]


def test_noise_by_hand() -> None:
    estimates_KBL = torch.tensor([[[1.0, 2.0, 9.0]], [[3.0, 6.0, 9.0]]])
    reference_BL = torch.tensor([[1.0, 5.0, 0.0]])
    mask_BL = torch.tensor([[True, True, False]])
    tokens = diagnostics.token_noise(estimates_KBL, reference_BL, mask_BL)
    assert tokens.bias.tolist() == [((2 - 1) + (4 - 5)) / 2]
    assert tokens.variance.tolist() == [(2 + 8) / 2]
    assert tokens.squared_error.tolist() == [((0 + 4) / 2 + (9 + 1) / 2) / 2]
    whole = diagnostics.sequence_noise(estimates_KBL, reference_BL, mask_BL)
    assert whole.bias.tolist() == [(3 + 9) / 2 - 6]
    assert whole.variance.tolist() == [(9 - 3) ** 2 / 2]
    assert whole.squared_error.tolist() == [(9 + 9) / 2]


def test_an_unbiased_estimator_misses_the_exact_value_by_its_variance_alone(
    make_batch: Batches, model: PreTrainedModel
) -> None:
    batch, low, high = make_batch([2, 3], [4, 3]), 0.3, 1.0
    reference_BL = exact_elbo(model, batch, MASK, low, high)
    estimator = estimator_of("monte_carlo", mask_token_id=MASK, draws=2, low=low, high=high)
    rows = batch.rows(torch.tensor([0, 1]).repeat(64))
    drawn_KBL = diagnostics.estimates(
        estimator, model, rows, torch.Generator().manual_seed(0), count=8, forwards=4
    )
    estimates_KBL = drawn_KBL.unflatten(1, (64, 2)).flatten(0, 1)
    noise = diagnostics.sequence_noise(estimates_KBL, reference_BL, batch.completion_mask)
    assert (noise.bias.abs() < 4 * (noise.variance / 512).sqrt()).all()
    torch.testing.assert_close(
        noise.squared_error, noise.variance * 511 / 512 + noise.bias.square()
    )


def test_a_budget_pays_for_a_mean_of_calls(
    make_batch: Batches, model: PreTrainedModel, views_of: Callable[..., list[Tensor]]
) -> None:
    batch = make_batch([2], [6])
    estimator = estimator_of("coupled", mask_token_id=MASK)
    kept: list[Tensor] = []

    def draw(forwards: int) -> None:
        draws = torch.Generator().manual_seed(0)
        kept.append(
            diagnostics.estimates(estimator, model, batch, draws, count=4, forwards=forwards)
        )

    views = views_of(lambda: draw(7))
    assert len(views) == 4 * 2 * estimator.forwards
    draw(3)
    assert kept[0].shape == kept[1].shape == (4, 1, 6)
    assert len({tuple(row) for row in kept[0][:, 0].tolist()}) == 4
    with pytest.raises(BadParameters, match="budget of 2 forward passes does not pay"):
        draw(2)


def test_gradient_noise_by_hand() -> None:
    noise = diagnostics.gradient_noise(
        torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([2.0, 0.0])
    )
    assert noise.variance == pytest.approx(2 + 8)
    assert noise.relative_variance == pytest.approx(10 / (4 + 4))
    assert noise.cosine.tolist() == pytest.approx([1.0, 0.6])


def test_flat_gradient_is_in_the_order_of_the_parameters() -> None:
    first, unused, second = (torch.nn.Parameter(torch.ones(n)) for n in (2, 1, 3))
    frozen = torch.nn.Parameter(torch.ones(1), requires_grad=False)
    loss = (first * torch.tensor([1.0, 2.0])).sum() + 5 * second.sum()
    gradient_N = diagnostics.flat_gradient(loss, [first, unused, frozen, second])
    assert gradient_N.tolist() == [1, 2, 0, 5, 5, 5]


@pytest.mark.parametrize(
    "measure", [diagnostics.token_noise, diagnostics.sequence_noise], ids=["token", "sequence"]
)
def test_one_draw_has_no_variance(measure: Callable[..., diagnostics.Noise]) -> None:
    one = torch.zeros(1, 1, 2)
    with pytest.raises(ValueError, match="at least 2 draws, got 1"):
        measure(one, one[0], one[0].bool())
    with pytest.raises(ValueError, match="at least 2 draws, got 1"):
        diagnostics.gradient_noise(torch.ones(1, 3), torch.ones(3))
    with pytest.raises(ValueError, match="no direction"):
        diagnostics.gradient_noise(torch.ones(2, 3), torch.zeros(3))
