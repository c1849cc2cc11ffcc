"""The node that teaches the diffusion model to answer."""

from pathlib import Path

import pandas as pd

from diffucoder.config.instruction import InstructionParams
from diffucoder.engine.stage import new_job, train


def finetune_instruct(
    params: InstructionParams, seed: int, adapted: Path, tokenized_pairs: pd.DataFrame
) -> tuple[Path, pd.DataFrame]:
    """Tune the adapted model on instruction pairs.

    Args:
        params: the stage's parameters.
        seed: Random seed of the stage.
        adapted: checkpoint directory.
        tokenized_pairs: pairs with `prompt_ids` and `response_ids`.

    Returns:
        The finished checkpoint's directory, and the metrics table.
    """
    work = Path(params.work)
    work.mkdir(parents=True, exist_ok=True)
    table = work / "tokenized_pairs.parquet"
    tokenized_pairs.to_parquet(table)
    inputs = {"model": adapted, "tokenized_pairs": table}
    job = new_job("instruction", params, inputs, work, seed)
    metrics = train(job, "diffucoder.training.instruction", params.training.engine)
    return job.output, metrics
