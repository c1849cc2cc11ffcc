import torch
from helpers import seeded

from diffucoder.diffusion.denoising import NoisedBatch
from diffucoder.training.adaptation_rows import adaptation_row, clean_prefix, truncated
from diffucoder.training.packed import PackedTokens

MASK = 99
TOKENS_L = torch.arange(12)
DOCUMENTS_L = torch.tensor([4] * 5 + [5] * 5 + [-1] * 2)


def noised(seed: int, truncated_share: float = 0.0, prefix_share: float = 0.0) -> NoisedBatch:
    row = PackedTokens(TOKENS_L, DOCUMENTS_L)
    return adaptation_row(row, truncated_share, prefix_share, MASK, seeded(seed)[0])


def test_only_tokens_with_a_predecessor_in_their_document_are_ever_masked() -> None:
    expected = [False, True, True, True, True] * 2 + [False, False]
    ever_masked_L = torch.zeros(12, dtype=torch.bool)
    for seed in range(200):
        row = noised(seed)
        masked_L = row.masked[0]
        assert row.maskable[0].tolist() == expected
        assert torch.equal(row.noised[0] == MASK, masked_L)
        assert torch.equal(row.noised[0, ~masked_L], TOKENS_L[~masked_L])
        assert torch.equal(row.tokens[0], TOKENS_L)
        ever_masked_L |= masked_L
    assert ever_masked_L.tolist() == expected


def test_a_share_of_rows_is_cut_at_every_length() -> None:
    lengths = [int((truncated(torch.zeros(8), 0.5, seeded(s)[0]) != -1).sum()) for s in range(800)]
    assert set(lengths) == set(range(1, 9))
    # Half of the rows whole, and an eighth of the other half drew the full length.
    assert abs(lengths.count(8) / 800 - (0.5 + 0.5 / 8)) < 0.06
    assert all((truncated(DOCUMENTS_L, 0.0, seeded(s)[0]) == DOCUMENTS_L).all() for s in range(50))


def test_what_was_cut_off_is_filler_and_never_masked() -> None:
    for seed in range(50):
        row = noised(seed, truncated_share=1.0)
        kept = int((row.document_ids[0] == DOCUMENTS_L).int().cumprod(0).sum())
        assert (row.document_ids[0][kept:] == -1).all()
        assert not row.masked[0, kept:].any()


def test_a_share_of_rows_keeps_a_clean_prefix() -> None:
    lengths = [clean_prefix(8, 0.5, seeded(seed)[0]) for seed in range(800)]
    assert set(lengths) == set(range(8))
    assert abs(lengths.count(0) / 800 - (0.5 + 0.5 / 8)) < 0.06
    assert not any(clean_prefix(8, 0.0, seeded(seed)[0]) for seed in range(50))
    for seed in range(50):
        row = noised(seed, prefix_share=1.0)
        first = int(row.maskable[0].int().argmax())
        assert not row.masked[0, :first].any()


def test_a_row_depends_on_its_generator_alone() -> None:
    one, same = vars(noised(3, 0.5, 0.5)), vars(noised(3, 0.5, 0.5))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(noised(3).times, noised(4).times)
