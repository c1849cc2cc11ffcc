import torch

from diffucoder.model.positions import packed_position_ids, position_ids, predictable_mask


def test_left_padding_does_not_count() -> None:
    mask_BL = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    assert position_ids(mask_BL).tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]


def test_positions_restart_with_each_document() -> None:
    document_ids_BL = torch.tensor([[5, 5, 5, 6, 6, -1], [7, 8, 8, 8, 8, 8]])
    positions = packed_position_ids(document_ids_BL)
    assert positions[:, :5].tolist() == [[0, 1, 2, 0, 1], [0, 0, 1, 2, 3]]


def test_first_token_of_a_document_and_filler_follow_nothing() -> None:
    document_ids_BL = torch.tensor([[5, 5, 6, -1, -1]])
    assert predictable_mask(document_ids_BL).tolist() == [[False, True, False, False, False]]
