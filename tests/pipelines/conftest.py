"""Parameters as the command line would read them, and inputs small enough for unit tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from kedro.config import OmegaConfigLoader
from omegaconf.resolvers import oc
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from diffucoder.config.backbone import ArchitectureParams
from diffucoder.data.packing import pack
from diffucoder.data.shards import Rows, Shards, write_parts
from diffucoder.data.tables import packed_rows
from diffucoder.data.tokenizer import encode_texts, special_ids, train
from diffucoder.model import create

ROOT = Path(__file__).parents[2]
TEXTS = [f"def add_{n}(x):\n    return x + {n}\n" for n in range(60)]


@pytest.fixture(scope="session")
def parameters() -> Callable[..., dict[str, Any]]:
    """`parameters(env, stage, work=...)`: a stage's merged parameters."""

    def read(env: str, stage: str, **changes: Any) -> dict[str, Any]:
        loader = OmegaConfigLoader(
            str(ROOT / "conf"),
            env=env,
            base_env="base",
            merge_strategy={"parameters": "soft"},
            custom_resolvers={"oc.env": oc.env, "project": lambda path="": str(ROOT / path)},
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
        layers=2,
        heads=2,
        key_value_heads=1,
        max_positions=64,
        rope_theta=10_000.0,
        tied_embeddings=True,
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
