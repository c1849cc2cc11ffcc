"""Coupled-GRPO, on every rank (arXiv 2506.20639, section 4).

A step samples groups of completions, runs their unit tests, and updates the policy on them a
few times. Shapes: P prompts, G completions a prompt, B = P * G completions, L canvas positions.
"""

import copy
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from diffucoder.config.grpo import GrpoParams
from diffucoder.data.problems import Problem
from diffucoder.data.tokenizer import encode_chat, special_ids
from diffucoder.engine import loop, lora, resume, zero
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.errors import BadData
from diffucoder.rewards.functions import resolve_all
from diffucoder.rewards.stepcoder import next_stage
from diffucoder.rl import estimators, objectives
from diffucoder.rl.feedback import begun
from diffucoder.rl.rollouts import Sampler, chosen_tasks, dynamic_sampling_tasks, step_of
from diffucoder.rl.tasks import Task
from diffucoder.rl.update import Recipe, inner_updates
from diffucoder.sandbox import Sandbox
from diffucoder.training.setup import load_model, open_stage

ROLLOUTS, TRACES = "rollouts", "traces"


def work(job: Job, context: Context) -> None:
    """Train the checkpoint `instruct` on `problems`; write the best one to `job.output`.

    The best checkpoint is the one with the highest pass@1 on validation problems, the starting
    point included; of equals the later one. It lies at `job.output` from the start on, so that
    no kill at the end can lose it.
    """
    params = GrpoParams(**job.parameters)
    # Imported by name: a wrong one is told before the first rollout, not after it.
    resolve_all(params.rewards)
    model, tokenizer = load_model(job, context, params, "instruct")
    positions = model.config.max_position_embeddings
    tasks = read_tasks(job.inputs["problems"], tokenizer, params, positions, context.rank == 0)
    reference = reference_of(model, params, context.device)
    updates = params.training.steps * params.num_iterations
    training = params.training.model_copy(update={"steps": updates})
    longest = params.max_prompt_tokens + params.decoding.max_new_tokens
    special = special_ids(tokenizer)
    options = params.estimator.options(params.estimator.name, params.decoding.steps)
    estimator = estimators.get(params.estimator.name, mask_token_id=special.mask, **options)
    objective = objectives.get(params.objective.name, **params.objective.options())
    recipe = Recipe(reference, estimator, objective)
    weights = sum(weight.numel() for weight in reference.parameters())
    # All views of an estimate wait for the backward pass together.
    stage = open_stage(
        context, model, tokenizer, training, longest, estimator.forwards, frozen_params=weights
    )
    engine = stage.engine
    start, extra = resume.resume(context, engine)
    delete_rollouts_after(context, start)
    if extra:
        lora.restore(reference, extra["reference"])
    best, newest = extra.get("best", -1.0), extra.get("newest")
    stages, level = params.curriculum.stages, extra.get("stage", 1)

    def kept() -> dict[str, Any]:
        others = {"best": best, "newest": newest, "stage": level}
        return {"reference": lora.trained(reference), **others}

    def score() -> float | None:
        return newest

    with Sandbox(**params.sandbox.options()) as sandbox:
        context.reporter.tag("sandbox_tier", sandbox.tier)
        sampler = Sampler(context, params, tokenizer, special, sandbox)
        if start == 0:
            newest = validate(context, engine, sampler, tasks["validation"], 0)
            best = keep_best(engine, tokenizer, job.output, newest, best)
        steps = loop.Steps(context, engine, start, params.training.steps, kept, score)
        for step in steps:
            room = positions - params.decoding.max_new_tokens
            asked = [begun(task, tokenizer, level, stages, room) for task in tasks["rl"]]
            metrics = one_step(context, engine, recipe, sampler, asked, step)
            if stages > 1:
                metrics["curriculum_stage"] = float(level)
                level = next_stage(level, stages, metrics["pass_rate"], params.curriculum.threshold)
            steps.log(step, metrics)
            if (step + 1) % params.ref_model_sync_steps == 0:
                with zero.full_weights(engine) as policy:
                    lora.restore(reference, lora.trained(policy))
            if (step + 1) % params.validation.every == 0 or step + 1 == params.training.steps:
                newest = validate(context, engine, sampler, tasks["validation"], step + 1)
                best = keep_best(engine, tokenizer, job.output, newest, best)


def delete_rollouts_after(context: Context, step: int) -> None:
    """Delete rollouts and traces of steps after the first `step`: they will be done again.

    The number of ranks may be another one now, and so the names of their files.
    """
    if context.rank == 0:
        for folder in (ROLLOUTS, TRACES):
            for part in (context.job.work / folder).glob("step-*.parquet"):
                if step_of(part) > step:
                    part.unlink()
    context.barrier()


def reference_of(model: nn.Module, params: GrpoParams, device: torch.device) -> nn.Module:
    """A copy of the model in the precision that the policy computes in."""
    reference = copy.deepcopy(model).to(device).eval()
    engine = params.training.engine
    if engine.precision == "bf16" and engine.zero_stage > 0:
        for weight in reference.parameters():
            weight.data = weight.data.bfloat16()
    return reference


def read_tasks(
    path: Path, tokenizer: Any, params: GrpoParams, positions: int, talk: bool
) -> dict[str, list[Task]]:
    """The problems of each split as tasks, those with too long a prompt left out.

    Args:
        path: the problem table.
        tokenizer: of the model.
        params: the stage's parameters.
        positions: the model's context, in tokens; prompt and canvas must fit into it.
        talk: whether to print how many were left out.

    Raises:
        BadData: if a split has none left.
    """
    canvas = max(params.decoding.max_new_tokens, params.validation.decoding.max_new_tokens)
    most, why = params.max_prompt_tokens, "grpo.max_prompt_tokens"
    if positions - canvas < most:
        most, why = positions - canvas, f"the model's context of {positions} less {canvas} to write"
    table = pd.read_parquet(path)
    tasks: dict[str, list[Task]] = {"rl": [], "validation": []}
    for record in table.to_dict("records"):
        try:
            tokens = encode_chat(tokenizer, record["prompt"])
        except BadData:  # the prompt holds a special token
            continue
        if len(tokens) <= most:
            tasks[record["split"]].append(Task(Problem.from_record(record), tokens))
    left_out = len(table) - sum(map(len, tasks.values()))
    if left_out and talk:
        print(
            f"grpo: {left_out} of {len(table)} problems have prompts of more than {most} tokens "
            f"({why}) or with a special token: left out",
            flush=True,
        )
    for split, found in tasks.items():
        if not found:
            raise BadData(
                f"grpo: no problem of split {split!r} has a prompt of at most {most} tokens "
                f"({why}); make room there, or add problems with shorter prompts"
            )
    return tasks | {"validation": tasks["validation"][: params.validation.problems]}


def one_step(
    context: Context,
    engine: zero.Engine,
    recipe: Recipe,
    sampler: Sampler,
    tasks: list[Task],
    step: int,
) -> dict[str, float]:
    """Rollouts, rewards and the inner iterations; returns the step's metrics."""
    params = sampler.params
    prompts = params.training.batch_size // params.num_generations
    mine = context.share(prompts)
    chosen = chosen_tasks(context, tasks, step, prompts)[mine]
    spares = [
        dynamic_sampling_tasks(context, tasks, step, prompts, attempt)[mine]
        for attempt in range(1, params.advantages.resamples + 1)
    ]
    first_row = context.share(params.training.batch_size).start
    began = time.monotonic()
    with zero.full_weights(engine) as policy:
        rollout = sampler.generate_rollouts(policy, chosen, step, first_row, spares)
    sampled = time.monotonic()
    iterations = inner_updates(
        context,
        engine,
        recipe,
        params,
        step,
        rollout.batch,
        recipe.objective.weights(rollout.advantages).flatten(),
        first_row,
    )
    updated = time.monotonic()
    rollout.write(context.job.work / ROLLOUTS, step + 1, context.rank)
    contained = {"sandbox/mechanisms": float(sampler.sandbox.mechanisms)}
    rollout.write_traces(context.job.work / TRACES, step + 1, context.rank)
    times = {
        name: sum(iteration[name] for iteration in iterations)
        for name in (iterations[0] if iterations else {})
        if name.startswith("seconds/")
    }
    times |= {
        "seconds/rollout": sampled - began - rollout.reward_seconds,
        "seconds/reward": rollout.reward_seconds,
        "seconds/update": updated - sampled,
    }
    last = iterations[-1] if iterations else {}
    return rollout.metrics(context) | last | times | contained


def validate(
    context: Context, engine: zero.Engine, sampler: Sampler, tasks: list[Task], step: int
) -> float:
    """Pass rate on the validation problems after `step` steps."""
    with zero.full_weights(engine) as policy:
        score = sampler.validate(policy, tasks)
    context.reporter.log(step, {"validation/pass_rate": score})
    return score


def keep_best(
    engine: zero.Engine, tokenizer: Any, output: Path, score: float, best: float
) -> float:
    """Export this checkpoint unless an earlier one was better; returns the best score."""
    if score < best:
        return best
    zero.export(engine, tokenizer, output)
    return score
