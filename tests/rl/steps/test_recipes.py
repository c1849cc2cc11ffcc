"""Inner iterations with every objective and estimator, on a real engine and a tiny model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import rank_context
from pydantic import ValidationError
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from diffucoder.config.grpo import GrpoParams
from diffucoder.data.tokenizer import special_ids
from diffucoder.engine import zero
from diffucoder.engine.job import Job
from diffucoder.model import set_bidirectional
from diffucoder.rl import estimators, objectives
from diffucoder.rl.batch import CompletionBatch, from_canvas
from diffucoder.rl.update import PolicyLoss, inner_updates

Parameters = Callable[..., dict[str, Any]]
STEPS = 4
NO_ELBO = ("dream_coder", "full_mask", "trace", "custom_estimator.Combs")
pytestmark = [
    pytest.mark.usefixtures("process_group"),
    pytest.mark.filterwarnings("ignore:.*all_gather_into_tensor:FutureWarning"),
]


def choose(
    parameters: Parameters, objective: str, estimator: str, micro_batch: int = 8, **changes: Any
) -> GrpoParams:
    read = parameters("test", "grpo", work="unused", **changes)
    read["decoding"] |= {"max_new_tokens": 10, "steps": STEPS}
    read |= {"objective": {"name": objective}, "estimator": {"name": estimator}}
    if estimator in ("coupled", "decoupled"):
        # SPG needs draws of the ELBO, which the full view is not.
        read["estimator"]["full_view"] = objective != "spg"
    # Far enough for an update to be seen, near enough for no ratio to be clipped.
    read["training"]["optimizer"] |= {"learning_rate": 1e-4}
    read["training"]["schedule"] |= {"warmup_steps": 0}
    read["training"]["engine"] |= {"micro_batch": micro_batch}
    return GrpoParams(**read)


@pytest.fixture
def batch(tokenizer: PreTrainedTokenizerFast) -> CompletionBatch:
    special, draws = special_ids(tokenizer), torch.Generator().manual_seed(0)
    canvas_BL = torch.randint(200, (8, 10), generator=draws)
    canvas_BL[1, 6], canvas_BL[1, 7:] = special.turn_end, special.pad
    reveal_step_BL = torch.randint(STEPS, (8, 10), generator=draws)
    prompts = [[5, 6, 7, 8][: 1 + row % 4] for row in range(8)]
    return from_canvas(prompts, canvas_BL, special.turn_end, special.pad, reveal_step_BL)


class Update:
    """One step of inner iterations from the same weights, and what it did."""

    def __init__(
        self,
        model: PreTrainedModel,
        special_mask: int,
        params: GrpoParams,
        batch: CompletionBatch,
        work: Path,
    ) -> None:
        weights = {name: weight.clone() for name, weight in model.state_dict().items()}
        set_bidirectional(model)
        job = Job(stage="grpo", parameters={}, inputs={}, work=work, output=work / "model", seed=0)
        context = rank_context(job)
        engine = zero.initialize(model, params.training)
        policy_loss = PolicyLoss(
            estimators.make(params.estimator, special_mask, params.decoding.steps),
            objectives.make(params.objective),
            _moved(model),
        )
        advantages_PG = torch.tensor([[1.0, -1.0, 0.5, -0.5], [0.0, 0.0, 2.0, -2.0]])
        self.passes = 0

        def count(module: nn.Module, args: tuple) -> None:
            self.passes += 1

        hooks = [
            m.base_model.register_forward_pre_hook(count) for m in (model, policy_loss.reference)
        ]
        self.metrics = inner_updates(
            context,
            engine,
            policy_loss,
            params,
            0,
            batch,
            policy_loss.objective.weights(advantages_PG).flatten(),
            0,
        )
        for hook in hooks:
            hook.remove()
        self.forwards = policy_loss.estimator.forwards
        self.weights = {name: weight.clone() for name, weight in model.state_dict().items()}
        model.load_state_dict(weights)

    def moved_from(self, weights: dict[str, Tensor]) -> bool:
        return any(not torch.equal(weights[name], w) for name, w in self.weights.items())


def _moved(model: PreTrainedModel) -> PreTrainedModel:
    """A reference a little away from the policy."""
    reference = type(model)(model.config).eval()
    draws = torch.Generator().manual_seed(9)
    moved = {
        name: weight + 0.002 * torch.randn(weight.shape, generator=draws)
        for name, weight in model.state_dict().items()
    }
    reference.load_state_dict(moved)
    return reference


@pytest.fixture
def update(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    batch: CompletionBatch,
    tmp_path: Path,
) -> Callable[[GrpoParams], Update]:
    mask = special_ids(tokenizer).mask
    return lambda params: Update(model, mask, params, batch, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [*estimators.NAMES, "custom_estimator.Combs"])
@pytest.mark.parametrize("objective", [*objectives.NAMES, "custom_objective.Reinforce"])
def test_every_combination_updates_the_policy_or_is_refused(
    parameters: Parameters,
    model: PreTrainedModel,
    update: Callable[[GrpoParams], Update],
    objective: str,
    estimator: str,
) -> None:
    if objective == "spg" and estimator in NO_ELBO:
        with pytest.raises(ValidationError, match=f"spg cannot go with estimator {estimator}:"):
            choose(parameters, objective, estimator)
        return
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    done = update(choose(parameters, objective, estimator))
    assert len(done.metrics) == 2 and done.moved_from(before)
    assert all(torch.isfinite(weight).all() for weight in done.weights.values())


@pytest.mark.parametrize("objective", objectives.NAMES)
def test_micro_batches_change_nothing(
    parameters: Parameters, update: Callable[[GrpoParams], Update], objective: str
) -> None:
    whole, parts = (
        update(choose(parameters, objective, "monte_carlo", micro_batch)) for micro_batch in (8, 1)
    )
    for name, weight in whole.weights.items():
        torch.testing.assert_close(parts.weights[name], weight, rtol=1e-4, atol=1e-6)
    for one, other in zip(whole.metrics, parts.metrics, strict=True):
        assert one.keys() == other.keys()
        cost = {"tokens_per_s", "peak_memory_mib"}
        for name in (n for n in one if n not in cost and not n.startswith("seconds/")):
            assert other[name] == pytest.approx(one[name], rel=1e-3, abs=1e-6), name


@pytest.mark.parametrize(
    ("objective", "scored"),
    [
        # New twice, old once (in the first iteration the new scores serve), reference twice.
        ("grpo", 5),
        ("espo", 5),
        ("gdsd", 5),
        # Nothing but the new policy.
        ("wd1", 2),
        ("spg", 2),
        ("custom_objective.Reinforce", 2),
    ],
)
def test_no_policy_is_scored_that_the_objective_does_not_read(
    parameters: Parameters, update: Callable[[GrpoParams], Update], objective: str, scored: int
) -> None:
    done = update(choose(parameters, objective, "monte_carlo"))
    assert done.passes == scored * done.forwards


def test_a_full_view_is_no_draw_of_the_elbo(parameters: Parameters) -> None:
    read = parameters("test", "grpo", work="unused")
    read["objective"] = {"name": "spg"}
    with pytest.raises(
        ValidationError, match="spg cannot go with estimator coupled with full_view"
    ):
        GrpoParams(**read)
