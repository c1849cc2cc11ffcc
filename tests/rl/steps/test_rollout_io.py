"""Rollouts and traces as files, from a real sandbox and a tiny model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from diffucoder.decoding import trace
from diffucoder.rl.advantages import advantages
from diffucoder.rl.groups import group_rewards
from diffucoder.rl.rollout_io import write_rollouts, write_traces
from diffucoder.rl.rollouts import RolloutWorker
from diffucoder.rl.tables import Rollouts, read_rollouts
from diffucoder.rl.tasks import Task

MakeTask = Callable[[int], Task]


def test_rollouts_are_recorded_in_their_schema(
    worker: RolloutWorker,
    model: PreTrainedModel,
    make_task: MakeTask,
    tmp_path: Path,
) -> None:
    tasks = [make_task(n) for n in (1, 2)]
    groups = worker.generate_rollouts(model.eval(), tasks, step=0, first_row=0).groups
    advantages_PG = advantages(group_rewards(groups), "leave_one_out", scale_rewards=False)
    write_rollouts(groups, advantages_PG, tmp_path, step=1, rank=0)
    table = Rollouts.validate(read_rollouts(tmp_path))
    assert len(table) == 2 * worker.params.num_generations
    weights = {name: term.weight for name, term in worker.params.rewards.terms.items()}
    parts = sum(weight * table[f"reward_{name}"] for name, weight in weights.items())
    assert table["reward"].tolist() == pytest.approx(parts.tolist())
    assert table.groupby("problem_id")["advantage"].sum().abs().max() < 1e-5


def test_traces_of_rollouts_are_kept_on_request(
    worker: RolloutWorker,
    model: PreTrainedModel,
    make_task: MakeTask,
    tmp_path: Path,
) -> None:
    tasks = [make_task(n) for n in (1, 2)]
    plain = worker.generate_rollouts(model.eval(), tasks, step=0, first_row=0).groups
    write_traces(plain, tmp_path / "none", step=1, rank=0)
    assert not (tmp_path / "none").exists()
    wanting = replace(worker, params=worker.params.model_copy(update={"trace": 3}))
    traced = wanting.generate_rollouts(model, tasks, step=0, first_row=0).groups
    write_traces(traced, tmp_path, step=1, rank=0)
    traces = trace.read(tmp_path / "traces" / "step-000001-0000.parquet")
    size = worker.params.num_generations
    assert list(traces) == [f"p{n}/{number}" for n in (1, 2) for number in range(size)]
    canvas_BL = wanting.batch(traced).completion_ids
    assert torch.equal(worker.batch(plain).completion_ids, canvas_BL)
    for row_L, found in zip(canvas_BL, traces.values(), strict=True):
        assert row_L[found.position].tolist() == found.token
