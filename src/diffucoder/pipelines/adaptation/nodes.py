"""The node that adapts the backbone."""

import shutil
from pathlib import Path

import pandas as pd

from diffucoder.config.adaptation import AdaptationParams
from diffucoder.data.shards import Shards
from diffucoder.engine.stage import new_job, output_was_moved, train

WORKER = "diffucoder.training.adaptation"


def adapt_to_diffusion(
    params: AdaptationParams,
    seed: int,
    backbone: Path,
    token_shards: Shards,
    curated_shards: Shards,
) -> tuple[Path, pd.DataFrame]:
    """Turn the backbone into a masked diffusion model, then train on with curated text.

    Each phase is a job and a child run of its own, so that after a failure in the second phase
    the next run goes on there.

    Args:
        params: the stage's parameters.
        seed: Random seed of the stage.
        backbone: checkpoint directory.
        token_shards: packed rows of the first phase.
        curated_shards: packed rows of the second phase.

    Returns:
        The finished checkpoint's directory, and the metrics of both phases, the second's steps
        counted on from the first's.
    """
    work = Path(params.work)
    if output_was_moved(work / "mid_training"):
        # The last run ended well, so this one is to do all of it again.
        shutil.rmtree(work)
    phase = params.phase(params.pretraining, params.anneal_steps)
    inputs = {"model": backbone, "shards": token_shards.path}
    first = new_job("adaptation", phase, inputs, work / "pretraining", seed)
    metrics = train(first, WORKER, params.pretraining.engine)
    if params.mid_training is None:
        return first.output, metrics
    phase = params.phase(params.mid_training, anneal_steps=0)
    inputs = {"model": first.output, "shards": curated_shards.path}
    second = new_job("mid_training", phase, inputs, work / "mid_training", seed)
    later = train(second, WORKER, params.mid_training.engine)
    later["step"] += params.pretraining.steps
    return second.output, pd.concat([metrics, later], ignore_index=True)
