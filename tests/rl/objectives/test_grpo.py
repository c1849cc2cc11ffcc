import math

import pytest
import torch
from torch import Tensor

from diffucoder.rl.objectives.grpo import clipped_loss, k3_kl

EPSILON = 0.2
# Ratios of two completions of three tokens; the last of the second is padding.
RATIOS_BL = [[1.5, 0.5, 1.1], [1.5, 0.5, 9.0]]
MASK_BL = torch.tensor([[True, True, True], [True, True, False]])
ADVANTAGES_B = torch.tensor([2.0, -1.0])


def scores(seed: int) -> Tensor:
    return -torch.rand(2, 3, generator=torch.Generator().manual_seed(seed))


def test_clips_by_hand_for_both_signs() -> None:
    old_BL = scores(0)
    new_BL = old_BL + torch.tensor(RATIOS_BL).log()
    loss, metrics = clipped_loss(new_BL, old_BL, ADVANTAGES_B, MASK_BL, EPSILON, 10.0)
    # A > 0: 1.5 is held at 1.2, 0.5 stands. A < 0: 1.5 stands, 0.5 is held at 0.8.
    gain = 2 * (1.2 + 0.5 + 1.1) - (1.5 + 0.8)
    assert loss.item() == pytest.approx(-gain / 10, rel=1e-5)
    assert metrics["clip_ratio"].item() == pytest.approx(2 / 5)
    assert metrics["ratio"].item() == pytest.approx((1.5 + 0.5 + 1.1 + 1.5 + 0.5) / 5, rel=1e-5)
    assert metrics["kl"].item() == 0


def test_a_clipped_token_has_no_gradient() -> None:
    old_BL = scores(0)
    new_BL = (old_BL + torch.tensor(RATIOS_BL).log()).requires_grad_()
    loss, _ = clipped_loss(new_BL, old_BL, ADVANTAGES_B, MASK_BL, EPSILON, 10.0)
    loss.backward()
    expected_BL = torch.tensor([[0.0, -2 * 0.5, -2 * 1.1], [1.5, 0.0, 0.0]]) / 10
    torch.testing.assert_close(new_BL.grad, expected_BL)


def test_at_ratio_one_the_gradient_is_the_policy_gradient() -> None:
    new_BL = scores(0).requires_grad_()
    loss, metrics = clipped_loss(new_BL, new_BL.detach(), ADVANTAGES_B, MASK_BL, EPSILON, 5.0)
    loss.backward()
    torch.testing.assert_close(new_BL.grad, -ADVANTAGES_B[:, None] * MASK_BL / 5)
    assert metrics["clip_ratio"].item() == 0


def test_a_step_down_the_gradient_raises_what_was_good() -> None:
    new_BL = scores(0).requires_grad_()
    clipped_loss(new_BL, new_BL.detach(), ADVANTAGES_B, MASK_BL, EPSILON, 5.0)[0].backward()
    moved_BL = -new_BL.grad
    assert (moved_BL[0] > 0).all() and (moved_BL[1, :2] < 0).all() and moved_BL[1, 2] == 0


def test_kl_is_the_mean_over_real_tokens() -> None:
    new_BL, ref_BL = scores(0), scores(1)
    ref_BL[1, 2] = 30.0
    cells = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    each = []
    for row, place in cells:
        difference = (ref_BL[row, place] - new_BL[row, place]).item()
        each.append(math.exp(difference) - difference - 1)
    loss, metrics = clipped_loss(
        new_BL, new_BL, torch.zeros(2), MASK_BL, EPSILON, 10.0, ref_BL, beta=0.5
    )
    assert metrics["kl"].item() == pytest.approx(sum(each) / 5, rel=1e-5)
    assert loss.item() == pytest.approx(0.5 * sum(each) / 10, rel=1e-5)


@pytest.mark.parametrize("times", [2, 5])
def test_metrics_do_not_grow_with_the_batch(times: int) -> None:
    old_BL, ref_BL = scores(0), scores(1)
    new_BL = old_BL + torch.tensor(RATIOS_BL).log()

    def metrics(repeats: int) -> dict[str, Tensor]:
        new, old, mask, ref = (x.repeat(repeats, 1) for x in (new_BL, old_BL, MASK_BL, ref_BL))
        advantages_B = ADVANTAGES_B.repeat(repeats)
        return clipped_loss(new, old, advantages_B, mask, EPSILON, 1.0, ref, 0.1)[1]

    torch.testing.assert_close(metrics(times), metrics(1))


def test_kl_pulls_towards_the_reference() -> None:
    new_BL, ref_BL = scores(0).requires_grad_(), scores(1)
    clipped_loss(new_BL, new_BL.detach(), torch.zeros(2), MASK_BL, EPSILON, 1.0, ref_BL, beta=1.0)[
        0
    ].backward()
    assert torch.equal(torch.sign(-new_BL.grad), torch.sign(ref_BL - new_BL.detach()) * MASK_BL)


def test_k3_is_zero_at_equality_and_positive_elsewhere() -> None:
    new_BL = scores(0)
    assert not k3_kl(new_BL, new_BL).any()
    assert (k3_kl(new_BL, scores(1)) > 0).all()


def test_no_real_token_is_no_loss() -> None:
    new_BL = scores(0).requires_grad_()
    nothing_BL = torch.zeros_like(MASK_BL)
    loss, metrics = clipped_loss(new_BL, scores(1), ADVANTAGES_B, nothing_BL, EPSILON, 5.0)
    loss.backward()
    assert loss.item() == 0 and not new_BL.grad.any()
    assert metrics["ratio"].item() == 0


def test_penalty_without_reference_is_an_error() -> None:
    with pytest.raises(ValueError, match="pass ref_BL"):
        clipped_loss(scores(0), scores(0), ADVANTAGES_B, MASK_BL, EPSILON, 5.0, beta=0.01)


def test_accumulation_over_one_denominator_equals_one_batch() -> None:
    old_BL = scores(0)
    new_BL = old_BL + torch.tensor(RATIOS_BL).log()
    whole, _ = clipped_loss(new_BL, old_BL, ADVANTAGES_B, MASK_BL, EPSILON, 5.0, scores(1), 0.1)
    parts = [
        clipped_loss(
            new_BL[row], old_BL[row], ADVANTAGES_B[row], MASK_BL[row], EPSILON, 5.0,
            scores(1)[row], 0.1,
        )[0]
        for row in (slice(0, 1), slice(1, 2))
    ]  # fmt: skip
    torch.testing.assert_close(sum(parts), whole)
