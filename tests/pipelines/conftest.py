"""Parameters as the command line would read them, and inputs small enough for unit tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from diffucoder import settings
from diffucoder.config.adaptation import AdaptationParams
from diffucoder.config.backbone import ArchitectureParams, BackboneParams
from diffucoder.config.grpo import GrpoParams
from diffucoder.config.instruction import InstructionParams
from diffucoder.config.problems import ProblemsParams
from diffucoder.data.families import generate
from diffucoder.data.instructions import tokenize_pairs
from diffucoder.data.packing import pack
from diffucoder.data.shards import Rows, Shards, write_parts
from diffucoder.data.tables import packed_rows
from diffucoder.data.tokenizer import encode_texts, special_ids, train
from diffucoder.engine.job import Job
from diffucoder.engine.stage import new_job
from diffucoder.model import create

ROOT = Path(__file__).parents[2]
TEXTS = [f"def add_{n}(x):\n    return x + {n}\n" for n in range(60)]


@pytest.fixture(scope="session")
def parameters() -> Callable[..., dict[str, Any]]:
    """`parameters(env, stage, work=...)`: a stage's parameters; `given` is what --config says."""

    def read(
        env: str, stage: str, given: dict[str, Any] | None = None, **changes: Any
    ) -> dict[str, Any]:
        loader = settings.CONFIG_LOADER_CLASS(
            str(ROOT / "conf"), env=env, runtime_params=given, **settings.CONFIG_LOADER_ARGS
        )
        return loader["parameters"][stage] | changes

    return read


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train(TEXTS, 280)


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    shape = ArchitectureParams(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        rope_theta=10_000.0,
        tie_word_embeddings=True,
        initializer_range=0.1,
    )
    return create(shape, tokenizer, torch.Generator().manual_seed(0))


@pytest.fixture
def checkpoint(tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Path:
    """An autoregressive checkpoint."""
    path = tmp_path / "checkpoint"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def shards(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Packed rows of 32 tokens."""
    path = tmp_path_factory.mktemp("shards")
    documents = encode_texts(tokenizer, TEXTS)
    rows = pack(documents, 32, special_ids(tokenizer).end_of_text)
    write_parts(path, Rows(packed_rows(32), rows, {"length": 32}), part_bytes=2**20)
    return Shards(path)


@pytest.fixture
def stage_job(
    parameters: Callable[..., dict[str, Any]],
    checkpoint: Path,
    tokenizer: PreTrainedTokenizerFast,
    shards: Shards,
    tmp_path: Path,
) -> Callable[..., Job]:
    """Makes a small job of a stage that saves after every step: `stage_job("grpo", "name")`."""

    def often(stage: str, *path: str) -> dict[str, Any]:
        read = parameters("test", stage)
        training = read
        for key in path:
            training = training[key]
        training |= {"steps": 12} if stage != "grpo" else {"steps": 3}
        training["engine"] |= {"save_every_s": 1e-9, "save_total_limit": 1}
        return read

    def make(stage: str, name: str, **changes: Any) -> Job:
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
            read = often(stage, "training") | {"ref_model_sync_steps": 1}
            read["objective"]["beta"] = 1.0
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
        params = params.model_copy(update=changes)
        return new_job(stage, params, given, tmp_path / stage / name, seed=3)

    return make
