"""Each objective against its formula, worked out on small numbers."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from choices import objective_of
from pydantic import ValidationError
from torch import Tensor

from diffucoder.errors import BadParameters
from diffucoder.rl import objectives
from diffucoder.rl.objectives.base import Objective, Scores
from diffucoder.rl.objectives.grpo import clipped_loss

OPTIONS: dict[str, dict[str, float]] = {
    "espo": {"epsilon": 0.2, "beta": 0.1},
    "gdsd": {"psi": 0.5, "epsilon": 0.2, "beta": 0.1},
    "grpo": {"epsilon": 0.2, "beta": 0.1},
    "spg": {"power": 1.5, "mix": 0.5},
    "wd1": {"psi": 2.0},
}
# Two completions of three tokens; the last of the second is padding, and holds nonsense.
MASK_BL = torch.tensor([[True, True, True], [True, True, False]])
NEW_BL = torch.tensor([[-1.0, -2.0, -0.5], [-0.3, -0.7, -50.0]])
OLD_BL = torch.tensor([[-1.2, -1.9, -0.9], [-0.2, -0.5, 9.0]])
REF_BL = torch.tensor([[-1.5, -1.0, -0.4], [-0.3, -0.9, 7.0]])
WEIGHTS_B = torch.tensor([2.0, -1.0])
every = pytest.mark.parametrize("name", objectives.NAMES)


def scores(new_BL: Tensor = NEW_BL, ref_BL: Tensor | None = None, **changes: Tensor) -> Scores:
    """Scores of both completions, with the reference's if they are given."""
    whole = Scores(new_BL, MASK_BL, WEIGHTS_B, OLD_BL, ref_BL)
    return replace(whole, **changes)


def loss_of(objective: Objective, rows: slice = slice(0, 2), denominator: float = 2.0) -> Tensor:
    ref_BL = REF_BL[rows] if objective.needs_reference else None
    part = Scores(NEW_BL[rows], MASK_BL[rows], WEIGHTS_B[rows], OLD_BL[rows], ref_BL)
    return objective.loss(part, denominator).loss


def test_grpo_is_the_clipped_loss() -> None:
    loss, metrics = objective_of("grpo", **OPTIONS["grpo"]).loss(scores(ref_BL=REF_BL), 5.0)
    expected, its_metrics = clipped_loss(NEW_BL, OLD_BL, WEIGHTS_B, MASK_BL, 0.2, 5.0, REF_BL, 0.1)
    assert loss == expected and metrics == its_metrics


def test_espo_by_hand() -> None:
    # Ratios exp(0.5 / 3) = 1.18 and exp(-0.3 / 2) = 0.86, both inside [0.8, 1.2]; the reference
    # is 0.6 nats below the first completion and 0.2 below the second.
    gains = [2 * math.exp(0.5 / 3), -math.exp(-0.3 / 2)]
    kls = [0.6**2 / 6, 0.2**2 / 4]
    loss, metrics = objective_of("espo", **OPTIONS["espo"]).loss(scores(ref_BL=REF_BL), 2.0)
    expected = -sum(gain - 0.1 * kl for gain, kl in zip(gains, kls, strict=True)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert metrics["kl"].item() == pytest.approx(sum(kls) / 2, rel=1e-5)
    assert metrics["clip_ratio"].item() == 0


def test_espo_clips_whole_completions() -> None:
    new_BL = OLD_BL + torch.tensor([[3.0, 0.0, 0.0], [-2.0, 0.0, 0.0]])
    objective = objective_of("espo", epsilon=0.2, beta=0.0)
    new_BL.requires_grad_()
    loss, metrics = objective.loss(scores(new_BL), 2.0)
    assert loss.item() == pytest.approx(-(2 * 1.2 - 0.8) / 2, rel=1e-5)
    loss.backward()
    assert not new_BL.grad.any() and metrics["clip_ratio"].item() == 1


def test_gdsd_by_hand() -> None:
    # Moved by 0.5 and -0.3 nats, held at log 1.2 and log 0.8; the reference pulls 1.1 and -0.5
    # nats a completion.
    residuals = [
        math.log(1.2) / 3 - 0.5 * 2 - 0.1 * 1.1 / 3,
        math.log(0.8) / 2 + 0.5 - 0.1 * -0.5 / 2,
    ]
    loss, metrics = objective_of("gdsd", **OPTIONS["gdsd"]).loss(scores(ref_BL=REF_BL), 2.0)
    assert loss.item() == pytest.approx(sum(r**2 for r in residuals) / 2, rel=1e-5)
    assert metrics["residual"].item() == pytest.approx(sum(map(abs, residuals)) / 2, rel=1e-5)
    assert metrics["clip_ratio"].item() == 1


def test_gdsd_rests_where_the_policy_is_its_teacher() -> None:
    psi, weights_B = 0.01, torch.tensor([1.0, -2.0])
    new_BL = OLD_BL + psi * weights_B[:, None]
    loss, _ = objective_of("gdsd", psi=psi, epsilon=0.2, beta=0.0).loss(
        scores(new_BL, weights_B=weights_B), 2.0
    )
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_wd1_weights_by_hand() -> None:
    advantages_PG = torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
    weights_PG = objective_of("wd1", psi=math.log(2)).weights(advantages_PG)
    # exp(psi A) is 2, 1/2 and 1: w+ = 4/7, 1/7, 2/7 and w- the other way round.
    expected_PG = torch.tensor([[9 / 7, -9 / 7, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(weights_PG, expected_PG)


@pytest.mark.parametrize("name", ["wd1", "spg"])
def test_ratio_free_losses_are_weighted_log_likelihoods(name: str) -> None:
    objective = objective_of(name, **OPTIONS[name])
    loss, _ = objective.loss(scores(old_BL=torch.full_like(OLD_BL, 7.0)), 4.0)
    assert loss.item() == pytest.approx(-(2 * -3.5 - 1 * -1.0) / 4, rel=1e-5)
    assert not objective.needs_old_logprobs and not objective.needs_reference


@every
def test_a_step_down_the_gradient_raises_what_was_good(name: str) -> None:
    objective = objective_of(name, **OPTIONS[name])
    new_BL = OLD_BL.clone().requires_grad_()
    ref_BL = OLD_BL if objective.needs_reference else None
    objective.loss(scores(new_BL, ref_BL), 2.0)[0].backward()
    moved_BL = -new_BL.grad
    assert (moved_BL[0] > 0).all() and (moved_BL[1, :2] < 0).all() and moved_BL[1, 2] == 0


@every
def test_padding_is_not_read(name: str) -> None:
    objective = objective_of(name, **OPTIONS[name])
    nonsense_BL = torch.where(MASK_BL, NEW_BL, math.nan)
    ref_BL = REF_BL if objective.needs_reference else None
    loss, metrics = objective.loss(scores(nonsense_BL, ref_BL), 2.0)
    torch.testing.assert_close(loss, loss_of(objective))
    assert all(torch.isfinite(value) for value in metrics.values())


@every
def test_accumulation_over_one_denominator_equals_one_batch(name: str) -> None:
    objective = objective_of(name, **OPTIONS[name])
    parts = [loss_of(objective, rows) for rows in (slice(0, 1), slice(1, 2))]
    torch.testing.assert_close(sum(parts), loss_of(objective))


@every
def test_a_completion_without_tokens_adds_nothing(name: str) -> None:
    objective = objective_of(name, **OPTIONS[name])
    new_BL = NEW_BL.clone().requires_grad_()
    ref_BL = REF_BL if objective.needs_reference else None
    loss, metrics = objective.loss(scores(new_BL, ref_BL, mask_BL=torch.zeros_like(MASK_BL)), 2.0)
    loss.backward()
    assert loss.item() == 0 and not new_BL.grad.any()
    assert all(torch.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("name", ["espo", "gdsd", "grpo"])
def test_a_reference_is_asked_for(name: str) -> None:
    with pytest.raises(ValueError, match="pass ref_BL"):
        objective_of(name, **OPTIONS[name]).loss(scores(), 2.0)


@pytest.mark.parametrize("name", ["espo", "gdsd", "grpo"])
def test_before_the_first_update_the_old_policy_is_the_new_one(name: str) -> None:
    objective = objective_of(name, **OPTIONS[name])
    one_BL, other_BL = (NEW_BL.clone().requires_grad_() for _ in range(2))
    unscored = replace(scores(one_BL, REF_BL), old_BL=None)
    losses = [
        objective.loss(unscored, 2.0).loss,
        objective.loss(scores(other_BL, REF_BL, old_BL=other_BL.detach()), 2.0).loss,
    ]
    for loss in losses:
        loss.backward()
    assert losses[0] == losses[1] and torch.equal(one_BL.grad, other_BL.grad)


@pytest.mark.parametrize(
    ("name", "old", "reference", "elbo"),
    [
        ("grpo", True, True, False),
        ("espo", True, True, False),
        ("gdsd", True, True, False),
        ("spg", False, False, True),
        ("wd1", False, False, False),
    ],
)
def test_objectives_say_what_they_need(name: str, old: bool, reference: bool, elbo: bool) -> None:
    objective = objective_of(name, **OPTIONS[name])
    assert objective.needs_old_logprobs == old
    assert objective.needs_reference == reference
    assert objective.needs_elbo == objective.options.needs_elbo == elbo
    if reference:
        assert not objective_of(name, **OPTIONS[name] | {"beta": 0.0}).needs_reference


@every
def test_options_are_all_named(name: str) -> None:
    options = type(objectives.make(name).options)
    assert set(options.model_fields) - {"name"} == set(OPTIONS[name])


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        BadParameters, match=r"unknown objective 'ppo': expected one of \['espo', 'gdsd'"
    ):
        objectives.make("ppo")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ppo", {}, "expected objective options with a `name`: espo, gdsd, grpo, spg, wd1"),
        ("wd1", {"psi": 0.0}, "wd1.psi\n  Input should be greater than 0"),
        ("spg", {"psi": 1}, "spg.psi\n  Extra inputs are not permitted"),
    ],
)
def test_bad_choices_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        objective_of(name, **options)
