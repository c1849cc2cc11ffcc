"""Coupled-GRPO, on every rank (arXiv 2506.20639, section 4).

A step samples groups of completions, runs their unit tests, and updates the policy on them a
few times. Shapes: P prompts, G completions per prompt, B = P * G completions.
"""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from diffucoder.config.grpo import GrpoParams
from diffucoder.data.tokenizer import special_ids
from diffucoder.engine import lora, resume, zero
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.loop import Steps
from diffucoder.rewards.functions import resolve_all
from diffucoder.rl import estimators, objectives
from diffucoder.rl.advantages import advantages
from diffucoder.rl.curriculum import next_stage, with_prefix_hint
from diffucoder.rl.groups import group_rewards
from diffucoder.rl.metrics import rollout_metrics
from diffucoder.rl.rollout_io import delete_rollouts_after, write_rollouts, write_traces
from diffucoder.rl.rollouts import RolloutWorker
from diffucoder.rl.task_order import chosen_tasks, dynamic_sampling_tasks
from diffucoder.rl.tasks import Task, read_tasks
from diffucoder.rl.update import PolicyLoss, inner_updates
from diffucoder.sandbox import Sandbox
from diffucoder.training.setup import load_model, open_stage


def work(job: Job, context: Context) -> None:
    """Train the checkpoint `instruct` on `problems`; write the best one to `job.output`.

    The best checkpoint is the one with the highest pass@1 on the validation problems, the
    starting point included; of equal ones the latest. It is at `job.output` from the start on, so
    that a kill at the end cannot lose it.
    """
    params = GrpoParams(**job.parameters)
    # Imported by name: a wrong name is reported before the first rollout, not after it.
    resolve_all(params.rewards)
    model, tokenizer = load_model(job, context, params, "instruct")
    max_positions = model.config.max_position_embeddings
    tasks = read_tasks(job.inputs["problems"], tokenizer, params, max_positions, context.rank == 0)
    reference = reference_of(model, params, context.device)
    updates = params.training.steps * params.num_iterations
    training = params.training.model_copy(update={"steps": updates})
    longest = params.max_prompt_tokens + params.decoding.max_new_tokens
    special = special_ids(tokenizer)
    estimator = estimators.make(
        params.estimator,
        mask_token_id=special.mask,
        steps=params.decoding.steps,
        logits_mib=training.engine.logits_mib,
    )
    policy_loss = PolicyLoss(estimator, objectives.make(params.objective), reference)
    weights = sum(weight.numel() for weight in reference.parameters())
    # All views of an estimate wait for the backward pass together.
    stage = open_stage(
        context, model, tokenizer, training, longest, estimator.forwards, frozen_params=weights
    )
    with Sandbox(**params.sandbox.options()) as sandbox:
        context.reporter.tag("sandbox_tier", sandbox.tier)
        worker = RolloutWorker(context, params, tokenizer, special, sandbox)
        state = GrpoState(reference)
        GrpoTrainer(
            context, params, stage.engine, policy_loss, worker, tasks, max_positions, state
        ).train()


@dataclass
class GrpoState:
    """What a save holds beyond the engine's own state.

    Attributes:
        reference: The model of the KL term.
        best_score: Highest validation pass rate so far; -1 before the first validation.
        score: Newest validation pass rate; None before the first validation.
        curriculum_stage: Number of the curriculum's stage, from 1.
    """

    reference: PreTrainedModel
    best_score: float = -1.0
    score: float | None = None
    curriculum_stage: int = 1

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers to save; of the reference what is trained."""
        return {
            "reference": lora.trained(self.reference),
            "best_score": self.best_score,
            "score": self.score,
            "curriculum_stage": self.curriculum_stage,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        lora.restore(self.reference, state["reference"])
        self.best_score = state["best_score"]
        self.score = state["score"]
        self.curriculum_stage = state["curriculum_stage"]

    def newest_score(self) -> float | None:
        """How good the newest model is, for a save."""
        return self.score


@dataclass(frozen=True)
class GrpoTrainer:
    """The stage's steps on this rank.

    Attributes:
        context: This rank.
        params: The stage's parameters.
        engine: The policy.
        policy_loss: Estimator, objective and reference.
        worker: Samples and scores completions.
        tasks: Problems of splits `rl` and `validation`.
        max_positions: The model's context in tokens.
        state: What changes from step to step beyond the policy.
    """

    context: Context
    params: GrpoParams
    engine: zero.Engine
    policy_loss: PolicyLoss
    worker: RolloutWorker
    tasks: dict[str, list[Task]]
    max_positions: int
    state: GrpoState

    def train(self) -> None:
        """Train for `params.training.steps` steps, from the newest save if there is one."""
        params, state = self.params, self.state
        start, saved = resume.resume(self.context, self.engine)
        if self.context.rank == 0:
            delete_rollouts_after(self.context.job.work, start)
        self.context.barrier()
        if saved:
            state.load_state_dict(saved)
        else:
            self.validate(0)
        steps = params.training.steps
        loop = Steps(self.context, self.engine, start, steps, state.state_dict, state.newest_score)
        for step in loop:
            loop.log(step, self.step(step))
            if (step + 1) % params.ref_model_sync_steps == 0:
                self.sync_reference()
            if (step + 1) % params.validation.every == 0 or step + 1 == steps:
                self.validate(step + 1)

    def step(self, step: int) -> dict[str, float]:
        """Rollouts, rewards and the updates of a step.

        Args:
            step: Number of the step, from 0.

        Returns:
            The step's metrics.
        """
        context, params, objective = self.context, self.params, self.policy_loss.objective
        chosen, further = self._step_tasks(step)
        first_row = context.share(params.training.batch_size).start
        began = time.monotonic()
        with zero.full_weights(self.engine) as policy:
            rollout = self.worker.generate_rollouts(policy, chosen, step, first_row, further)
        groups = rollout.groups
        options = params.advantages
        advantages_PG = advantages(group_rewards(groups), options.baseline, options.scale_rewards)
        batch = self.worker.batch(groups)
        sampled = time.monotonic()
        iterations = inner_updates(
            context,
            self.engine,
            self.policy_loss,
            params,
            step,
            batch,
            objective.weights(advantages_PG).flatten(),
            first_row,
        )
        updated = time.monotonic()
        write_rollouts(groups, advantages_PG, context.job.work, step + 1, context.rank)
        write_traces(groups, context.job.work, step + 1, context.rank)
        metrics = rollout_metrics(groups, context)
        if params.curriculum.stages > 1:
            metrics |= self._advance_curriculum(metrics["pass_rate"])
        return {
            **metrics,
            **(iterations[-1] if iterations else {}),
            **_total_seconds(iterations),
            "seconds/rollout": sampled - began - rollout.reward_seconds,
            "seconds/reward": rollout.reward_seconds,
            "seconds/update": updated - sampled,
            "sandbox/mechanisms": float(self.worker.sandbox.mechanisms),
        }

    def validate(self, step: int) -> None:
        """Measure the pass rate after `step` steps, and export the policy if none was better."""
        with zero.full_weights(self.engine) as policy:
            score = self.worker.validate(policy, self.tasks["validation"])
        self.context.reporter.log(step, {"validation/pass_rate": score})
        self.state.score = score
        self.state.best_score = keep_best(
            self.engine,
            self.worker.tokenizer,
            self.context.job.output,
            score,
            self.state.best_score,
        )

    def sync_reference(self) -> None:
        """Copy the policy into the reference."""
        with zero.full_weights(self.engine) as policy:
            lora.restore(self.state.reference, lora.trained(policy))

    def _step_tasks(self, step: int) -> tuple[list[Task], list[list[Task]]]:
        """This rank's tasks of a step, and those of the step's further generation batches."""
        params, stages = self.params, self.params.curriculum.stages
        max_tokens = self.max_positions - params.decoding.max_new_tokens
        tasks = [
            with_prefix_hint(
                task, self.worker.tokenizer, self.state.curriculum_stage, stages, max_tokens
            )
            for task in self.tasks["rl"]
        ]
        prompts = params.training.batch_size // params.num_generations
        mine = self.context.share(prompts)
        further = [
            dynamic_sampling_tasks(self.context, tasks, step, prompts, attempt)[mine]
            for attempt in range(1, params.advantages.max_num_gen_batches)
        ]
        return chosen_tasks(self.context, tasks, step, prompts)[mine], further

    def _advance_curriculum(self, pass_rate: float) -> dict[str, float]:
        """Go on to the stage that follows; the metric of the stage that a step was in."""
        options, stage = self.params.curriculum, self.state.curriculum_stage
        self.state.curriculum_stage = next_stage(
            stage, options.stages, pass_rate, options.threshold
        )
        return {"curriculum_stage": float(stage)}


def _total_seconds(iterations: Sequence[dict[str, float]]) -> dict[str, float]:
    """Sums over the iterations of the times that they report."""
    names = [name for name in (iterations[0] if iterations else {}) if name.startswith("seconds/")]
    return {name: sum(iteration[name] for iteration in iterations) for name in names}


def reference_of(
    model: PreTrainedModel, params: GrpoParams, device: torch.device
) -> PreTrainedModel:
    """A copy of the model in the precision that the policy computes in."""
    reference = copy.deepcopy(model).eval()
    nn.Module.to(reference, device)
    engine = params.training.engine
    if engine.precision == "bf16" and engine.zero_stage > 0:
        for weight in reference.parameters():
            weight.data = weight.data.bfloat16()
    return reference


def keep_best(
    engine: zero.Engine,
    tokenizer: PreTrainedTokenizerBase,
    output: Path,
    score: float,
    best_score: float,
) -> float:
    """Export this checkpoint unless an earlier one was better.

    Args:
        engine: The policy; every rank calls this.
        tokenizer: The model's tokenizer.
        output: The Hugging Face directory to write.
        score: The policy's validation pass rate.
        best_score: The highest one so far.

    Returns:
        The highest score.
    """
    if score < best_score:
        return best_score
    zero.export(engine, tokenizer, output)
    return score
