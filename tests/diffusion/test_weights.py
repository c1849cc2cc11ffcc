import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffucoder.diffusion.weights import cart, inverse_time


def test_inverse_time_on_hidden_positions_only() -> None:
    masked_BL = torch.tensor([[True, False], [True, True]])
    weights_BL = inverse_time(masked_BL, torch.tensor([0.5, 0.25]))
    assert weights_BL.tolist() == [[2.0, 0.0], [4.0, 4.0]]


def test_cart_by_hand() -> None:
    masked_BL = torch.tensor([[False, True, True, False, False]])
    weights_BL = cart(masked_BL, torch.zeros(1, 5, dtype=torch.long), 0.1)
    # Neighbours at distances 1, 2 and 3 of position 1, and 2, 1 and 2 of position 2.
    expected_BL = [[0.0, 0.05 * (1 + 0.9 + 0.81), 0.05 * (0.9 + 1 + 0.9), 0.0, 0.0]]
    torch.testing.assert_close(weights_BL, torch.tensor(expected_BL))


def test_cart_looks_at_its_own_document_only() -> None:
    masked_BL = torch.tensor([[False, True, True, False, True]])
    weights_BL = cart(masked_BL, torch.tensor([[0, 0, 1, 1, 2]]), 0.1)
    torch.testing.assert_close(weights_BL, torch.tensor([[0.0, 0.05, 0.05, 0.0, 0.0]]))


@given(
    masked=st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=1, max_size=12),
    p=st.floats(0.01, 0.99),
)
def test_cart_equals_the_written_sum(masked: list[tuple[bool, int]], p: float) -> None:
    mask, documents = zip(*masked, strict=True)
    weights_L = cart(torch.tensor([mask]), torch.tensor([sorted(documents)]), p)[0]
    for i, document in enumerate(sorted(documents)):
        expected = sum(
            0.5 * p * (1 - p) ** (abs(i - j) - 1)
            for j, other in enumerate(sorted(documents))
            if mask[i] and not mask[j] and document == other
        )
        assert weights_L[i].item() == pytest.approx(expected, abs=1e-6)
