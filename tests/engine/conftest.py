"""Jobs for the engine's tests, run by real ranks."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from diffucoder.config.engine import EngineParams
from diffucoder.config.training import TrainingParams
from diffucoder.engine.job import Job
from diffucoder.engine.launch import run

if TYPE_CHECKING:
    from diffucoder.engine.context import Context

# Modules that ranks run, and that the tests themselves call.
WORKERS = str(Path(__file__).parent / "workers")
sys.path.append(WORKERS)

TRAINING: dict[str, Any] = {
    "steps": 6,
    "batch_size": 8,
    "optimizer": {
        "learning_rate": 0.01,
        "betas": [0.9, 0.95],
        "epsilon": 1e-8,
        "weight_decay": 0.1,
        "max_grad_norm": 1.0,
        "fused": False,
    },
    "schedule": {"kind": "cosine", "warmup_steps": 2, "floor": 0.1},
    "engine": {
        "launcher": "local",
        "hostfile": None,
        "nproc_per_node": 1,
        "threads": 1,
        "zero_stage": 0,
        "precision": "fp32",
        "offload": "none",
        "gradient_checkpointing": False,
        "compile": False,
        "micro_batch": 8,
        "attention": "auto",
        "logits_mib": 256,
        "nonfinite_limit": 1,
        "save_every_s": 1e9,
        "save_total_limit": 2,
        "keep_best": False,
        "on_change": "refuse",
    },
}


@pytest.fixture
def training() -> Callable[..., TrainingParams]:
    """Makes training parameters: `training(steps=3, engine={"zero_stage": 1})`."""

    def make(engine: dict[str, Any] | None = None, **changes: Any) -> TrainingParams:
        merged = TRAINING | changes | {"engine": TRAINING["engine"] | (engine or {})}
        return TrainingParams.model_validate(merged)

    return make


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of a few words in Hugging Face's layout."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("inputs") / "tokenizer"
    words = Tokenizer(WordLevel({"<unk>": 0, "def": 1, "return": 2}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(path)
    return path


@pytest.fixture
def job(tmp_path: Path, tokenizer_dir: Path) -> Callable[..., Job]:
    """Makes a job of the fixture worker: `job(training, name="...", fault={...})`."""

    def make(training: TrainingParams, name: str = "run", **parameters: Any) -> Job:
        return Job(
            stage="tiny",
            parameters={"training": training.model_dump(mode="json"), **parameters},
            inputs={"tokenizer": tokenizer_dir},
            work=tmp_path / name / "work",
            output=tmp_path / name / "model",
            seed=7,
        )

    return make


@pytest.fixture
def run_job() -> Callable[..., None]:
    """Runs a worker module on as many ranks as its job says: `run_job(job, module)`."""

    def run_it(job: Job, worker: str = "tiny_stage") -> None:
        engine = EngineParams.model_validate(job.parameters["training"]["engine"])
        paths = [WORKERS, *filter(None, [os.environ.get("PYTHONPATH")])]
        run(job, worker, engine, {"PYTHONPATH": os.pathsep.join(paths)})

    return run_it


@pytest.fixture
def context_of(process_group: None) -> "Callable[[Job], Context]":
    """Makes the context that a job's only rank would have."""
    import torch

    from diffucoder.engine.context import Context
    from diffucoder.engine.reporter import Reporter

    def make(job: Job) -> Context:
        job.work.mkdir(parents=True, exist_ok=True)
        device = torch.device("cpu")
        return Context(job, job.identity(), 0, 1, device, Reporter(job.work, 0), [])

    return make
