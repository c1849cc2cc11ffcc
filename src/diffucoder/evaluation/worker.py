"""Decoding on every rank: requests in, completions out, checkpoint after checkpoint."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from diffucoder.decoding import trace
from diffucoder.engine.context import Context, Interrupted
from diffucoder.engine.job import Job
from diffucoder.evaluation.completions import TRACES, GenerationParams
from diffucoder.evaluation.generation import CompletionGenerator
from diffucoder.model import load
from diffucoder.progress import Meter

# Stated, so that a batch without a single token still has lists of numbers.
SCHEMA = pa.schema(
    {
        "row": pa.int64(),
        "checkpoint": pa.string(),
        "suite": pa.string(),
        "problem_id": pa.string(),
        "sample": pa.int64(),
        "decoding": pa.string(),
        "prompt": pa.string(),
        "style": pa.string(),
        "text": pa.string(),
        "tokens": pa.list_(pa.int64()),
        "pieces": pa.list_(pa.string()),
        "reveal_step": pa.list_(pa.int64()),
        "length": pa.int64(),
        "excluded": pa.string(),
    }
)


def work(job: Job, context: Context) -> None:
    """Answer this rank's share of `job.inputs["requests"]` into a part of `job.output`.

    The other inputs are the directories of the checkpoints that the requests name. Traces, if
    asked for, go to a part of `traces` in `job.work`, each under
    checkpoint/suite/problem/sample/decoding.

    Args:
        job: What to answer; its parameters are `GenerationParams`.
        context: This rank.

    Raises:
        Interrupted: If the run is stopped; the next one decodes from the start.
    """
    requests = pd.read_parquet(job.inputs["requests"]).to_dict("records")
    name = f"part-{context.rank:05d}.parquet"
    partial = job.output / f"{name}.partial"
    traces: dict[str, trace.DecodingTrace] = {}
    with pq.ParquetWriter(partial, SCHEMA) as writer:
        for rows in _answers(job, context, requests):
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
            traces |= {_name(row): row["trace"] for row in rows if row["trace"] is not None}
    if traces:
        (job.work / TRACES).mkdir(exist_ok=True)
        trace.write(traces, job.work / TRACES / name)
    partial.rename(job.output / name)


def _name(row: dict[str, Any]) -> str:
    keys = ("checkpoint", "suite", "problem_id", "sample", "decoding")
    return "/".join(str(row[key]) for key in keys)


def _answers(
    job: Job, context: Context, requests: list[dict[str, Any]]
) -> Iterator[list[dict[str, Any]]]:
    params = GenerationParams.model_validate(job.parameters)
    dtype = torch.bfloat16 if params.engine.precision == "bf16" else torch.float32
    # All ranks have nearly equal shares; the one that writes to the log stands for the others.
    meter = Meter("decode", len(requests)) if context.rank == 0 else None
    for checkpoint, asked in groupby(_sorted(requests), key=lambda row: row["checkpoint"]):
        model, tokenizer = load(job.inputs[checkpoint], dtype=dtype)
        model.to(context.device)
        shard = (context.rank, context.world_size)
        generator = CompletionGenerator(model, tokenizer, job.seed, shard)
        for (label, style), rows in groupby(asked, key=lambda row: (row["decoding"], row["style"])):
            decoding, members = params.decodings[label], list(rows)
            answers = (
                generator.fill_holes(members, decoding, params.infilling_lengths)
                if style == "infilling"
                else generator.complete(members, decoding, params.engine.micro_batch, params.trace)
            )
            for answered in answers:
                yield answered
                if context.stop_requested():
                    raise Interrupted(f"{job.stage}: stopped; the next run decodes from the start")
                if meter:
                    count = min(len(answered) * context.world_size, len(requests) - meter.done)
                    meter.advance(count, f"{checkpoint}, {label}")
    if meter:
        meter.close()


def _sorted(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(
        requests, key=lambda row: (row["checkpoint"], row["decoding"], row["style"], row["row"])
    )
