"""What every estimator must do, whatever it estimates."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from choices import estimator_of
from helpers import seeded
from pydantic import ValidationError
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.errors import BadParameters
from diffucoder.rl import estimators
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators.base import Estimator

MASK, STEPS = 12, 3
VARIANTS: list[tuple[str, dict[str, Any], int]] = [
    ("coupled", {"pairs": 2}, 5),
    ("coupled", {"pairs": 2, "full_view": False}, 4),
    ("decoupled", {}, 3),
    ("decoupled", {"full_view": False}, 2),
    ("dream_coder", {}, 2),
    ("full_mask", {}, 1),
    ("full_mask", {"prompt_masking": 0.5}, 1),
    ("monte_carlo", {"draws": 3}, 3),
    ("stratified_t", {"draws": 2}, 2),
    ("trace", {"steps": STEPS, "group": 2}, 2),
    # One of the user's own.
    ("custom_estimator.Combs", {"teeth": 3}, 3),
]
NOTHING_DRAWN = [
    ("full_mask", {}),
    ("trace", {"steps": STEPS, "group": 2}),
    ("custom_estimator.Combs", {"teeth": 3}),
]
every = pytest.mark.parametrize(("name", "options", "forwards"), VARIANTS, ids=str)
Batches = Callable[..., CompletionBatch]


def made(name: str, options: dict[str, Any]) -> Estimator:
    return estimator_of(name, mask_token_id=MASK, **options)


def traced(batch: CompletionBatch) -> CompletionBatch:
    """The batch as if the sampler had revealed every third position at each step."""
    steps_BL = torch.arange(batch.completion_ids.shape[1]).expand_as(batch.completion_ids) % STEPS
    return replace(batch, reveal_step=steps_BL)


def test_every_registered_estimator_is_in_the_tests_below() -> None:
    assert {name for name, _, _ in VARIANTS if "." not in name} == set(estimators.NAMES)


@every
def test_costs_what_it_says(
    make_batch: Batches,
    model: PreTrainedModel,
    views_of: Callable[..., list[Tensor]],
    name: str,
    options: dict[str, Any],
    forwards: int,
) -> None:
    estimator, batch = made(name, options), traced(make_batch([2, 4], [9, 5]))
    views = views_of(lambda: estimator.log_likelihood(model, batch, seeded(1, 2)))
    assert len(views) == estimator.forwards == forwards


@every
def test_padding_changes_nothing(
    make_batch: Batches, model: PreTrainedModel, name: str, options: dict[str, Any], forwards: int
) -> None:
    estimator = made(name, options)
    plain, padded = (
        traced(make_batch([2, 4, 3], [6, 3, 1], **wider)) for wider in ({}, {"left": 2, "right": 3})
    )
    expected_BL = estimator.log_likelihood(model, plain, seeded(1, 2, 3))
    estimate_BL = estimator.log_likelihood(model, padded, seeded(1, 2, 3))
    assert estimate_BL.dtype == torch.float32
    torch.testing.assert_close(estimate_BL[:, :6], expected_BL)
    assert not estimate_BL[:, 6:].any() and not expected_BL[~plain.completion_mask].any()
    assert (expected_BL <= 0).all() and expected_BL.any()


@every
def test_a_row_does_not_depend_on_its_neighbours(
    make_batch: Batches, model: PreTrainedModel, name: str, options: dict[str, Any], forwards: int
) -> None:
    estimator, batch = made(name, options), traced(make_batch([2, 4, 3], [6, 3, 5]))
    together_BL = estimator.log_likelihood(model, batch, seeded(1, 2, 3))
    turned = batch.rows(torch.tensor([2, 0]))
    apart_BL = estimator.log_likelihood(model, turned, seeded(3, 1))
    torch.testing.assert_close(apart_BL, together_BL[[2, 0]])


@every
def test_draws_come_from_the_generator_alone(
    make_batch: Batches, model: PreTrainedModel, name: str, options: dict[str, Any], forwards: int
) -> None:
    estimator, batch = made(name, options), traced(make_batch([5, 4], [9, 7]))
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    one_BL, same_BL, other_BL = (
        estimator.log_likelihood(model, batch, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(one_BL, same_BL)
    draws_nothing = name in ("trace", "custom_estimator.Combs") or (name, options) == (
        "full_mask",
        {},
    )
    assert torch.equal(one_BL, other_BL) == draws_nothing


@every
def test_gradients_reach_the_model(
    make_batch: Batches, model: PreTrainedModel, name: str, options: dict[str, Any], forwards: int
) -> None:
    batch = traced(make_batch([2, 4], [9, 7]))
    made(name, options).log_likelihood(model, batch, seeded(1, 2)).sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())
    assert all(weight.grad.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize("name", estimators.NAMES)
def test_a_name_stands_for_its_defaults(name: str) -> None:
    by_name = estimators.make(name, mask_token_id=MASK, steps=STEPS)
    assert by_name == estimator_of(name, mask_token_id=MASK, steps=STEPS)
    assert by_name.options.name == name


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(BadParameters, match=r"'cupled': expected one of \['coupled', 'decoupled'"):
        estimators.make("cupled", mask_token_id=3)


def test_a_missing_option_is_named() -> None:
    with pytest.raises(BadParameters, match="trace estimator needs `steps`"):
        estimators.make("trace", mask_token_id=3)
    with pytest.raises(BadParameters, match="at least 1, got 0"):
        estimators.make("trace", mask_token_id=3, steps=0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "decoupled",
            {"pairs": 0},
            r"decoupled.pairs\n  Input should be greater than or equal to 1",
        ),
        ("decoupled", {"low": 0.0}, r"decoupled.low\n  Input should be greater than 0"),
        ("decoupled", {"low": 0.9}, r"low \(0.9\) must not be above high \(0.8\)"),
        ("monte_carlo", {"draws": 0}, "draws\n  Input should be greater than or equal to 1"),
        ("stratified_t", {"low": 0.0}, "stratified_t.low\n  Input should be greater than 0"),
        ("full_mask", {"prompt_masking": 1.0}, "prompt_masking\n  Input should be less than 1"),
        ("trace", {"steps": 4, "group": 0}, "group\n  Input should be greater than or equal to 1"),
    ],
)
def test_bad_options_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        made(name, options)


def test_an_option_that_it_lacks_is_named() -> None:
    with pytest.raises(ValidationError, match=r"pairs\n  Extra inputs are not permitted"):
        estimator_of("full_mask", mask_token_id=3, pairs=1)


@pytest.mark.parametrize("name", estimators.NAMES)
def test_a_required_field_that_is_not_given_is_named(name: str) -> None:
    with pytest.raises(TypeError, match="mask_token_id"):
        estimators.make(name)


def test_what_the_options_say_of_the_elbo_the_estimator_says() -> None:
    for name, options, _ in VARIANTS:
        estimator = made(name, options)
        if "." not in name:
            assert estimator.is_elbo == estimator.options.is_elbo
