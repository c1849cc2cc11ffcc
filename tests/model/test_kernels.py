"""Each attention kernel: documents stay apart, packing and padding change nothing."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask

from diffucoder.errors import BadParameters
from diffucoder.model import kernels
from diffucoder.model.attention import annealed_mask, document_mask, sample_future_mask
from diffucoder.model.compute import choose, conditions
from diffucoder.model.kernels import document_attention, segments
from diffucoder.model.positions import packed_position_ids, position_ids
from diffucoder.model.projection import aligned_states, token_log_probs

VOCABULARY = 50
# Two rows: a document that goes on in the next row, one of a single token, and filler.
DOCUMENTS_BL = torch.tensor([[3] * 5 + [4] * 6 + [5], [5] * 4 + [6] * 6 + [-1] * 2])
TOKENS_BL = torch.arange(24).view(2, 12) * 7 % VOCABULARY


def segment_by_segment(
    query_THD: Tensor,
    key_TGD: Tensor,
    value_TGD: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    scale: float,
) -> Tensor:
    """What the kernels compute, in words of its own: runs anywhere."""
    lengths = cu_seqlens.diff().tolist()
    assert max(lengths) == max_seqlen and sum(lengths) == len(query_THD)
    groups = query_THD.shape[1] // key_TGD.shape[1]
    key_THD, value_THD = (x.repeat_interleave(groups, dim=1) for x in (key_TGD, value_TGD))
    parts = zip(*(x.split(lengths) for x in (query_THD, key_THD, value_THD)), strict=True)
    outputs = []
    for query, key, value in parts:
        scores_HLL = torch.einsum("qhd,khd->hqk", query, key) * scale
        outputs.append(torch.einsum("hqk,khd->qhd", scores_HLL.softmax(-1), value))
    return torch.cat(outputs)


@pytest.fixture(
    params=[
        "sdpa",
        "segment_by_segment",
        pytest.param("varlen", marks=pytest.mark.gpu),
        pytest.param("flash", marks=pytest.mark.gpu),
    ]
)
def model(
    request: pytest.FixtureRequest,
    make_model: Callable[..., PreTrainedModel],
    monkeypatch: pytest.MonkeyPatch,
) -> PreTrainedModel:
    """A bidirectional model with two query heads a key head, under each kernel."""
    kernel = request.param
    if kernel == "sdpa":
        return make_model(VOCABULARY, dtype=torch.float32)
    if kernel == "segment_by_segment":
        monkeypatch.setitem(kernels.NAMES, kernel, kernel)
        AttentionInterface.register(kernel, kernels.attention_by(segment_by_segment))
        AttentionMaskInterface.register(kernel, sdpa_mask)
        model = make_model(VOCABULARY, dtype=torch.float32)
        model.set_attn_implementation(kernel)
        return model
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = make_model(VOCABULARY, dtype=torch.bfloat16).to(device)
    try:
        choose(kernel, conditions(model, True, device))
    except BadParameters as error:
        pytest.skip(str(error))
    kernels.register()
    model.set_attn_implementation(kernels.NAMES[kernel])
    return model


def assert_close(got: Tensor, expected: Tensor) -> None:
    tolerance = 1e-5 if got.dtype == torch.float32 else 3e-2
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


def packed_states(model: PreTrainedModel, tokens_BL: Tensor, documents_BL: Tensor) -> Tensor:
    tokens_BL, documents_BL = tokens_BL.to(model.device), documents_BL.to(model.device)
    attention = document_attention(model, documents_BL)
    return aligned_states(model, tokens_BL, attention, packed_position_ids(documents_BL))


def test_segments_are_the_documents_of_each_row() -> None:
    cu_seqlens, max_seqlen = segments(DOCUMENTS_BL)
    assert cu_seqlens.tolist() == [0, 5, 11, 12, 16, 22, 24]
    assert cu_seqlens.dtype == torch.int32
    assert max_seqlen == 6


def test_no_gradient_crosses_documents(model: PreTrainedModel) -> None:
    tokens_BL, documents_BL = TOKENS_BL.to(model.device), DOCUMENTS_BL.to(model.device)
    for place in [(0, 3), (0, 9), (0, 11), (1, 1), (1, 8)]:
        embedded_BLD = model.get_input_embeddings()(tokens_BL).detach().requires_grad_()
        output = model.get_decoder()(
            inputs_embeds=embedded_BLD,
            position_ids=packed_position_ids(documents_BL),
            **kernels.forward_inputs(model, document_attention(model, documents_BL)),
        )
        output.last_hidden_state[place].sum().backward()
        reached_BL = embedded_BLD.grad.abs().sum(-1) > 0
        own_BL = torch.zeros_like(reached_BL)
        own_BL[place[0]] = documents_BL[place[0]] == documents_BL[place]
        assert torch.equal(reached_BL, own_BL), f"position {place} sees other documents"


def test_packed_documents_are_what_they_are_alone(model: PreTrainedModel) -> None:
    with torch.no_grad():
        packed_BLD = packed_states(model, TOKENS_BL, DOCUMENTS_BL)
        for row in range(2):
            for document in DOCUMENTS_BL[row].unique().tolist():
                places = DOCUMENTS_BL[row] == document
                if document == -1 or places.sum() < 2:
                    continue
                alone_BL = TOKENS_BL[row, places][None].to(model.device)
                alone_BLD = aligned_states(model, alone_BL)
                # Aligned, the first position reads from the document before.
                assert_close(packed_BLD[row, places.to(model.device)][1:], alone_BLD[0, 1:])


def test_gradients_of_the_weights_are_those_of_a_mask(model: PreTrainedModel) -> None:
    def gradients(implementation: str) -> list[Tensor]:
        model.set_attn_implementation(implementation)
        model.zero_grad()
        states_BLD = packed_states(model, TOKENS_BL, DOCUMENTS_BL)
        real_BL = (DOCUMENTS_BL >= 0).to(model.device)
        states_BLD[:, 1:][real_BL[:, 1:] & real_BL[:, :-1]].float().pow(2).mean().backward()
        body = model.get_decoder().named_parameters()
        return [weight.grad.clone() for name, weight in body]

    own = model.config._attn_implementation
    for got, expected in zip(gradients(own), gradients("sdpa"), strict=True):
        assert_close(got, expected)


def test_checkpointed_activations_give_the_same_gradients(model: PreTrainedModel) -> None:
    def gradient() -> Tensor:
        model.zero_grad()
        packed_states(model, TOKENS_BL, DOCUMENTS_BL).float().pow(2).mean().backward()
        return model.get_input_embeddings().weight.grad.clone()

    model.train()
    expected = gradient()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert_close(gradient(), expected)


@pytest.mark.parametrize(("left", "right"), [(3, 0), (0, 4), (2, 2)])
def test_a_row_does_not_depend_on_its_padding(
    model: PreTrainedModel, left: int, right: int
) -> None:
    def scores(left: int, right: int, filler: int) -> Tensor:
        row = TOKENS_BL[0].tolist()
        neighbour = [1] * (left + len(row) + right)
        tokens_BL = torch.tensor([[filler] * left + row + [filler] * right, neighbour])
        attended_BL = torch.ones_like(tokens_BL, dtype=torch.bool)
        attended_BL[0, :left] = attended_BL[0, left + len(row) :] = False
        where_BL = attended_BL.clone()
        where_BL[0, left] = False
        inputs = (tokens_BL, attended_BL, position_ids(attended_BL))
        with torch.no_grad():
            states_BLD = aligned_states(model, *(x.to(model.device) for x in inputs))
            targets_N = tokens_BL[0][where_BL[0]].to(model.device)
            return token_log_probs(model, states_BLD[0][where_BL[0]], targets_N)

    for filler in (0, 49):
        assert_close(scores(left, right, filler), scores(0, 0, filler))


def test_a_document_does_not_depend_on_the_filler_after_it(model: PreTrainedModel) -> None:
    other_BL = TOKENS_BL.clone()
    other_BL[1, 10:] = 49
    with torch.no_grad():
        one, other = (packed_states(model, t, DOCUMENTS_BL) for t in (TOKENS_BL, other_BL))
    assert torch.equal(one[1, :11], other[1, :11])
    assert not torch.equal(one[1, 11], other[1, 11])


def test_annealed_masks_run_on_sdpa_and_that_is_said_once(
    model: PreTrainedModel, caplog: pytest.LogCaptureFixture
) -> None:
    own = model.config._attn_implementation
    half_LL = sample_future_mask(12, 0.5, torch.Generator().manual_seed(0))
    mask = annealed_mask(DOCUMENTS_BL, half_LL).to(model.device)
    tokens_BL = TOKENS_BL.to(model.device)
    kernels.warn_that_masks_run_on_sdpa.cache_clear()
    with torch.no_grad(), caplog.at_level(logging.WARNING):
        states = [aligned_states(model, tokens_BL, mask) for _ in range(2)]
        model.set_attn_implementation("sdpa")
        assert torch.equal(states[0], aligned_states(model, tokens_BL, mask))
        unlike = aligned_states(model, tokens_BL, document_mask(DOCUMENTS_BL).to(model.device))
    assert not torch.equal(states[0], unlike)
    assert len(caplog.records) == (own != "sdpa")


def test_a_saved_model_asks_for_no_kernel(model: PreTrainedModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    assert not any(name in text for name in [*kernels.NAMES.values(), "attn_implementation"])
