import pytest
import torch
from torch import Tensor

from diffucoder.decoding.tokens import distribution, draw

PROBS = [0.05, 0.5, 0.15, 0.3]


def shaped(temperature: float = 1.0, top_p: float = 1.0, top_k: int = 0) -> Tensor:
    return distribution(torch.tensor([PROBS]).log(), temperature, top_p, top_k)[0]


def test_untouched_logits_are_a_softmax() -> None:
    torch.testing.assert_close(shaped(), torch.tensor(PROBS))
    torch.testing.assert_close(shaped(temperature=0.0), torch.tensor(PROBS))


def test_temperature_divides_the_logits() -> None:
    squares = torch.tensor(PROBS) ** 2
    torch.testing.assert_close(shaped(temperature=0.5), squares / squares.sum())


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.01, [1]), (0.49, [1]), (0.51, [1, 3]), (0.81, [1, 2, 3])]
)
def test_nucleus_is_the_smallest_set_that_holds_the_share(top_p: float, kept: list[int]) -> None:
    total = sum(PROBS[token] for token in kept)
    expected = [p / total if token in kept else 0.0 for token, p in enumerate(PROBS)]
    torch.testing.assert_close(shaped(top_p=top_p), torch.tensor(expected))


@pytest.mark.parametrize(
    ("top_k", "kept"), [(1, [1]), (2, [1, 3]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])]
)
def test_top_k_keeps_the_best(top_k: int, kept: list[int]) -> None:
    total = sum(PROBS[token] for token in kept)
    expected = [p / total if token in kept else 0.0 for token, p in enumerate(PROBS)]
    torch.testing.assert_close(shaped(top_k=top_k), torch.tensor(expected))


def test_the_nucleus_is_taken_of_the_whole_distribution() -> None:
    # 0.5 + 0.3 is short of 0.82; after cutting to three tokens it would not be.
    expected = torch.tensor([0.0, 0.5, 0.15, 0.3]) / 0.95
    torch.testing.assert_close(shaped(top_p=0.82, top_k=3), expected)


@pytest.mark.parametrize("spread", [0.01, 1.0, 8.0])
def test_the_nucleus_is_that_of_a_full_sort(spread: float) -> None:
    # From nearly even, where hundreds of tokens stay, to nearly certain, where one does.
    logits_NV = spread * torch.randn(32, 700, generator=torch.Generator().manual_seed(0))
    logits_NV[16:] *= 4
    probs_NV = logits_NV.softmax(1)
    sorted_NV = probs_NV.sort(dim=1, descending=True).values
    kept_NV = sorted_NV * (sorted_NV.cumsum(1) - sorted_NV < 0.95)
    expected_NV = kept_NV / kept_NV.sum(1, keepdim=True)
    found_NV = distribution(logits_NV, 1.0, 0.95, 0)
    # Sorted, since of two equally likely tokens at the edge either may be the one that stays.
    torch.testing.assert_close(found_NV.sort(dim=1, descending=True).values, expected_NV)
    assert ((found_NV == 0) | torch.isclose(found_NV, probs_NV / kept_NV.sum(1, True))).all()


def test_banned_tokens_have_no_probability() -> None:
    logits_NV = torch.tensor([PROBS]).log().index_fill(1, torch.tensor([1]), -torch.inf)
    probs_V = distribution(logits_NV, 1.0, 1.0, 0)[0]
    torch.testing.assert_close(probs_V, torch.tensor([0.1, 0.0, 0.3, 0.6]))


def test_half_precision_logits_are_shaped_in_float32() -> None:
    logits_NV = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    probs_NV = distribution(logits_NV, 0.7, 0.9, 0)
    assert probs_NV.dtype == torch.float32
    torch.testing.assert_close(probs_NV.sum(1), torch.ones(3))


@pytest.mark.parametrize(
    ("uniform", "token"),
    [(0.0, 0), (0.04, 0), (0.06, 1), (0.54, 1), (0.56, 2), (0.69, 2), (0.71, 3), (1 - 2**-24, 3)],
)
def test_draw_inverts_the_cumulative_distribution(uniform: float, token: int) -> None:
    assert draw(torch.tensor([PROBS]), torch.tensor([uniform])).tolist() == [token]


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-24])
def test_draw_never_takes_a_token_without_probability(uniform: float) -> None:
    probs_NV = torch.tensor([[0.0, 0.1, 0.0, 0.7, 0.2, 0.0, 0.0]])
    assert probs_NV[0, draw(probs_NV, torch.tensor([uniform]))] > 0


def test_draws_have_the_distribution() -> None:
    count = 40_000
    uniform_N = torch.rand(count, generator=torch.Generator().manual_seed(0))
    tokens_N = draw(torch.tensor([PROBS]).expand(count, 4), uniform_N)
    expected_V = torch.tensor(PROBS) * count
    chi_square = ((torch.bincount(tokens_N, minlength=4) - expected_V) ** 2 / expected_V).sum()
    # 0.1 % point at 3 degrees of freedom.
    assert chi_square < 16.27
