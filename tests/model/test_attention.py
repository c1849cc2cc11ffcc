import torch

from diffucoder.model.attention import (
    anneal_ratio,
    annealed_mask,
    causal_mask,
    document_mask,
    sample_future_mask,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Two documents of two tokens each, and one filler.
PACKED = torch.tensor([[0, 0, 1, 1, -1]])


def test_masks_by_hand() -> None:
    causal = [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]
    both = [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]
    assert causal_mask(PACKED)[0, 0].int().tolist() == causal
    assert document_mask(PACKED)[0, 0].int().tolist() == both
    assert (
        annealed_mask(PACKED, sample_future_mask(5, 0.0, generator()))[0, 0].int().tolist()
        == causal
    )
    assert (
        annealed_mask(PACKED, sample_future_mask(5, 1.0, generator()))[0, 0].int().tolist() == both
    )


def test_two_filler_positions_see_only_themselves() -> None:
    mask = document_mask(torch.tensor([[0, -1, -1]]))[0, 0]
    assert torch.equal(mask, torch.eye(3, dtype=torch.bool))


def test_half_annealed_opens_half_of_the_future_and_all_of_the_past() -> None:
    document_ids_BL = torch.zeros(2, 200, dtype=torch.long)
    mask = annealed_mask(document_ids_BL, sample_future_mask(200, 0.5, generator()))
    past = torch.ones(200, 200, dtype=torch.bool).tril()
    assert mask.shape == (2, 1, 200, 200)
    assert mask[:, 0][:, past].all()
    assert abs(mask[0, 0][~past].float().mean().item() - 0.5) < 0.02
    assert torch.equal(mask[0], mask[1]), "one draw is shared by the batch"
    other = annealed_mask(document_ids_BL, sample_future_mask(200, 0.5, generator(1)))
    assert not torch.equal(mask, other)


def test_reveal_share_rises_to_one_and_stays() -> None:
    assert [anneal_ratio(step, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert anneal_ratio(0, 0) == 1.0
