"""The inner iterations of a step: several updates on one batch of rollouts.

Shapes: B completions, L positions of a completion.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from diffucoder.config.grpo import GrpoParams
from diffucoder.engine.context import Context
from diffucoder.engine.loop import MicroBatch, StepMetrics, optimizer_step
from diffucoder.engine.zero import Engine, full_weights
from diffucoder.model.loss import LossOutput
from diffucoder.rl.batch import CompletionBatch
from diffucoder.rl.estimators import Estimator
from diffucoder.rl.objectives import Objective


@dataclass(frozen=True)
class Recipe:
    """What the updates are made of.

    Attributes:
        reference: the model that the KL term holds on to.
        estimator: of token log-likelihoods.
        objective: the loss over them.
    """

    reference: nn.Module
    estimator: Estimator
    objective: Objective


@dataclass(frozen=True)
class ScoredBatch:
    """Completions with what the loss of an update takes.

    Attributes:
        completions: the completions.
        weights: float32 `[B]`, the objective's weights.
        seeds: seeds of the completions' masks.
        old: float32 `[B, L]`, scores under the policy that made the completions; None where
            that is the policy itself, or nobody reads them.
        ref: float32 `[B, L]`, scores under the reference; None where nobody reads them.
    """

    completions: CompletionBatch
    weights: Tensor
    seeds: tuple[int, ...]
    old: Tensor | None = None
    ref: Tensor | None = None

    def to(self, device: torch.device) -> "ScoredBatch":
        """The batch on `device`."""
        return replace(
            self,
            completions=self.completions.to(device),
            weights=self.weights.to(device),
            old=None if self.old is None else self.old.to(device),
            ref=None if self.ref is None else self.ref.to(device),
        )


def inner_updates(
    context: Context,
    engine: Engine,
    recipe: Recipe,
    params: GrpoParams,
    step: int,
    batch: CompletionBatch,
    weights_B: Tensor,
    first_row: int,
) -> list[StepMetrics]:
    """Update the policy `params.num_iterations` times; all ranks call it together.

    Each iteration draws fresh masks, and scores the new, the old and the reference policy under
    the same ones. The old policy is the one that made the rollouts: it is scored for all
    iterations before the first update. In the first iteration old and new are one model, so the
    new scores, detached, serve as old. A policy that the objective does not read is not scored.

    Completions without weight (in a group that earned the same throughout, all of them) are
    left out: they would pull at nothing but the KL term.

    Args:
        context: this rank.
        engine: the policy.
        recipe: reference, estimator and objective.
        params: the stage's parameters.
        step: number of the rollout step.
        batch: this rank's completions.
        weights_B: the objective's weights of them, from their advantages.
        first_row: number of this rank's first completion among those of all ranks; draws are
            named by these numbers, so that they do not depend on the number of ranks.

    Returns:
        The metrics of each iteration; none if no completion of any rank has a weight.
    """
    objective = recipe.objective
    width = params.training.engine.micro_batch
    batch, weights_B = batch.to(engine.device), weights_B.to(engine.device)
    parts = _micro_batches(batch, (weights_B != 0).nonzero()[:, 0], width)
    most = max(context.gather(len(parts)))
    if most == 0:
        return []
    iterations = []
    # The reference is scored in there too: in the precision of the policy.
    with torch.no_grad(), full_weights(engine) as policy:
        for iteration in range(params.num_iterations):
            micro_batches = []
            for chunk, part in parts:
                seeds = _seeds(context, step, iteration, chunk + first_row)
                scored = ScoredBatch(part, weights_B[chunk], seeds)
                if iteration > 0 and objective.compares:
                    scored = replace(scored, old=_score(policy, scored, recipe))
                if objective.beta > 0:
                    scored = replace(scored, ref=_score(recipe.reference, scored, recipe))
                micro_batches.append(_micro_batch(scored, objective))
            # Ranks take part in every micro-batch; one that has run out adds nothing.
            micro_batches += [_empty_micro_batch(batch, objective)] * (most - len(parts))
            iterations.append(micro_batches)

    def loss(model: nn.Module, scored: ScoredBatch, denominator: float) -> LossOutput:
        new_BL = _score(model, scored, recipe)
        return objective.loss(
            new_BL,
            new_BL.detach() if scored.old is None else scored.old,
            scored.weights,
            scored.completions.completion_mask,
            denominator,
            scored.ref,
        )

    return [optimizer_step(engine, micro_batches, loss) for micro_batches in iterations]


def _micro_batches(
    batch: CompletionBatch, kept: Tensor, width: int
) -> list[tuple[Tensor, CompletionBatch]]:
    """The kept rows in batches of at most `width`: their numbers, and what they hold."""
    if len(kept) <= width:
        return [(kept, batch.rows(kept))] if len(kept) else []
    # Prompts of like length together, so that little padding is computed.
    order = kept[batch.prompt_mask[kept].sum(1).argsort(stable=True)]
    return [(chunk, batch.rows(chunk).trimmed()) for chunk in order.split(width)]


def _seeds(context: Context, step: int, iteration: int, rows_B: Tensor) -> tuple[int, ...]:
    seeds = [context.generator(step, iteration, row).initial_seed() for row in rows_B.tolist()]
    return tuple(seed >> 1 for seed in seeds)


def _score(model: nn.Module, scored: ScoredBatch, recipe: Recipe) -> Tensor:
    generators = [torch.Generator().manual_seed(seed) for seed in scored.seeds]
    return recipe.objective.estimate(
        recipe.estimator, model, scored.completions, generators, scored.weights
    )


def _micro_batch(scored: ScoredBatch, objective: Objective) -> MicroBatch[ScoredBatch]:
    batch = scored.completions
    real_BL = batch.completion_mask
    units = real_BL if objective.unit == "tokens" else real_BL.any(1)
    return MicroBatch(
        scored,
        denominator=float(units.sum()),
        tokens=int(batch.prompt_mask.sum() + batch.context_mask.sum()),
    )


def _empty_micro_batch(batch: CompletionBatch, objective: Objective) -> MicroBatch[ScoredBatch]:
    """A micro-batch of one completion of which no token counts."""
    row = batch.rows(slice(0, 1))
    row = replace(row, completion_mask=torch.zeros_like(row.completion_mask))
    zeros_BL = torch.zeros(row.completion_ids.shape, device=row.completion_ids.device)
    ref_BL = zeros_BL if objective.beta > 0 else None
    return _micro_batch(ScoredBatch(row, zeros_BL[:, 0], (0,), zeros_BL, ref_BL), objective)
