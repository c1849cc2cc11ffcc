from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import seeded

from diffucoder.data.tokenizer import SpecialIds
from diffucoder.diffusion.denoising import NoisedBatch
from diffucoder.errors import BadData
from diffucoder.training.instruction_rows import (
    condition_share,
    instruction_row,
    read_pairs,
    shuffled,
)

SPECIAL = SpecialIds(mask=90, end_of_text=91, turn_start=92, turn_end=93, pad=94)
PROMPT, RESPONSE = [1, 2, 3], [4, 5, 93]


def row(seed: int, share: float) -> NoisedBatch:
    return instruction_row(PROMPT, RESPONSE, 9, share, SPECIAL, seeded(seed)[0])


def test_a_row_is_prompt_response_padding() -> None:
    assert row(0, 1.0).tokens[0].tolist() == [1, 2, 3, 4, 5, 93, 94, 94, 94]


def test_a_condition_is_never_noised_and_the_rest_is_padding_included() -> None:
    ever_L = torch.zeros(9, dtype=torch.bool)
    for seed in range(200):
        made = row(seed, 1.0)
        assert made.noised[0, :3].tolist() == PROMPT
        assert made.maskable[0].tolist() == [False] * 3 + [True] * 6
        ever_L |= made.masked[0]
    assert ever_L.tolist() == [False] * 3 + [True] * 6


def test_without_condition_the_prompt_is_noised_but_for_its_first_token() -> None:
    ever_L = torch.zeros(9, dtype=torch.bool)
    for seed in range(200):
        ever_L |= row(seed, 0.0).masked[0]
    assert ever_L.tolist() == [False] + [True] * 8


def test_half_way_through_the_phase_in_half_of_the_prompts_are_conditions() -> None:
    conditions = [not row(seed, 0.5).maskable[0, 1] for seed in range(600)]
    assert abs(sum(conditions) / 600 - 0.5) < 0.06


def test_the_share_of_conditions_grows_over_the_first_epoch() -> None:
    assert [condition_share(n, 4, 1.0) for n in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert condition_share(0, 4, 0.0) == 1.0


def test_every_epoch_holds_every_pair_once_in_an_order_of_its_own() -> None:
    whole = shuffled(range(30), 10, seed=1)
    epochs = [whole[0:10], whole[10:20], whole[20:30]]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert shuffled(range(7, 23), 10, seed=1) == whole[7:23]
    assert shuffled(range(10), 10, seed=2) != epochs[0]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.parquet"
    prompts, responses = [[1] * 4, [1] * 6], [[2] * 4, [2] * 6]
    frame = {"pair_id": ["a", "b"], "prompt_ids": prompts, "response_ids": responses}
    pd.DataFrame(frame).to_parquet(path)
    return path


def test_pairs_that_do_not_fit_are_counted_and_left_out(table: Path) -> None:
    fitting, too_long = read_pairs(table, 8)
    assert fitting["prompt_ids"].to_pylist() == [[1] * 4]
    assert too_long == 1
    assert read_pairs(table, 12)[1] == 0


def test_no_pair_that_fits_is_an_error(table: Path) -> None:
    with pytest.raises(BadData, match=r"none of its 2 pairs .*row_length = 7 .*shortest has 8"):
        read_pairs(table, 7)
