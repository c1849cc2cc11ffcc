"""The lab on every rank: sample completions, measure this rank's share of the estimators."""

from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedModel

from diffucoder.config.lab import LabParams
from diffucoder.data.tokenizer import encode_chat, special_ids
from diffucoder.decoding import generate
from diffucoder.engine.context import Context, Interrupted
from diffucoder.engine.job import Job
from diffucoder.errors import BadData
from diffucoder.model import load
from diffucoder.progress import track
from diffucoder.rl.batch import CompletionBatch, from_canvas
from diffucoder.studies import lab_measurements

# Names the generators of sampling; those of the measurements are 0 and above.
SAMPLING = -1


def work(job: Job, context: Context) -> None:
    """Write this rank's tables `noise` and `cost` into `job.output`.

    Args:
        job: What to measure; its parameters are `LabParams`, its inputs a `checkpoint` and
            `problems`.
        context: This rank.

    Raises:
        BadData: If fewer than 2 prompts are short enough.
        Interrupted: If the run is stopped; the next one measures from the start.
    """
    lab = LabParams.model_validate(job.parameters)
    dtype = torch.bfloat16 if lab.engine.precision == "bf16" else torch.float32
    model, tokenizer = load(job.inputs["checkpoint"], dtype=dtype)
    model.to(context.device).eval()
    prompts = pd.read_parquet(job.inputs["problems"])["prompt"].tolist()
    batch = sample(context, model, tokenizer, prompts, lab)
    mask = special_ids(tokenizer).mask
    reference_BL = lab_measurements.reference_of(context, model, batch, mask, lab.reference_draws)
    few = batch.rows(slice(0, lab.gradient_completions))
    reference_N = lab_measurements.gradient_reference(
        context, model, few, mask, lab.reference_draws
    )
    estimators = list(lab_measurements.make_estimators(lab, mask).items())
    mine = estimators[context.rank :: context.world_size]
    noise, cost = [], []
    for label, estimator in track(mine, "lab", len(mine)):
        shared = (context, estimator, label, model)
        noise += lab_measurements.noise_rows(*shared, batch, reference_BL, lab)
        noise += lab_measurements.gradient_rows(*shared, few, reference_N, lab)
        cost.append(lab_measurements.cost_row(estimator, label, model, few))
        if context.stop_requested():
            raise Interrupted("lab: stopped; the next run measures from the start")
    for kind, rows in (("noise", noise), ("cost", cost)):
        part = job.output / f"{kind}-{context.rank:05d}.parquet"
        pd.DataFrame(rows).to_parquet(part, index=False)


def sample(
    context: Context, model: PreTrainedModel, tokenizer: Any, prompts: list[str], lab: LabParams
) -> CompletionBatch:
    """Sample one completion for each prompt that is not too long; the same on every rank.

    Args:
        context: This rank.
        model: The diffusion model.
        tokenizer: The model's tokenizer.
        prompts: What is asked.
        lab: The lab's parameters.

    Returns:
        The completions with their prompts, on the rank's device.

    Raises:
        BadData: If fewer than 2 prompts are short enough.
    """
    special = special_ids(tokenizer)
    encoded = [encode_chat(tokenizer, prompt) for prompt in prompts]
    kept = [tokens for tokens in encoded if len(tokens) <= lab.max_prompt_tokens]
    if len(kept) < 2:
        raise BadData(
            f"lab: {len(kept)} of {len(prompts)} prompts have at most {lab.max_prompt_tokens} "
            "tokens, and variances over completions need 2: raise lab.max_prompt_tokens"
        )
    width = lab.engine.micro_batch
    made = [
        generate(
            model,
            kept[at : at + width],
            lab.decoding,
            special.mask,
            special.turn_end,
            special.pad,
            [context.generator(SAMPLING, row) for row in range(at, min(at + width, len(kept)))],
        )
        for at in range(0, len(kept), width)
    ]
    canvas_BL = torch.cat([part.canvas for part in made])
    reveal_step_BL = torch.cat([part.reveal_step for part in made])
    batch = from_canvas(kept, canvas_BL, special.turn_end, special.pad, reveal_step_BL)
    return batch.to(context.device)
