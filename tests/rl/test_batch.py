import torch

from diffucoder.rl.batch import CompletionBatch, complete, from_canvas

END, PAD = 8, 9


def test_complete_pads_prompts_left_and_completions_right() -> None:
    batch = complete([[1], [2, 3, 4]], [[5, END], [6]], PAD)
    assert batch.prompt_ids.tolist() == [[PAD, PAD, 1], [2, 3, 4]]
    assert batch.prompt_mask.tolist() == [[False, False, True], [True, True, True]]
    assert batch.completion_ids.tolist() == [[5, END], [6, PAD]]
    assert batch.completion_mask.tolist() == [[True, True], [True, False]]
    assert torch.equal(batch.context_mask, batch.completion_mask)


def test_canvas_is_real_up_to_its_first_end_or_filler() -> None:
    canvas_BL = torch.tensor(
        [[5, END, PAD, 7], [5, 6, 7, 5], [PAD, PAD, PAD, PAD], [END, END, 5, END]]
    )
    batch = from_canvas([[1], [2], [3], [4]], canvas_BL, END, PAD)
    assert batch.completion_mask.sum(1).tolist() == [2, 4, 1, 1]
    assert batch.completion_mask[:, 0].all()
    assert torch.equal(batch.completion_ids, canvas_BL)
    assert batch.context_mask.all()


def test_rows_and_device_keep_every_field() -> None:
    batch = from_canvas([[1], [2, 3]], torch.tensor([[5, END], [6, 7]]), END, PAD)
    second = batch.rows(slice(1, 2))
    assert second.prompt_ids.tolist() == [[2, 3]]
    assert second.completion_ids.tolist() == [[6, 7]]
    assert second.canvas_mask.tolist() == [[True, True]]
    picked = batch.rows(torch.tensor([1, 0])).to(torch.device("cpu"))
    for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "canvas_mask"):
        assert torch.equal(getattr(picked, name), getattr(batch, name).flip(0))


def test_rows_of_a_batch_without_canvas_mask() -> None:
    batch = complete([[1], [2]], [[5], [6, 7]], PAD)
    assert isinstance(batch.rows(slice(0, 1)), CompletionBatch)
    assert batch.rows(slice(0, 1)).canvas_mask is None
    assert batch.to(torch.device("cpu")).canvas_mask is None


def test_trimming_drops_what_is_padding_in_every_row() -> None:
    batch = complete([[1], [2, 3], [4, 5, 6, 7]], [[5, END], [6], [7]], PAD)
    short = batch.rows(slice(0, 2)).trimmed()
    assert short.prompt_ids.tolist() == [[PAD, 1], [2, 3]]
    assert short.prompt_mask.tolist() == [[False, True], [True, True]]
    assert torch.equal(short.completion_ids, batch.completion_ids[:2])
    assert torch.equal(batch.trimmed().prompt_ids, batch.prompt_ids)
