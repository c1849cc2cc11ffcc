import torch

from diffucoder.model.shift import aligned_hidden, aligned_logits


def test_index_i_holds_what_was_computed_before_i() -> None:
    states_BLX = torch.arange(24.0).reshape(2, 4, 3)
    for align in (aligned_logits, aligned_hidden):
        moved_BLX = align(states_BLX)
        assert torch.equal(moved_BLX[:, 1:], states_BLX[:, :-1])
        assert torch.equal(moved_BLX[:, 0], states_BLX[:, 0])
