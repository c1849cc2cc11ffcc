from collections.abc import Callable

import pytest
import torch
from choices import estimator_of
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.errors import BadParameters
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.exact import exact_elbo, subset_scores

MASK, COUNT = 12, 1000
Batches = Callable[..., CompletionBatch]


def drawn(model: PreTrainedModel, batch: CompletionBatch, name: str, **options: float) -> Tensor:
    rows = batch.rows(torch.zeros(COUNT, dtype=torch.long))
    estimator = estimator_of(name, mask_token_id=MASK, **options)
    with torch.no_grad():
        return estimator.log_likelihood(model, rows, torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("name", ["monte_carlo", "stratified_t"])
@pytest.mark.parametrize(("low", "high"), [(0.2, 0.8), (0.1, 1.0)])
def test_is_the_elbo_over_its_times(
    make_batch: Batches, model: PreTrainedModel, name: str, low: float, high: float
) -> None:
    batch = make_batch([2], [4])
    expected_L = exact_elbo(model, batch, MASK, low, high)[0]
    estimates_KL = drawn(model, batch, name, draws=2, low=low, high=high)
    error_L = estimates_KL.std(0) / COUNT**0.5
    assert ((estimates_KL.mean(0) - expected_L).abs() < 4 * error_L).all()


def test_stratified_times_take_variance_away(
    make_bigram: Callable[[Tensor], PreTrainedModel],
) -> None:
    # Hidden neighbours cost 10 nats a token: the mean of the estimate moves with t.
    a, mask = 0, 1
    model = make_bigram(torch.tensor([[-0.01, -9.0], [-10.0, -0.01]]))
    ones = torch.ones(1, 30, dtype=torch.bool)
    batch = CompletionBatch(torch.zeros(1, 1).long(), ones[:, :1], torch.full((1, 30), a), ones)
    rows = batch.rows(torch.zeros(500, dtype=torch.long))
    variance = {}
    for name in ("monte_carlo", "stratified_t"):
        estimator = estimator_of(name, mask_token_id=mask, draws=4, low=0.2, high=1.0)
        with torch.no_grad():
            estimate_BL = estimator.log_likelihood(model, rows, torch.Generator().manual_seed(0))
        variance[name] = estimate_BL.sum(1).var().item()
    assert variance["stratified_t"] < 0.7 * variance["monte_carlo"]


def test_stratified_times_lie_in_their_parts() -> None:
    estimator = estimator_of("stratified_t", mask_token_id=MASK, draws=4, low=0.2, high=1.0)
    for index in range(4):
        t_B = estimator.times(1000, index, torch.Generator().manual_seed(index))
        low = 0.2 + 0.2 * index
        assert low <= t_B.min() < low + 0.01 and low + 0.19 < t_B.max() < low + 0.2 + 1e-6


def test_a_token_that_no_draw_hides_is_0(
    make_batch: Batches, model: PreTrainedModel, views_of: Callable[..., list[Tensor]]
) -> None:
    batch = make_batch([2], [40])
    estimator = estimator_of("monte_carlo", mask_token_id=MASK, draws=1, low=0.5, high=0.5)
    kept: list[Tensor] = []
    (view_BT,) = views_of(
        lambda: kept.append(estimator.log_likelihood(model, batch, torch.Generator()))
    )
    hidden_L = view_BT[0, 2:] == MASK
    assert 0 < hidden_L.sum() < 40
    assert torch.equal(kept[0][0] != 0, hidden_L)


class TestBounds:
    """ELBO and EUBO from the same views."""

    def test_by_enumeration(self, make_batch: Batches, model: PreTrainedModel) -> None:
        """Inside its logarithm the upper bound is a mean; so is the lower one."""
        batch, power, t = make_batch([2], [3]), 1.5, 0.4
        masked_SL, scores_SL = subset_scores(model, batch, MASK)
        sizes_S = masked_SL.sum(1)
        chance_S1 = (t**sizes_S * (1 - t) ** (3 - sizes_S))[:, None].double()
        terms_SL = torch.where(masked_SL, (power * scores_SL).exp(), 0.0) / t
        upper_L = (chance_S1 * terms_SL).sum(0).log() / power
        lower_L = (chance_S1 * scores_SL / t).sum(0)
        estimator = estimator_of("monte_carlo", mask_token_id=MASK, draws=4, low=t, high=t)
        rows = batch.rows(torch.zeros(1000, dtype=torch.long))
        with torch.no_grad():
            lower_BL, upper_BL = estimator.bounds(model, rows, torch.Generator(), power)
        # Inside the logarithm the mean over rows is one over all draws.
        inside_BL = torch.where(upper_BL != 0, (power * upper_BL.double()).exp(), 0.0)
        torch.testing.assert_close(inside_BL.mean(0).log() / power, upper_L, rtol=0.03, atol=0.03)
        torch.testing.assert_close(lower_BL.double().mean(0), lower_L, rtol=0.05, atol=0.05)

    def test_the_lower_one_is_the_estimate(
        self, make_batch: Batches, model: PreTrainedModel
    ) -> None:
        batch = make_batch([2, 3], [6, 4])
        estimator = estimator_of("monte_carlo", mask_token_id=MASK, draws=3)
        lower_BL, _ = estimator.bounds(model, batch, torch.Generator().manual_seed(1), 1.5)
        estimate_BL = estimator.log_likelihood(model, batch, torch.Generator().manual_seed(1))
        torch.testing.assert_close(lower_BL, estimate_BL)

    def test_gradients_are_finite_where_nothing_was_hidden(
        self, make_batch: Batches, model: PreTrainedModel
    ) -> None:
        batch = make_batch([2], [12])
        estimator = estimator_of("monte_carlo", mask_token_id=MASK, draws=1, low=0.3, high=0.3)
        _, upper_BL = estimator.bounds(model, batch, torch.Generator(), 1.5)
        assert (upper_BL == 0).any() and (upper_BL != 0).any()
        upper_BL.sum().backward()
        assert all(weight.grad.isfinite().all() for weight in model.parameters())

    @pytest.mark.parametrize(
        ("name", "options"),
        [("full_mask", {}), ("coupled", {}), ("dream_coder", {}), ("trace", {"steps": 3})],
    )
    def test_what_is_no_elbo_has_no_bound(
        self, make_batch: Batches, model: PreTrainedModel, name: str, options: dict[str, int]
    ) -> None:
        estimator = estimator_of(name, mask_token_id=MASK, **options)
        with pytest.raises(BadParameters, match="no draws of the ELBO"):
            estimator.bounds(model, make_batch([2], [3]), torch.Generator(), 1.5)
