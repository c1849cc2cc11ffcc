"""Both sides of the benchmark train the same objective on the rows they say."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

FILE = Path(__file__).parents[2] / "benchmarks" / "engine.py"


@pytest.fixture(scope="module")
def engine(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("engine")


def test_padded_rows_have_a_document_each_and_packed_rows_are_full(engine: ModuleType) -> None:
    (tokens_BL, documents_BL), (packed_BL, apart_BL) = engine.rows_of("10m")
    assert tokens_BL.shape == packed_BL.shape == (8, 256)
    assert all(set(row.tolist()) <= {0, -1} for row in documents_BL)
    assert all(row[0] == 0 for row in documents_BL)
    assert (apart_BL >= 0).all()
    assert all(len(set(row.tolist())) > 1 for row in apart_BL[:3])


def test_the_loss_written_out_is_the_one_that_adaptation_takes(engine: ModuleType) -> None:
    torch.manual_seed(0)
    model = engine.new_model("1m")
    padded, _ = engine.rows_of("1m")
    batch = engine.noised((padded[0][:4], padded[1][:4]), seed=3)
    losses, gradients = [], []
    for loss in (engine.full_loss, engine.packed_loss):
        value, _ = loss(model, batch, 100.0)
        value.backward()
        losses.append(value.item())
        gradients.append(model.model.layers[1].mlp.down_proj.weight.grad.clone())
        model.zero_grad()
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, found none")
@pytest.mark.parametrize("what", ["time-zero-1", "time-zero-3", "time-packed-auto"])
def test_the_half_billion_model_is_measured_on_a_gpu(what: str) -> None:
    command = [sys.executable, str(FILE), "--rounds", "3", "--measure", what, "0.5b"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ratio"] > 0
    assert 0 < found["mfu"] < 1
