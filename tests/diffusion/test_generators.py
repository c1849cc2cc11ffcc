import pytest
import torch
from helpers import seeded
from hypothesis import given
from hypothesis import strategies as st

from diffucoder.diffusion.generators import split, uniform


@given(
    seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=5),
    length=st.integers(1, 20),
    extra=st.integers(0, 20),
)
def test_a_row_draws_alone_what_it_draws_in_a_longer_batch(
    seeds: list[int], length: int, extra: int
) -> None:
    together_BL = uniform(len(seeds), length + extra, seeded(*seeds))
    for row, seed in enumerate(seeds):
        assert torch.equal(uniform(1, length, seeded(seed))[0], together_BL[row, :length])


@given(rows=st.integers(1, 5), length=st.integers(1, 20), extra=st.integers(0, 20))
def test_padding_on_the_right_changes_no_earlier_draw(rows: int, length: int, extra: int) -> None:
    short_BL = uniform(rows, length, torch.Generator().manual_seed(3))
    long_BL = uniform(rows, length + extra, torch.Generator().manual_seed(3))
    assert short_BL.shape == (rows, length)
    assert torch.equal(short_BL, long_BL[:, :length])


def test_wants_a_generator_for_each_row() -> None:
    with pytest.raises(ValueError, match="2 generators for 3 rows"):
        uniform(3, 4, seeded(1, 2))


def test_no_rows_draw_nothing() -> None:
    assert uniform(0, 4, []).shape == (0, 4)


@pytest.mark.parametrize("several", [False, True])
def test_sources_of_a_split_do_not_disturb_one_another(several: bool) -> None:
    def sources() -> list:
        return split(seeded(5, 6) if several else seeded(5)[0], 2)

    first, second = sources()
    little = uniform(2, 3, first), uniform(2, 3, second)
    first, second = sources()
    much = uniform(2, 30, first), uniform(2, 3, second)
    assert torch.equal(little[1], much[1])
    assert not torch.equal(little[0], little[1])


def test_split_keeps_rows_apart() -> None:
    (alone,) = split(seeded(8), 1)
    (together,) = split(seeded(7, 8), 1)
    assert torch.equal(uniform(1, 5, alone)[0], uniform(2, 5, together)[1])
