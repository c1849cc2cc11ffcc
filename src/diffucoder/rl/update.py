"""The inner iterations of a step: several updates on one batch of rollouts.

Shapes: B completions, L positions of a completion.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from diffucoder.config.grpo import GrpoParams
from diffucoder.engine.context import Context
from diffucoder.engine.loop import MicroBatch, StepMetrics, optimizer_step
from diffucoder.engine.zero import Engine, full_weights
from diffucoder.loss import LossOutput
from diffucoder.rl.batch import CompletionBatch, ScoredBatch
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.objectives.base import Objective, Scores


@dataclass(frozen=True)
class PolicyLoss:
    """The loss of the policy on a scored micro-batch; a `Loss` of `engine.loop`.

    Attributes:
        estimator: the estimator of token log-likelihoods.
        objective: the loss over them.
        reference: the model that a KL term or a teacher refers to.
    """

    estimator: Estimator
    objective: Objective
    reference: PreTrainedModel

    def score(self, model: PreTrainedModel, scored: ScoredBatch) -> Tensor:
        """Scores of the completions under one model, with the masks of `scored.generators`.

        The generators are copied, so that each call draws the same masks.

        Args:
            model: the new, the old or the reference policy.
            scored: B completions.

        Returns:
            float32 `[B, L]`, in nats.
        """
        generators = [generator.clone_state() for generator in scored.generators]
        return self.objective.score(
            self.estimator, model, scored.batch, generators, scored.weights_B
        )

    def __call__(
        self, model: PreTrainedModel, scored: ScoredBatch, denominator: float
    ) -> LossOutput:
        """The objective's loss of `model`; see `Objective.loss`."""
        scores = Scores(
            new_BL=self.score(model, scored),
            mask_BL=scored.batch.completion_mask,
            weights_B=scored.weights_B,
            old_BL=scored.old_BL,
            ref_BL=scored.ref_BL,
        )
        return self.objective.loss(scores, denominator)


def inner_updates(
    context: Context,
    engine: Engine,
    policy_loss: PolicyLoss,
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
    new scores, detached, serve as old. A policy that the objective does not need is not scored.

    Completions without weight (in a group with equal rewards, all of them) are left out: they
    would add nothing but the KL term.

    Args:
        context: this rank.
        engine: the policy.
        policy_loss: estimator, objective and reference.
        params: the stage's parameters.
        step: number of the rollout step.
        batch: this rank's completions.
        weights_B: the objective's weights of them, from their advantages.
        first_row: number of this rank's first completion among those of all ranks; draws are
            named by these numbers, so that they do not depend on the number of ranks.

    Returns:
        The metrics of each iteration; none if no completion of any rank has a weight.
    """
    objective = policy_loss.objective
    batch, weights_B = batch.to(engine.device), weights_B.to(engine.device)
    parts = _micro_batch_rows(batch, weights_B, params.training.engine.micro_batch)
    most = max(context.gather(len(parts)))
    if most == 0:
        return []
    rows = range(first_row, first_row + len(weights_B))
    iterations = []
    # The reference is scored in there too: in the precision of the policy.
    with torch.no_grad(), full_weights(engine) as policy:
        for iteration in range(params.num_iterations):
            generators = row_generators(context, step, iteration, rows)
            whole = ScoredBatch(batch, weights_B, generators)
            micro_batches = []
            for chosen in parts:
                scored = whole.rows(chosen)
                if len(parts) > 1:
                    scored = scored.trimmed()
                if iteration > 0 and objective.needs_old_logprobs:
                    scored = replace(scored, old_BL=policy_loss.score(policy, scored))
                if objective.needs_reference:
                    ref_BL = policy_loss.score(policy_loss.reference, scored)
                    scored = replace(scored, ref_BL=ref_BL)
                micro_batches.append(_micro_batch(scored, objective))
            # Ranks take part in every micro-batch; one that has run out adds nothing.
            micro_batches += [_empty_micro_batch(whole, objective)] * (most - len(parts))
            iterations.append(micro_batches)
    return [optimizer_step(engine, micro_batches, policy_loss) for micro_batches in iterations]


def row_generators(
    context: Context, step: int, iteration: int, rows: Iterable[int]
) -> list[torch.Generator]:
    """The generators from which an inner iteration draws the masks of completions.

    Args:
        context: this rank.
        step: number of the rollout step.
        iteration: number of the inner iteration.
        rows: numbers of the completions among those of all ranks.

    Returns:
        One CPU generator per row.
    """
    seeds = [context.generator(step, iteration, row).initial_seed() for row in rows]
    # The upper 63 of 64 bits. Whole seeds would do as well, but draw other masks, and so change
    # the results of every earlier run.
    return [torch.Generator().manual_seed(seed >> 1) for seed in seeds]


def _micro_batch_rows(batch: CompletionBatch, weights_B: Tensor, width: int) -> list[Tensor]:
    """Numbers of the rows with a weight, in chunks of at most `width`."""
    kept = (weights_B != 0).nonzero()[:, 0]
    if len(kept) <= width:
        return [kept] if len(kept) else []
    # Prompts of like length together, so that little padding is computed.
    order = kept[batch.prompt_mask[kept].sum(1).argsort(stable=True)]
    return list(order.split(width))


def _micro_batch(scored: ScoredBatch, objective: Objective) -> MicroBatch[ScoredBatch]:
    batch = scored.batch
    real_BL = batch.completion_mask
    counted = real_BL if objective.loss_agg_mode == "token-mean" else real_BL.any(1)
    return MicroBatch(
        scored,
        denominator=float(counted.sum()),
        tokens=int(batch.prompt_mask.sum() + batch.context_mask.sum()),
    )


def _empty_micro_batch(whole: ScoredBatch, objective: Objective) -> MicroBatch[ScoredBatch]:
    """A micro-batch of one completion of which no token counts."""
    first = whole.rows(torch.zeros(1, dtype=torch.long))
    batch = first.batch
    zeros_BL = torch.zeros(batch.completion_ids.shape, device=batch.completion_ids.device)
    empty = ScoredBatch(
        replace(batch, completion_mask=torch.zeros_like(batch.completion_mask)),
        weights_B=torch.zeros_like(first.weights_B),
        generators=first.generators,
        ref_BL=zeros_BL if objective.needs_reference else None,
    )
    return _micro_batch(empty, objective)
