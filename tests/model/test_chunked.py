"""The chunked form against the plain one: logits, log-softmax, gather, by autograd."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from diffucoder.model.chunked import Head, cross_entropy, weighted_cross_entropy
from diffucoder.model.projection import (
    MIB,
    aligned_states,
    chunk_for,
    token_log_probs,
)

TOLERANCE = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-12},
    torch.float32: {"rtol": 1e-4, "atol": 1e-5},
    torch.bfloat16: {"rtol": 2e-2, "atol": 2e-2},
}


def make_head(
    positions: int, width: int, vocabulary: int, dtype: torch.dtype, bias: bool = False
) -> tuple[Head, Tensor]:
    """A head that wants gradients, and targets."""
    generator = torch.Generator().manual_seed(positions * 1000 + vocabulary)

    def draw(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return drawn.to(dtype).requires_grad_()

    head = Head(draw(positions, width), draw(vocabulary, width), draw(vocabulary) if bias else None)
    return head, torch.randint(vocabulary, (positions,), generator=generator)


def plain(head: Head, targets_N: Tensor) -> Tensor:
    logits_NV = nn.functional.linear(*head)
    wide_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
    return -wide_NV.log_softmax(-1).gather(1, targets_N[:, None])[:, 0]


def gradients(value: Tensor, head: Head) -> list[Tensor]:
    return list(torch.autograd.grad(value, [part for part in head if part is not None]))


@given(
    positions=st.integers(1, 9),
    width=st.integers(1, 5),
    vocabulary=st.integers(2, 30),
    chunk=st.integers(1, 10),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    bias=st.booleans(),
)
def test_losses_and_gradients_are_those_of_the_plain_form(
    positions: int, width: int, vocabulary: int, chunk: int, dtype: torch.dtype, bias: bool
) -> None:
    head, targets_N = make_head(positions, width, vocabulary, dtype, bias)
    close = TOLERANCE[dtype]
    expected_N = plain(head, targets_N)
    losses_N = cross_entropy(head, targets_N, chunk)
    torch.testing.assert_close(losses_N, expected_N, **close)
    # Weights that depend on the losses, as those of a policy gradient do.
    expected = gradients(expected_N.pow(2).sum(), head)
    for got, wanted in zip(gradients(losses_N.pow(2).sum(), head), expected, strict=True):
        torch.testing.assert_close(got, wanted, **close)


@given(
    positions=st.integers(1, 9),
    vocabulary=st.integers(2, 30),
    chunk=st.integers(1, 10),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    bias=st.booleans(),
)
def test_the_weighted_sum_is_that_of_the_plain_form(
    positions: int, vocabulary: int, chunk: int, dtype: torch.dtype, bias: bool
) -> None:
    head, targets_N = make_head(positions, 4, vocabulary, dtype, bias)
    weights_N = torch.linspace(-1, 3, positions, dtype=dtype)
    close = TOLERANCE[dtype]
    expected_N = plain(head, targets_N)
    total, losses_N, correct_N = weighted_cross_entropy(head, targets_N, weights_N, chunk)
    torch.testing.assert_close(losses_N, expected_N.detach(), **close)
    torch.testing.assert_close(total, (weights_N * expected_N).sum(), **close)
    likeliest_N = nn.functional.linear(*head).argmax(1)
    assert torch.equal(correct_N, likeliest_N == targets_N)
    # Something follows the sum: its derivative has to arrive.
    expected = gradients(3 * (weights_N * expected_N).sum(), head)
    for got, wanted in zip(gradients(3 * total, head), expected, strict=True):
        torch.testing.assert_close(got, wanted, **close)


def test_half_precision_chunks_add_up_in_float32() -> None:
    head, targets_N = make_head(512, 4, 7, torch.bfloat16)
    exact = Head(*(None if part is None else part.detach().double() for part in head))
    for part in exact[:2]:
        part.requires_grad_()
    wanted = gradients(plain(exact, targets_N).sum(), exact)[1]
    total, losses_N, _ = weighted_cross_entropy(head, targets_N, torch.ones(512), 1)
    got = gradients(total, head)[1]
    assert losses_N.dtype == torch.float32 and got.dtype == torch.bfloat16
    # 512 additions in bfloat16, which has 8 bits, would be off by far more than one rounding.
    torch.testing.assert_close(got.double(), wanted, rtol=2e-2, atol=2e-1)


def test_without_gradient_the_sum_is_the_same() -> None:
    head, targets_N = make_head(5, 3, 11, torch.float32)
    weights_N = torch.arange(5.0)
    with torch.no_grad():
        total, losses_N, _ = weighted_cross_entropy(head, targets_N, weights_N, 2)
        torch.testing.assert_close(cross_entropy(head, targets_N, 2), losses_N)
    assert not total.requires_grad
    torch.testing.assert_close(total, (weights_N * plain(head, targets_N)).sum().detach())


def test_a_frozen_head_gets_no_gradient() -> None:
    head, targets_N = make_head(5, 3, 11, torch.float32)
    frozen = head._replace(weight=head.weight.detach())
    for total in (
        weighted_cross_entropy(frozen, targets_N, torch.ones(5), 2)[0],
        cross_entropy(frozen, targets_N, 2).sum(),
    ):
        total.backward()
    twice = gradients(2 * plain(head, targets_N).sum(), head)[0]
    torch.testing.assert_close(frozen.states.grad, twice)


def test_no_tensor_is_as_large_as_the_logits() -> None:
    head, targets_N = make_head(64, 4, 500, torch.float32)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(
            self,
            func: Callable[..., Any],
            types: tuple[type, ...],
            args: tuple[Any, ...] = (),
            kwargs: dict[str, Any] | None = None,
        ) -> Any:
            nonlocal largest
            made = func(*args, **(kwargs or {}))
            if isinstance(made, Tensor):
                largest = max(largest, made.numel())
            return made

    with Watch():
        weighted_cross_entropy(head, targets_N, torch.ones(64), 6)[0].backward()
        cross_entropy(head, targets_N, 6).sum().backward()
    assert largest == 6 * 500
    largest = 0
    with Watch():
        plain(head, targets_N).sum().backward()
    assert largest == 64 * 500


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_scores_in_chunks_as_at_once(
    make_model: Callable[..., PreTrainedModel], tied: bool
) -> None:
    model = make_model(97, dtype=torch.float32)
    if tied:
        model.config.tie_word_embeddings = True
        model.tie_weights()
    tokens_BL = torch.arange(24).view(2, 12) * 4 % 97
    where_BL = torch.rand(2, 12, generator=torch.Generator().manual_seed(0)) < 0.7

    def scored(mib: float) -> tuple[int | None, Tensor, list[Tensor]]:
        model.zero_grad()
        scores_N = token_log_probs(
            model, aligned_states(model, tokens_BL)[where_BL], tokens_BL[where_BL], mib
        )
        scores_N.exp().sum().backward()
        grads = [weight.grad.clone() for weight in model.parameters()]
        return chunk_for(model.config.vocab_size, len(scores_N), mib), scores_N.detach(), grads

    at_once, expected_N, expected = scored(1.0)
    chunk, scores_N, grads = scored(5 * 97 * 6 / MIB)
    assert at_once is None and chunk == 5
    torch.testing.assert_close(scores_N, expected_N)
    for got, wanted in zip(grads, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_under_autocast_the_head_computes_in_half_precision(
    make_model: Callable[..., PreTrainedModel],
) -> None:
    model = make_model(97, dtype=torch.float32)
    tokens_BL = torch.arange(12)[None]

    def scored(mib: float) -> tuple[Tensor, Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            states_LD = aligned_states(model, tokens_BL)[0]
            scores_N = token_log_probs(model, states_LD, tokens_BL[0], mib)
        scores_N.sum().backward()
        return scores_N.detach(), model.get_output_embeddings().weight.grad.clone()

    at_once, in_chunks = scored(1.0), scored(1e-6)
    for got, wanted in zip(in_chunks, at_once, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, wanted, **TOLERANCE[torch.bfloat16])
