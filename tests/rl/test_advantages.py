import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffucoder.rl.advantages import (
    BASELINES,
    advantages,
    group_mean,
    leave_one_out,
    zero_variance,
)


def test_by_hand() -> None:
    rewards_PG = torch.tensor([[1.0, 2.0, 6.0], [0.5, 0.0, 0.0]])
    expected_PG = torch.tensor([[1 - 4, 2 - 3.5, 6 - 1.5], [0.5, -0.25, -0.25]])
    torch.testing.assert_close(leave_one_out(rewards_PG), expected_PG)


@given(rewards=st.lists(st.floats(0, 2.5), min_size=2, max_size=16))
def test_is_the_centred_reward_times_g_over_g_less_1(rewards: list[float]) -> None:
    rewards_PG = torch.tensor([rewards])
    group = len(rewards)
    expected_PG = (rewards_PG - rewards_PG.mean(1, keepdim=True)) * group / (group - 1)
    torch.testing.assert_close(leave_one_out(rewards_PG), expected_PG, rtol=1e-5, atol=1e-5)


@given(reward=st.floats(-10, 10), group=st.integers(2, 16))
def test_equal_rewards_give_exactly_no_advantage(reward: float, group: int) -> None:
    assert not leave_one_out(torch.full((1, group), reward)).any()


def test_a_group_of_one_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 2 completions a prompt, got 1"):
        leave_one_out(torch.zeros(3, 1))


def test_zero_variance_names_flat_groups() -> None:
    rewards_PG = torch.tensor([[0.7, 0.7, 0.7], [0.7, 0.7, 0.5]])
    assert zero_variance(rewards_PG).tolist() == [True, False]


def test_group_mean_by_hand() -> None:
    rewards_PG = torch.tensor([[1.0, 2.0, 6.0], [0.5, 0.5, 0.5]])
    torch.testing.assert_close(
        group_mean(rewards_PG), torch.tensor([[-2.0, -1.0, 3.0], [0.0, 0.0, 0.0]])
    )


@pytest.mark.parametrize("baseline", sorted(BASELINES))
def test_divided_by_the_standard_deviation(baseline: str) -> None:
    rewards_PG = torch.tensor([[1.0, 2.0, 6.0], [10.0, 20.0, 60.0]])
    plain_PG = advantages(rewards_PG, baseline, scale_rewards=False)
    scaled_PG = advantages(rewards_PG, baseline, scale_rewards=True)
    deviation = 7**0.5  # of 1, 2, 6: squares 4 + 1 + 9 over 2
    torch.testing.assert_close(scaled_PG[0], plain_PG[0] / deviation, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(scaled_PG[0], scaled_PG[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("baseline", sorted(BASELINES))
@pytest.mark.parametrize("scale_rewards", [False, True])
def test_flat_groups_have_exactly_no_advantage(baseline: str, scale_rewards: bool) -> None:
    # Seven tenths do not sum to seven times one in binary, and rounding alone must not teach.
    nearly_PG = torch.tensor([[0.1 + 0.2, 0.3, 0.3], [0.7, 0.7, 0.1]])
    advantages_PG = advantages(nearly_PG, baseline, scale_rewards)
    assert not advantages_PG[0].any() and advantages_PG[1].all()


def test_a_group_of_one_has_no_mean_to_differ_from() -> None:
    with pytest.raises(ValueError, match="group mean needs at least 2 completions a prompt, got 1"):
        group_mean(torch.zeros(3, 1))
