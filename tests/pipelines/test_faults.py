"""Whatever ends a training stage at whatever moment: run again, it ends as if nothing had been."""

import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from transformers import PreTrainedTokenizerFast

from diffucoder.config.adaptation import AdaptationParams
from diffucoder.config.backbone import BackboneParams
from diffucoder.config.grpo import GrpoParams
from diffucoder.config.instruction import InstructionParams
from diffucoder.config.problems import ProblemsParams
from diffucoder.data.families import generate
from diffucoder.data.instructions import tokenize_pairs
from diffucoder.data.shards import Shards
from diffucoder.datasets.atomic import is_complete
from diffucoder.engine.job import Job
from diffucoder.engine.reporter import read_metrics
from diffucoder.pipelines.grpo.nodes import read_rollouts
from diffucoder.pipelines.stage import new_job

Parameters = Callable[..., dict[str, Any]]
# Of each stage; a moment after its end does not count, so there is always one more.
FAULTS = ["kill", "disk full", "kill", "stop", "kill"]
# Holds metrics and logs of these short runs, but no weights.
ROOM = 24_000
ENDED_WELL, STOPPED = 0, 75


@pytest.fixture
def stage_job(
    parameters: Parameters,
    checkpoint: Path,
    tokenizer: PreTrainedTokenizerFast,
    shards: Shards,
    tmp_path: Path,
) -> Callable[[str, str], Job]:
    """Makes a job of a stage, in a work folder of a given name, that saves after every step."""

    def often(stage: str, *path: str) -> dict[str, Any]:
        read = parameters("test", stage)
        training = read
        for key in path:
            training = training[key]
        training |= {"steps": 12} if stage != "grpo" else {"steps": 3}
        training["engine"] |= {"save_every_s": 1e-9, "keep_last": 1}
        return read

    def make(stage: str, name: str) -> Job:
        inputs = tmp_path / f"{stage}-inputs"
        inputs.mkdir(exist_ok=True)
        if stage == "backbone":
            read = often(stage, "training")
            read["architecture"] |= {"hidden_size": 16, "intermediate_size": 32}
            params = BackboneParams(**read)
            tokenizer.save_pretrained(inputs)
            given = {"tokenizer": inputs, "token_shards": shards.path}
        elif stage == "adaptation":
            adapting = AdaptationParams(**often(stage, "pretraining"))
            params = adapting.phase(adapting.pretraining, adapting.anneal_steps)
            given = {"model": checkpoint, "shards": shards.path}
        elif stage == "instruction":
            params = InstructionParams(**often(stage, "training") | {"row_length": 64})
            pairs = [
                {"pair_id": str(n), "prompt": f"add {n}", "response": f"return x + {n}"}
                for n in range(8)
            ]
            rows = pd.DataFrame(tokenize_pairs(pairs, tokenizer, 128)).drop(columns="reason")
            rows.to_parquet(inputs / "pairs.parquet")
            given = {"model": checkpoint, "tokenized_pairs": inputs / "pairs.parquet"}
        else:
            read = often(stage, "training") | {"reference_sync_every": 1, "beta": 1.0}
            read["decoding"] |= {"max_new_tokens": 12, "steps": 4}
            read["validation"]["decoding"] |= {"max_new_tokens": 12, "steps": 4}
            read["validation"]["every"] = 1
            own = {"function": "own_reward.longer_is_better", "weight": 1.0}
            read["rewards"]["terms"]["length"] = own
            params = GrpoParams(**read)
            drawn = generate(ProblemsParams(**parameters("test", "problems")), seed=0)
            problems = pd.DataFrame([problem.record() for problem in drawn])
            kept = problems[problems["split"].isin(["rl", "validation"])]
            kept.assign(prompt="add 1").to_parquet(inputs / "problems.parquet")
            given = {"instruct": checkpoint, "problems": inputs / "problems.parquet"}
        return new_job(stage, params, given, tmp_path / stage / name, seed=3)

    return make


def inflict(fault: str, pid: int) -> None:
    """Do to a rank what the world may do to it."""
    match fault:
        case "kill":
            os.kill(pid, signal.SIGKILL)
        case "stop":
            os.kill(pid, signal.SIGTERM)
        case "disk full":
            hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (ROOM, hard))


def outcome(job: Job) -> dict[str, Any]:
    """All that a stage leaves behind, but for times."""
    assert is_complete(job.output)
    records = read_metrics(job.work / "metrics.jsonl")
    timed = ("seconds/", "tokens_per_s", "peak_memory")
    return {
        "weights": (job.output / "model.safetensors").read_bytes(),
        "metrics": [
            {name: value for name, value in record.items() if not name.startswith(timed)}
            for record in records
        ],
        "rollouts": read_rollouts(job.work).to_csv() if job.stage == "grpo" else None,
    }


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["backbone", "adaptation", "instruction", "grpo"])
def test_a_run_cut_at_any_moment_ends_as_an_uninterrupted_one(
    stage: str, stage_job: Callable[[str, str], Job], ranks: Any
) -> None:
    worker = f"diffucoder.pipelines.{stage}.worker"
    whole = stage_job(stage, "whole")
    pids = ranks.start(whole, worker)
    began = time.monotonic()
    assert ranks.wait(*pids) == [ENDED_WELL]
    duration = time.monotonic() - began
    expected = outcome(whole)

    moments = random.Random(stage)
    job = stage_job(stage, "cut")
    faults = list(FAULTS)
    family: set[psutil.Process] = set()
    while faults:
        (pid,) = ranks.start(job, worker)
        time.sleep(duration * moments.uniform(0.05, 0.9))
        family |= set(psutil.Process(pid).children(recursive=True))
        inflict(faults[0], pid)
        (code,) = ranks.wait(pid)
        if code == ENDED_WELL:
            # Too late for a fault: another life.
            assert outcome(job) == expected
            shutil.rmtree(job.work)
            continue
        assert code == {"kill": -signal.SIGKILL, "stop": STOPPED, "disk full": 1}[faults[0]]
        faults.pop(0)
    assert ranks.wait(*ranks.start(job, worker)) == [ENDED_WELL]
    assert outcome(job) == expected
    assert not psutil.wait_procs(family, timeout=10)[1], "a killed rank left processes behind"
