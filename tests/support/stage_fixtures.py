"""Small inputs of the stages that train: a tokenizer, a model, shards, a job of each stage.

What these need is imported where a test asks for it, so that collecting tests stays quick.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from diffucoder.config.base import Params
    from diffucoder.data.shards import Shards
    from diffucoder.engine.job import Job

TEXTS = [f"def add_{n}(x):\n    return x + {n}\n" for n in range(60)]


@pytest.fixture(scope="session")
def parameters() -> Callable[..., dict[str, Any]]:
    """`parameters(env, stage, work=...)`: a stage's parameters; `given` is what --config says."""
    from parameters import read_parameters

    return read_parameters


@pytest.fixture(scope="session")
def tokenizer() -> "PreTrainedTokenizerFast":
    """A tokenizer of 280 tokens."""
    from diffucoder.data.tokenizer import train

    return train(TEXTS, 280)


def small_model(tokenizer: "PreTrainedTokenizerFast") -> "PreTrainedModel":
    """An autoregressive model of two layers."""
    import torch

    from diffucoder.config.backbone import ArchitectureParams
    from diffucoder.model import create

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
def model(tokenizer: "PreTrainedTokenizerFast") -> "PreTrainedModel":
    """A small autoregressive model of the tokenizer's vocabulary."""
    return small_model(tokenizer)


@pytest.fixture
def checkpoint(
    tmp_path: Path, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast"
) -> Path:
    """An autoregressive checkpoint."""
    path = tmp_path / "checkpoint"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def shards(
    tokenizer: "PreTrainedTokenizerFast", tmp_path_factory: pytest.TempPathFactory
) -> "Shards":
    """Packed rows of 32 tokens."""
    from diffucoder.data.packing import pack
    from diffucoder.data.shards import Rows, Shards, write_parts
    from diffucoder.data.tables import packed_rows
    from diffucoder.data.tokenizer import encode_texts, special_ids

    path = tmp_path_factory.mktemp("shards")
    documents = encode_texts(tokenizer, TEXTS)
    rows = pack(documents, 32, special_ids(tokenizer).end_of_text)
    write_parts(path, Rows(packed_rows(32), rows, {"length": 32}), part_bytes=2**20)
    return Shards(path)


@pytest.fixture
def stage_job(
    parameters: Callable[..., dict[str, Any]],
    checkpoint: Path,
    tokenizer: "PreTrainedTokenizerFast",
    shards: "Shards",
    tmp_path: Path,
) -> Callable[..., "Job"]:
    """Makes a small job of a stage that saves after every step: `stage_job("grpo", "name")`."""
    from helpers import changed

    from diffucoder.engine.stage import new_job

    def backbone(inputs: Path) -> "tuple[Params, dict[str, Path]]":
        from diffucoder.config.backbone import BackboneParams

        narrow = {"architecture.hidden_size": 16, "architecture.intermediate_size": 32}
        read = changed(parameters("test", "backbone"), saving("training", 12) | narrow)
        tokenizer.save_pretrained(inputs)
        return BackboneParams(**read), {"tokenizer": inputs, "token_shards": shards.path}

    def adaptation(inputs: Path) -> "tuple[Params, dict[str, Path]]":
        from diffucoder.config.adaptation import AdaptationParams

        read = changed(parameters("test", "adaptation"), saving("pretraining", 12))
        params = AdaptationParams(**read)
        phase = params.phase(params.pretraining, params.anneal_steps)
        return phase, {"model": checkpoint, "shards": shards.path}

    def instruction(inputs: Path) -> "tuple[Params, dict[str, Path]]":
        import pandas as pd

        from diffucoder.config.instruction import InstructionParams
        from diffucoder.data.instructions import tokenize_pairs

        short = {"row_length": 64}
        read = changed(parameters("test", "instruction"), saving("training", 12) | short)
        pairs = [
            {"pair_id": str(n), "prompt": f"add {n}", "response": f"return x + {n}"}
            for n in range(8)
        ]
        rows = pd.DataFrame(tokenize_pairs(pairs, tokenizer, 128)).drop(columns="reason")
        rows.to_parquet(inputs / "pairs.parquet")
        given = {"model": checkpoint, "tokenized_pairs": inputs / "pairs.parquet"}
        return InstructionParams(**read), given

    def grpo(inputs: Path) -> "tuple[Params, dict[str, Path]]":
        import pandas as pd

        from diffucoder.config.grpo import GrpoParams
        from diffucoder.config.problems import ProblemsParams
        from diffucoder.data.families import generate

        own = {"function": "custom_reward.longer_is_better", "weight": 1.0}
        small = {
            "ref_model_sync_steps": 1,
            "objective.beta": 1.0,
            "decoding.max_new_tokens": 12,
            "decoding.steps": 4,
            "validation.decoding.max_new_tokens": 12,
            "validation.decoding.steps": 4,
            "validation.every": 1,
            "rewards.terms.length": own,
        }
        read = changed(parameters("test", "grpo"), saving("training", 3) | small)
        drawn = generate(ProblemsParams(**parameters("test", "problems")), seed=0)
        problems = pd.DataFrame([problem.record() for problem in drawn])
        kept = problems[problems["split"].isin(["rl", "validation"])]
        kept.assign(prompt="add 1").to_parquet(inputs / "problems.parquet")
        given = {"instruct": checkpoint, "problems": inputs / "problems.parquet"}
        return GrpoParams(**read), given

    stages = {
        "backbone": backbone,
        "adaptation": adaptation,
        "instruction": instruction,
        "grpo": grpo,
    }

    def make(stage: str, name: str, **changes: Any) -> "Job":
        inputs = tmp_path / f"{stage}-inputs"
        inputs.mkdir(exist_ok=True)
        params, given = stages[stage](inputs)
        params = params.model_copy(update=changes)
        return new_job(stage, params, given, tmp_path / stage / name, seed=3)

    return make


def saving(training: str, steps: int) -> dict[str, Any]:
    """Changes for `changed`: so many steps, and a save after each of them.

    Args:
        training: Name of the parameters' training block.
        steps: Steps of the training.
    """
    return {
        f"{training}.steps": steps,
        f"{training}.engine.save_every_s": 1e-9,
        f"{training}.engine.save_total_limit": 1,
    }
