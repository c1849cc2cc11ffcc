import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffucoder.rl.advantages import leave_one_out, zero_variance


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
