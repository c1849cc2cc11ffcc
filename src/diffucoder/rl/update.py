"""The inner iterations of a step: several updates on one batch of rollouts.

Shapes: B completions, L positions of a completion.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from diffucoder.config.grpo import GrpoParams
from diffucoder.engine.context import Context
from diffucoder.engine.loop import Metrics, Prepared, optimizer_step
from diffucoder.engine.zero import Engine, gathered
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


def inner_updates(
    context: Context,
    engine: Engine,
    recipe: Recipe,
    params: GrpoParams,
    step: int,
    batch: CompletionBatch,
    weights_B: Tensor,
    first_row: int,
) -> list[Metrics]:
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
    with torch.no_grad(), gathered(engine) as policy:
        for iteration in range(params.num_iterations):
            prepared = []
            for chunk, part in parts:
                seeds_B = _seeds(context, step, iteration, chunk + first_row)
                weights = weights_B[chunk]
                scores = {"weights": weights}
                if iteration > 0 and objective.compares:
                    scores["old"] = _score(policy, part, recipe, seeds_B, weights)
                if objective.beta > 0:
                    scores["ref"] = _score(recipe.reference, part, recipe, seeds_B, weights)
                prepared.append(_prepared(part, seeds_B, scores, objective))
            # Ranks take part in every micro-batch; one that has run out adds nothing.
            prepared += [_nothing(batch, objective)] * (most - len(parts))
            iterations.append(prepared)
    fields = list(batch.tensors)

    def loss(
        model: nn.Module, tensors: dict[str, Tensor], denominator: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        part = CompletionBatch(**{name: tensors[name] for name in fields})
        new_BL = _score(model, part, recipe, tensors["seeds"], tensors["weights"])
        return objective.loss(
            new_BL,
            tensors.get("old", new_BL.detach()),
            tensors["weights"],
            part.completion_mask,
            denominator,
            tensors.get("ref"),
        )

    return [optimizer_step(engine, prepared, loss) for prepared in iterations]


def _micro_batches(
    batch: CompletionBatch, kept: Tensor, width: int
) -> list[tuple[Tensor, CompletionBatch]]:
    """The kept rows in batches of at most `width`: their numbers, and what they hold."""
    if len(kept) <= width:
        return [(kept, batch.rows(kept))] if len(kept) else []
    # Prompts of like length together, so that little padding is computed.
    order = kept[batch.prompt_mask[kept].sum(1).argsort(stable=True)]
    return [(chunk, batch.rows(chunk).trimmed()) for chunk in order.split(width)]


def _seeds(context: Context, step: int, iteration: int, rows_B: Tensor) -> Tensor:
    seeds = [context.generator(step, iteration, row).initial_seed() for row in rows_B.tolist()]
    # A seed is an unsigned number; tensors hold signed ones.
    return torch.tensor([seed >> 1 for seed in seeds])


def _score(
    model: nn.Module, batch: CompletionBatch, recipe: Recipe, seeds_B: Tensor, weights_B: Tensor
) -> Tensor:
    draws = [torch.Generator().manual_seed(seed) for seed in seeds_B.tolist()]
    return recipe.objective.estimate(recipe.estimator, model, batch, draws, weights_B)


def _prepared(
    batch: CompletionBatch, seeds_B: Tensor, scores: dict[str, Tensor], objective: Objective
) -> Prepared:
    real_BL = batch.completion_mask
    units = real_BL if objective.unit == "tokens" else real_BL.any(1)
    return Prepared(
        batch.tensors | scores | {"seeds": seeds_B},
        denominator=float(units.sum()),
        tokens=int(batch.prompt_mask.sum() + batch.context_mask.sum()),
    )


def _nothing(batch: CompletionBatch, objective: Objective) -> Prepared:
    """A micro-batch of one completion of which no token counts."""
    row = batch.rows(slice(0, 1))
    row = replace(row, completion_mask=torch.zeros_like(row.completion_mask))
    zeros_BL = torch.zeros(row.completion_ids.shape, device=row.completion_ids.device)
    scores = {"weights": zeros_BL[:, 0], "old": zeros_BL}
    if objective.beta > 0:
        scores["ref"] = zeros_BL
    return _prepared(row, torch.zeros(1, dtype=torch.long), scores, objective)
