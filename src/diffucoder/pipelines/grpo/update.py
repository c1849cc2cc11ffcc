"""The inner iterations of a step: several updates on one batch of rollouts.

Shapes: B completions, L positions of a completion.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from diffucoder.config.grpo import GrpoParams
from diffucoder.engine.context import Context
from diffucoder.engine.deepspeed import Engine, gathered
from diffucoder.engine.loop import Metrics, Prepared, optimizer_step
from diffucoder.rl.estimators import Estimator
from diffucoder.rl.rollouts import CompletionBatch
from diffucoder.rl.surrogate import clipped_loss


def inner_updates(
    context: Context,
    engine: Engine,
    reference: nn.Module,
    estimator: Estimator,
    params: GrpoParams,
    step: int,
    batch: CompletionBatch,
    advantages_B: Tensor,
    first_row: int,
) -> list[Metrics]:
    """Update the policy `params.inner_iterations` times; all ranks call it together.

    Each iteration draws fresh masks, and scores the new, the old and the reference policy under
    the same ones. The old policy is the one that made the rollouts: it is scored for all
    iterations before the first update. In the first iteration old and new are one model, so the
    new scores, detached, serve as old.

    Completions without advantage (in a group that earned the same throughout, all of them) are
    left out: they would pull at nothing but the KL term.

    Args:
        context: this rank.
        engine: the policy.
        reference: the model that the KL term holds on to.
        estimator: of token log-likelihoods.
        params: the stage's parameters.
        step: number of the rollout step.
        batch: this rank's completions.
        advantages_B: their advantages.
        first_row: number of this rank's first completion among those of all ranks; draws are
            named by these numbers, so that they do not depend on the number of ranks.

    Returns:
        The metrics of each iteration; none if no completion of any rank has an advantage.
    """
    width = params.training.engine.micro_batch
    batch, advantages_B = batch.to(engine.device), advantages_B.to(engine.device)
    kept = (advantages_B != 0).nonzero()[:, 0]
    chunks = list(kept.split(width)) if len(kept) else []
    most = max(context.gather(len(chunks)))
    if most == 0:
        return []
    iterations = []
    # The reference is scored in there too: in the precision of the policy.
    with torch.no_grad(), gathered(engine) as policy:
        for iteration in range(params.inner_iterations):
            prepared = []
            for chunk in chunks:
                seeds_B = _seeds(context, step, iteration, chunk + first_row)
                part = batch.rows(chunk)
                scores = {"advantages": advantages_B[chunk]}
                if iteration > 0:
                    scores["old"] = _score(policy, part, estimator, seeds_B)
                if params.beta > 0:
                    scores["ref"] = _score(reference, part, estimator, seeds_B)
                prepared.append(_prepared(part, seeds_B, scores))
            # Ranks take part in every micro-batch; one that has run out adds nothing.
            prepared += [_nothing(batch, params)] * (most - len(chunks))
            iterations.append(prepared)

    def loss(
        model: nn.Module, tensors: dict[str, Tensor], denominator: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        part = CompletionBatch(**{name: tensors[name] for name in _FIELDS})
        new_BL = _score(model, part, estimator, tensors["seeds"])
        return clipped_loss(
            new_BL,
            tensors.get("old", new_BL.detach()),
            tensors["advantages"],
            part.completion_mask,
            params.epsilon,
            denominator,
            tensors.get("ref"),
            params.beta,
        )

    return [optimizer_step(engine, prepared, loss) for prepared in iterations]


_FIELDS = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "canvas_mask")


def _seeds(context: Context, step: int, iteration: int, rows_B: Tensor) -> Tensor:
    seeds = [context.generator(step, iteration, row).initial_seed() for row in rows_B.tolist()]
    # A seed is an unsigned number; tensors hold signed ones.
    return torch.tensor([seed >> 1 for seed in seeds])


def _score(
    model: nn.Module, batch: CompletionBatch, estimator: Estimator, seeds_B: Tensor
) -> Tensor:
    draws = [torch.Generator().manual_seed(seed) for seed in seeds_B.tolist()]
    return estimator.log_likelihood(model, batch, draws)


def _prepared(batch: CompletionBatch, seeds_B: Tensor, scores: dict[str, Tensor]) -> Prepared:
    tensors = {name: getattr(batch, name) for name in _FIELDS}
    return Prepared(
        tensors | scores | {"seeds": seeds_B},
        denominator=float(batch.completion_mask.sum()),
        tokens=int(batch.prompt_mask.sum() + batch.context_mask.sum()),
    )


def _nothing(batch: CompletionBatch, params: GrpoParams) -> Prepared:
    """A micro-batch of one completion of which no token counts."""
    row = batch.rows(slice(0, 1))
    row = replace(row, completion_mask=torch.zeros_like(row.completion_mask))
    zeros_BL = torch.zeros(row.completion_ids.shape, device=row.completion_ids.device)
    scores = {"advantages": zeros_BL[:, 0], "old": zeros_BL}
    if params.beta > 0:
        scores["ref"] = zeros_BL
    return _prepared(row, torch.zeros(1, dtype=torch.long), scores)
