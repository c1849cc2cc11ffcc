import torch

from diffucoder.diffusion.schedule import SMALLEST_TIME, loss_weight, sample_times


def test_times_are_uniform_between_the_ends() -> None:
    t_B = sample_times(20_000, torch.Generator().manual_seed(0))
    assert t_B.min() >= SMALLEST_TIME and t_B.max() <= 1
    edges = torch.linspace(SMALLEST_TIME, 1, 11)
    share = torch.histogram(t_B, edges).hist / len(t_B)
    assert (share - 0.1).abs().max() < 5 * (0.1 * 0.9 / len(t_B)) ** 0.5


def test_ends_can_be_given_and_rows_differ() -> None:
    t_B = sample_times(100, torch.Generator().manual_seed(0), 0.2, 0.8)
    assert t_B.min() >= 0.2 and t_B.max() <= 0.8
    assert len(t_B.unique()) == 100


def test_equal_ends_give_that_time() -> None:
    t_B = sample_times(3, torch.Generator().manual_seed(0), 0.25, 0.25)
    assert t_B.tolist() == [0.25] * 3


def test_weight_is_one_over_t() -> None:
    assert loss_weight(torch.tensor([0.25, 1.0])).tolist() == [4.0, 1.0]
