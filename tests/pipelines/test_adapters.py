"""Stages that train low-rank adapters end with plain checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diffucoder.config.training import LoraParams
from diffucoder.engine.job import Job
from diffucoder.engine.launch import STOP_FILE
from diffucoder.model import load

LORA = LoraParams(r=2, lora_alpha=8.0, target_modules=["v_proj"], modules_to_save=[])
STOPPED = 75


@pytest.mark.parametrize("stage", ["adaptation", "instruction", "grpo"])
def test_only_the_adapted_matrices_move_and_a_stop_changes_nothing(
    stage: str, stage_job: Callable[..., Job], ranks: Any, checkpoint: Path
) -> None:
    job = stage_job(stage, "adapters", lora=LORA)
    worker = f"diffucoder.training.{stage}"
    assert ranks.wait(*ranks.start(job, worker)) == [0], (job.work / "rank-0.log").read_text()
    cut = stage_job(stage, "cut", lora=LORA)
    cut.work.mkdir(parents=True, exist_ok=True)
    (cut.work / STOP_FILE).touch()
    assert ranks.wait(*ranks.start(cut, worker)) == [STOPPED]
    (cut.work / STOP_FILE).unlink()
    assert ranks.wait(*ranks.start(cut, worker)) == [0]
    weights = [(each.output / "model.safetensors").read_bytes() for each in (job, cut)]
    assert weights[0] == weights[1]
    before = load(checkpoint)[0].state_dict()
    after = load(job.output)[0].state_dict()
    assert before.keys() == after.keys()
    moved = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if name.endswith("v_proj.weight")}
