from functools import partial

import pyarrow as pa
import torch
from helpers import seeded
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from diffucoder.data.tokenizer import special_ids
from diffucoder.diffusion.corruption import mask_tokens
from diffucoder.diffusion.options import InverseTimeWeighting
from diffucoder.model import set_bidirectional
from diffucoder.model.shift import aligned_logits
from diffucoder.training.instruction import instruction_loss, pairs_between, prepare


def test_a_model_learns_the_answer_and_the_padding_behind_it(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    special = special_ids(tokenizer)
    prompts = [[10, 11], [20, 21]]
    responses = [[30, 31, 32, special.turn_end], [40, special.turn_end]]
    table = pa.table({"prompt_ids": prompts, "response_ids": responses})
    rows_between = pairs_between(table, phase_in_epochs=1.0, seed=0)
    noise = partial(prepare, 10, special)
    weighting = InverseTimeWeighting(kind="inverse_t")
    set_bidirectional(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(80):
        generators = seeded(*range(16 * step, 16 * step + 16))
        batch = noise(rows_between(16 * step, 16 * step + 16), step, generators)
        loss, _ = instruction_loss(weighting, model, batch.batch, batch.denominator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for prompt, response in zip(prompts, responses, strict=True):
        answer = response + [special.pad] * (8 - len(response))
        row = torch.tensor([prompt + answer])
        hidden = torch.arange(10)[None] >= 2
        with torch.no_grad():
            logits = aligned_logits(model(mask_tokens(row, hidden, special.mask)).logits)
        assert logits[0, 2:].argmax(-1).tolist() == answer


def test_rows_know_how_far_the_phase_in_is() -> None:
    table = pa.table({"prompt_ids": [[1], [2]], "response_ids": [[3], [4]]})
    rows = pairs_between(table, phase_in_epochs=1.0, seed=0)(0, 4)
    assert [row.share for row in rows] == [0.0, 0.5, 1.0, 1.0]
    assert sorted(row.prompt for row in rows[:2]) == [[1], [2]]
