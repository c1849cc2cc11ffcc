from collections.abc import Callable

import torch
from choices import estimator_of, objective_of
from transformers import PreTrainedModel

from diffucoder.rl.batch import CompletionBatch

MASK = 12


def test_each_completion_is_scored_by_the_bound_its_advantage_asks_for(
    make_batch: Callable[..., CompletionBatch], model: PreTrainedModel
) -> None:
    batch = make_batch([2, 3, 2], [6, 4, 5])
    estimator = estimator_of("monte_carlo", mask_token_id=MASK, draws=3, low=0.3)
    weights_B = torch.tensor([1.0, -1.0, 0.0])

    def draws() -> torch.Generator:
        return torch.Generator().manual_seed(5)

    objective = objective_of("spg", power=1.5, mix=0.25)
    estimate_BL = objective.score(estimator, model, batch, draws(), weights_B)
    lower_BL, upper_BL = estimator.bounds(model, batch, draws(), 1.5)
    torch.testing.assert_close(estimate_BL[[0, 2]], lower_BL[[0, 2]])
    torch.testing.assert_close(estimate_BL[1], 0.25 * upper_BL[1] + 0.75 * lower_BL[1])
    assert not torch.allclose(upper_BL[1], lower_BL[1])
