"""The engine on a GPU: bf16 under each ZeRO stage, cut and resumed."""

from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file

from diffucoder.config.training import TrainingParams
from diffucoder.engine import checkpoints
from diffucoder.engine.job import Job
from diffucoder.engine.reporter import read_metrics
from diffucoder.errors import TrainingFailed

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, found none"),
]


@pytest.mark.parametrize(
    "engine",
    [
        {"zero_stage": 0},
        {"zero_stage": 1, "offload": "optimizer"},
        {"zero_stage": 2, "compile": True},
        {"zero_stage": 3, "gradient_checkpointing": True},
        {"zero_stage": 3, "offload": "optimizer+weights"},
    ],
    ids=str,
)
def test_a_run_on_a_gpu_goes_on_from_its_save(
    engine: dict[str, object],
    training: Callable[..., TrainingParams],
    job: Callable[..., Job],
    run_job: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Read by the ranks, which are processes of their own.
    monkeypatch.setenv("DS_ACCELERATOR", "cuda")
    params = training(engine={"precision": "bf16", "micro_batch": 4, **engine})
    whole = job(params, "whole")
    run_job(whole)
    cut = job(params, "cut", fault={"kind": "stop", "step": 2})
    with pytest.raises(TrainingFailed, match="was stopped and has saved"):
        run_job(cut)
    assert checkpoints.latest(cut.work).step == 3
    run_job(cut)
    losses = [
        [record["loss"] for record in read_metrics(each.work / "metrics.jsonl")]
        for each in (whole, cut)
    ]
    # A GPU adds in no fixed order, so bits may differ.
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    expected, found = (load_file(each.output / "model.safetensors") for each in (whole, cut))
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name].float(), weight.float(), rtol=0.02, atol=0.02)
    last = read_metrics(whole.work / "metrics.jsonl")[-1]
    assert last["peak_memory_mib"] > 0
