"""Stages that train low-rank adapters end with plain checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffucoder.config.training import LoraParams
from diffucoder.engine.job import Job
from diffucoder.model import load

LORA = LoraParams(rank=2, alpha=8.0, targets=["v_proj"], whole=[])


@pytest.mark.parametrize("stage", ["adaptation", "instruction", "grpo"])
def test_only_the_adapted_matrices_move(
    stage: str, stage_job: Callable[..., Job], ranks: Any, checkpoint: Path
) -> None:
    job = stage_job(stage, "adapters", lora=LORA)
    worker = f"diffucoder.pipelines.{stage}.worker"
    assert ranks.wait(*ranks.start(job, worker)) == [0], (job.work / "rank-0.log").read_text()
    before = load(checkpoint)[0].state_dict()
    after = load(job.output)[0].state_dict()
    assert before.keys() == after.keys()
    moved = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if name.endswith("v_proj.weight")}
