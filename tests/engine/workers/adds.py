"""Adds and gathers numbers over the ranks."""

import json

import torch

from diffucoder.engine.context import Context
from diffucoder.engine.job import Job


def work(job: Job, context: Context) -> None:
    result = {
        "sum": context.sums(torch.tensor([1.0, context.rank])).tolist(),
        "gathered": context.gather({"rank": context.rank}),
        "from 0": context.broadcast(f"rank {context.rank}"),
        "share": [context.share(8).start, context.share(8).stop],
        "threads": torch.get_num_threads(),
    }
    (job.work / f"result-{context.rank}.json").write_text(json.dumps(result))
