import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffucoder.diffusion.corruption import coupled_masks, mask_tokens, sample_mask
from diffucoder.diffusion.generators import uniform

shapes = st.tuples(st.integers(1, 5), st.integers(1, 12))
times = st.sampled_from([0.0, 1e-3, 0.2, 0.5, 0.8, 1 - 1e-3, 1.0])


@st.composite
def maskable_rows(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    rows, length = draw(shapes)
    cells = draw(st.lists(st.booleans(), min_size=rows * length, max_size=rows * length))
    t_B = torch.tensor(draw(st.lists(times, min_size=rows, max_size=rows)))
    return torch.tensor(cells).reshape(rows, length), t_B


@given(case=maskable_rows(), seed=st.integers(0, 2**32), each=st.booleans())
def test_a_pair_hides_each_maskable_token_exactly_once(
    case: tuple[Tensor, Tensor], seed: int, each: bool
) -> None:
    maskable_BL, t_B = case
    draws = [torch.Generator().manual_seed(seed + row) for row in range(len(t_B))]
    first_BL, second_BL = coupled_masks(maskable_BL, t_B, draws if each else draws[0])
    assert torch.equal(first_BL.long() + second_BL.long(), maskable_BL.long())


def test_a_tie_is_hidden_in_one_view() -> None:
    u_B1 = uniform(4, 1, torch.Generator().manual_seed(0))
    first_B1, second_B1 = coupled_masks(
        torch.ones(4, 1, dtype=torch.bool), u_B1[:, 0], torch.Generator().manual_seed(0)
    )
    assert torch.equal(first_B1 ^ second_B1, torch.ones(4, 1, dtype=torch.bool))


def test_time_0_hides_nothing_and_time_1_everything() -> None:
    maskable_BL = torch.rand(2, 1000, generator=torch.Generator().manual_seed(0)) < 0.7
    masked_BL = sample_mask(maskable_BL, torch.tensor([0.0, 1.0]), torch.Generator().manual_seed(1))
    assert not masked_BL[0].any()
    assert torch.equal(masked_BL[1], maskable_BL[1])


def test_each_row_is_hidden_at_its_own_rate() -> None:
    t_B = torch.tensor([0.1, 0.5, 0.9])
    length = 20_000
    masked_BL = sample_mask(
        torch.ones(3, length, dtype=torch.bool), t_B, torch.Generator().manual_seed(0)
    )
    error_B = masked_BL.double().mean(1) - t_B
    assert (error_B.abs() < 5 * (t_B * (1 - t_B) / length).sqrt()).all()


def test_hide_writes_the_mask_token_and_nothing_else() -> None:
    tokens_BL = torch.tensor([[4, 5, 6], [7, 8, 9]])
    masked_BL = torch.tensor([[True, False, True], [False, False, True]])
    assert mask_tokens(tokens_BL, masked_BL, 0).tolist() == [[0, 5, 0], [7, 8, 0]]
    assert tokens_BL.tolist() == [[4, 5, 6], [7, 8, 9]]
