"""The node that makes the backbone."""

from pathlib import Path

import pandas as pd

from diffucoder.config.backbone import BackboneParams
from diffucoder.data.shards import Shards
from diffucoder.engine.stage import new_job, train


def make_backbone(
    params: BackboneParams, seed: int, tokenizer: Path, token_shards: Shards
) -> tuple[Path, pd.DataFrame]:
    """Train an autoregressive model on the shards, or take a checkpoint over.

    Args:
        params: the stage's parameters.
        seed: Random seed of the stage.
        tokenizer: directory of the tokenizer that the shards were made with.
        token_shards: packed rows.

    Returns:
        The finished checkpoint's directory, and the metrics table (empty if taken over).
    """
    inputs = {"tokenizer": tokenizer, "token_shards": token_shards.path}
    if params.source and Path(params.source).is_dir():
        inputs["source"] = Path(params.source)
    job = new_job("backbone", params, inputs, params.work, seed)
    metrics = train(job, "diffucoder.training.backbone", params.training.engine)
    return job.output, metrics
