from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from diffucoder.config.backbone import ArchitectureParams
from diffucoder.errors import BadCheckpoint
from diffucoder.model import create
from diffucoder.model.special_tokens import add_token_embeddings, new_token_ids

MakeTokenizer = Callable[[list[str]], PreTrainedTokenizerFast]


def test_new_ids_are_those_the_checkpoint_lacks(
    make_tokenizer: MakeTokenizer, tokenizer: PreTrainedTokenizerFast
) -> None:
    old = make_tokenizer(["<|mask|>", "<|endoftext|>"])
    assert new_token_ids(old, tokenizer, "here") == [258, 259, 260]
    assert new_token_ids(tokenizer, tokenizer, "here") == []


def test_a_scrambled_vocabulary_is_refused(
    make_tokenizer: MakeTokenizer, tokenizer: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(BadCheckpoint, match=r"some/model.*disagree on 2 of 258"):
        new_token_ids(make_tokenizer(["<|endoftext|>", "<|mask|>"]), tokenizer, "some/model")


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_are_near_the_mean_and_old_ones_stay(
    architecture: ArchitectureParams, make_tokenizer: MakeTokenizer, tied: bool
) -> None:
    shape = architecture.model_copy(update={"tie_word_embeddings": tied})
    model = create(shape, make_tokenizer([]), torch.Generator().manual_seed(0))
    tables = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    before = [table.detach().clone() for table in tables]

    add_token_embeddings(model, [256, 257], torch.Generator().manual_seed(1))

    tables = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    assert (tables[0] is tables[1]) is tied
    assert model.config.vocab_size == 258
    for table, old in zip(tables, before, strict=True):
        assert torch.equal(table[:256], old)
        spread = old.std(0)
        assert ((table[256:] - old.mean(0)).abs() < 0.5 * spread).all()
        assert not torch.equal(table[256], table[257]), "two new tokens must differ"
    if not tied:
        assert not torch.equal(tables[0][256], tables[1][256])


def test_spare_rows_of_the_checkpoint_are_used_first(
    architecture: ArchitectureParams, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = create(architecture, tokenizer, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.get_input_embeddings().weight[258:] = 1e3
    add_token_embeddings(model, [258, 259, 260], torch.Generator().manual_seed(1))
    table = model.get_input_embeddings().weight
    assert table.shape[0] == 261
    assert table.abs().max() < 10
