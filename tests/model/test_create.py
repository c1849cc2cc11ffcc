from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from diffucoder.config.backbone import ArchitectureParams
from diffucoder.model import create, load, set_bidirectional
from diffucoder.model.attention import annealed_mask, causal_mask, document_mask, sample_future_mask
from diffucoder.model.positions import packed_position_ids
from diffucoder.model.projection import aligned_states


def influence(model: PreTrainedModel, position: int, **inputs: torch.Tensor) -> torch.Tensor:
    """How much each input embedding moves the output at a position."""
    ids_BL = torch.arange(6)[None] + 40
    embedded = model.get_input_embeddings()(ids_BL).detach().requires_grad_()
    model(inputs_embeds=embedded, **inputs).logits[0, position].sum().backward()
    return embedded.grad.abs().sum(-1)[0]


def test_weights_are_a_function_of_the_generator(
    architecture: ArchitectureParams, tokenizer: PreTrainedTokenizerFast
) -> None:
    def make(seed: int) -> PreTrainedModel:
        return create(architecture, tokenizer, torch.Generator().manual_seed(seed))

    first, again, other = make(0), make(0), make(1)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)
    assert abs(first.lm_head.weight.std().item() - architecture.initializer_range) < 0.02


def test_tied_head_is_the_embedding(model: PreTrainedModel) -> None:
    assert model.lm_head.weight is model.get_input_embeddings().weight


@pytest.mark.parametrize("reload", [False, True])
def test_the_padding_embedding_is_trained(
    architecture: ArchitectureParams,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    reload: bool,
) -> None:
    shape = architecture.model_copy(update={"tie_word_embeddings": False})
    model = create(shape, tokenizer, torch.Generator().manual_seed(0))
    if reload:
        model.save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        model, _ = load(tmp_path)
    pad = tokenizer.pad_token_id
    assert model.config.pad_token_id == pad
    model(torch.tensor([[65, pad, 66]])).logits[0, -1].sum().backward()
    assert model.get_input_embeddings().weight.grad[pad].abs().sum() > 0


def test_gradient_comes_from_the_past_before_and_from_both_sides_after(
    model: PreTrainedModel,
) -> None:
    assert (influence(model, 2) > 0).tolist() == [True] * 3 + [False] * 3
    set_bidirectional(model)
    assert (influence(model, 2) > 0).all()


def test_no_gradient_crosses_documents(model: PreTrainedModel) -> None:
    document_ids_BL = torch.tensor([[0, 0, 0, 1, 1, 1]])
    set_bidirectional(model)
    inputs = {"position_ids": packed_position_ids(document_ids_BL)}
    opened = influence(model, 1, attention_mask=document_mask(document_ids_BL), **inputs)
    assert (opened > 0).tolist() == [True] * 3 + [False] * 3
    half = annealed_mask(
        document_ids_BL, sample_future_mask(6, 0.5, torch.Generator().manual_seed(0))
    )
    assert (influence(model, 4, attention_mask=half, **inputs)[:3] == 0).all()
    causal = influence(model, 4, attention_mask=causal_mask(document_ids_BL), **inputs)
    assert (causal > 0).tolist() == [False] * 3 + [True] * 2 + [False]


def test_packed_equals_separate(model: PreTrainedModel) -> None:
    set_bidirectional(model)
    first, second = torch.arange(30, 35)[None], torch.arange(60, 67)[None]
    document_ids_BL = torch.tensor([[0] * 5 + [1] * 7 + [-1] * 2])
    packed_BL = torch.cat([first, second, torch.zeros(1, 2, dtype=torch.long)], dim=1)
    positions_BL = packed_position_ids(document_ids_BL)
    with torch.no_grad():
        packed = aligned_states(model, packed_BL, document_mask(document_ids_BL), positions_BL)
        alone = [aligned_states(model, row) for row in (first, second)]
    # Index 0 of a document is never scored: aligned, it reads from the document before it.
    torch.testing.assert_close(packed[:, 1:5], alone[0][:, 1:])
    torch.testing.assert_close(packed[:, 6:12], alone[1][:, 1:])


@pytest.mark.parametrize(
    "change", [{"num_attention_heads": 3}, {"num_attention_heads": 16}, {"num_key_value_heads": 4}]
)
def test_heads_that_do_not_divide_are_refused(
    architecture: ArchitectureParams, change: dict[str, int]
) -> None:
    with pytest.raises(ValidationError, match="multiple"):
        type(architecture)(**architecture.model_dump() | change)
