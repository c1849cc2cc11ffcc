"""The inner iterations against numbers worked out by hand."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import rank_context
from torch import Tensor, nn
from transformers import PreTrainedModel

from diffucoder.config.grpo import GrpoParams
from diffucoder.diffusion.generators import Generators
from diffucoder.engine import zero
from diffucoder.engine.job import Job
from diffucoder.rl import objectives
from diffucoder.rl.batch import CompletionBatch, from_canvas
from diffucoder.rl.estimators.coupled import Coupled
from diffucoder.rl.estimators.options import CoupledOptions
from diffucoder.rl.objectives.grpo import clipped_loss
from diffucoder.rl.objectives.options import GrpoOptions
from diffucoder.rl.update import PolicyLoss, inner_updates, row_generators

MASK, END, PAD, VOCABULARY = 0, 1, 2, 12
PROMPTS = [[3, 4], [5, 6, 7], [8], [9, 10]]
CANVAS = torch.tensor([[4, 5, 6, 1], [7, 1, 2, 2], [8, 9, 10, 11], [3, 3, 1, 2]])
# The third completion earned what its group did on average and takes no part.
ADVANTAGES = torch.tensor([1.0, -1.0, 0.0, 0.5])
KEPT = torch.tensor([0, 1, 3])
STEP = 5

Parameters = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Recording(Coupled):
    """The coupled estimator, with a note of who was scored from which state of the draws.

    It draws its masks from the generators alone, so equal states are equal masks.
    """

    reference: nn.Module | None = None
    seen: list[tuple[str, tuple[bytes, ...]]] = field(default_factory=list)

    def log_likelihood(
        self, model: nn.Module, batch: CompletionBatch, generator: Generators
    ) -> Tensor:
        who = "new" if torch.is_grad_enabled() else "old"
        who = "reference" if model is self.reference else who
        states = tuple(own.get_state().numpy().tobytes() for own in generator)
        self.seen.append((who, states))
        return super().log_likelihood(model, batch, generator)

    def states(self, who: str) -> list[tuple[bytes, ...]]:
        """The states that `who` was scored from, in order."""
        return [states for name, states in self.seen if name == who]


@dataclass(frozen=True)
class Step:
    """One policy, one reference, one batch, and what `inner_updates` made of them."""

    before: nn.Module
    after: nn.Module
    recording: Recording
    metrics: list[dict[str, float]]


@pytest.fixture
def batch() -> CompletionBatch:
    return from_canvas(PROMPTS, CANVAS, END, PAD)


@pytest.fixture
def make_step(
    make_model: Callable[..., PreTrainedModel],
    parameters: Parameters,
    batch: CompletionBatch,
    tmp_path: Path,
    process_group: None,
) -> Callable[..., Step]:
    """`make_step(num_iterations=2, beta=0.1)` updates a fresh policy on the batch."""

    def make(
        num_iterations: int,
        beta: float,
        epsilon: float = 0.05,
        updates: int = 1,
        micro_batch: int | None = None,
    ) -> Step:
        read = parameters("test", "grpo", work="unused", num_iterations=num_iterations)
        read["training"]["optimizer"]["learning_rate"] = 3e-2
        read["training"]["schedule"] = {"kind": "constant", "warmup_steps": 0}
        if micro_batch is not None:
            read["training"]["engine"]["micro_batch"] = micro_batch
        params = GrpoParams(**read)
        policy = make_model(VOCABULARY, seed=0, dtype=torch.float32)
        reference = make_model(VOCABULARY, seed=1, dtype=torch.float32)
        before = copy.deepcopy(policy)
        engine = zero.initialize(policy, params.training)
        recording = Recording(CoupledOptions(), mask_token_id=MASK, reference=reference)
        objective = objectives.make(GrpoOptions(epsilon=epsilon, beta=beta))
        policy_loss = PolicyLoss(recording, objective, reference)
        job = Job(
            stage="grpo", parameters={}, inputs={}, work=tmp_path, output=tmp_path / "model", seed=0
        )
        here = rank_context(job)
        for _ in range(updates):
            metrics = inner_updates(
                here, engine, policy_loss, params, STEP, batch, ADVANTAGES, first_row=0
            )
        return Step(before, policy, recording, metrics)

    return make


def scored(model: nn.Module, batch: CompletionBatch, states: tuple[bytes, ...]) -> Tensor:
    """Estimates of the kept rows with the draws that these states give."""
    draws = []
    for state in states:
        generator = torch.Generator()
        generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
        draws.append(generator)
    with torch.no_grad():
        return Coupled(CoupledOptions(), MASK).log_likelihood(model, batch.rows(KEPT), draws)


def by_hand(
    new: nn.Module, old: nn.Module, step: Step, batch: CompletionBatch, iteration: int, beta: float
) -> dict[str, float]:
    """Loss and metrics of one iteration from the three models as they were."""
    states = step.recording.states("new")[iteration]
    mask = batch.completion_mask[KEPT]
    loss, metrics = clipped_loss(
        scored(new, batch, states),
        scored(old, batch, states),
        ADVANTAGES[KEPT],
        mask,
        epsilon=0.05,
        denominator=float(mask.sum()),
        ref_BL=scored(step.recording.reference, batch, states),
        beta=beta,
    )
    return {"loss": loss.item()} | {name: value.item() for name, value in metrics.items()}


def test_policies_compared_see_the_same_masks_and_each_iteration_new_ones(
    make_step: Callable[..., Step],
) -> None:
    recording = make_step(num_iterations=2, beta=0.1).recording
    first, second = recording.states("new")
    assert set(first).isdisjoint(second), "masks are drawn anew in every iteration"
    assert len(set(first)) == len(first), "and for every row"
    assert recording.states("reference") == [first, second]
    # In the first iteration the policy is the one that made the rollouts: it is scored once.
    assert recording.states("old") == [second]


def test_second_iteration_is_measured_against_the_policy_before_the_first(
    make_step: Callable[..., Step], batch: CompletionBatch
) -> None:
    once = make_step(num_iterations=1, beta=0.1)
    twice = make_step(num_iterations=2, beta=0.1)
    expected = by_hand(once.after, twice.before, twice, batch, iteration=1, beta=0.1)
    found = twice.metrics[1]
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    # The update moved the policy far enough for ratio and clip to tell.
    assert abs(expected["ratio"] - 1) > 0.01
    assert expected["clip_ratio"] > 0
    assert expected["kl"] > 0.1


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_one_iteration_holds_on_to_the_reference(
    make_step: Callable[..., Step], batch: CompletionBatch, beta: float
) -> None:
    # The released code scores no reference when there is one inner iteration.
    step = make_step(num_iterations=1, beta=beta)
    expected = by_hand(step.before, step.before, step, batch, iteration=0, beta=beta)
    expected["kl"] *= beta > 0
    (found,) = step.metrics
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert found["ratio"] == pytest.approx(1.0)
    assert found["clip_ratio"] == 0.0


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_micro_batches_of_like_prompts_make_the_same_update(
    make_step: Callable[..., Step], micro_batch: int
) -> None:
    whole = make_step(num_iterations=2, beta=0.1)
    split = make_step(num_iterations=2, beta=0.1, micro_batch=micro_batch)
    assert len(split.recording.states("new")[0]) == micro_batch
    for mine, own in zip(split.metrics, whole.metrics, strict=True):
        for name in ("loss", "kl", "grad_norm"):
            assert mine[name] == pytest.approx(own[name], rel=1e-4), name
    for weight, other in zip(split.after.parameters(), whole.after.parameters(), strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-3, atol=1e-4)


def test_better_completions_become_likelier_than_worse_ones(
    make_step: Callable[..., Step], batch: CompletionBatch
) -> None:
    step = make_step(updates=6, num_iterations=1, beta=0.0, epsilon=0.5)
    states = step.recording.states("new")[0]
    before = scored(step.before, batch, states).sum(1)
    after = scored(step.after, batch, states).sum(1)
    gain = after - before
    assert gain[0] > 0 > gain[1]


def test_completions_without_advantage_move_nothing(
    make_step: Callable[..., Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.ADVANTAGES", torch.zeros(4))
    step = make_step(num_iterations=2, beta=0.1)
    assert step.metrics == []
    before = step.before.state_dict()
    assert all(torch.equal(before[name], w) for name, w in step.after.state_dict().items())


def test_masks_are_fresh_in_every_inner_iteration(tmp_path: Path) -> None:
    # The released code draws the first micro-batch from seed 1 in every iteration.
    job = Job(stage="grpo", parameters={}, inputs={}, work=tmp_path, output=tmp_path, seed=0)
    here = rank_context(job)

    def seeds(step: int, iteration: int, rows: range) -> list[int]:
        drawn = row_generators(here, step, iteration, rows)
        return [generator.initial_seed() for generator in drawn]

    each = [seeds(step, iteration, range(4)) for step in (0, 1) for iteration in (0, 1)]
    assert len({seed for own in each for seed in own}) == 16
    assert seeds(0, 1, range(2, 4)) == each[1][2:], "a row names its own draws"
