"""A tiny checkpoint as training would leave it, and the examples as modules."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from diffucoder.config.backbone import ArchitectureParams
from diffucoder.data.tokenizer import train
from diffucoder.model import create

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def example() -> Callable[[str], ModuleType]:
    """`example("decode")`: that file as a module."""

    def read(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"{name}_example", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return read


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bidirectional model that was never trained: what it writes is noise, always the same."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = train(["def add(x):\n    return x + 1\n" * 20], vocabulary=300)
    architecture = ArchitectureParams(
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=96,
        rope_theta=1e4,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    model = create(architecture, tokenizer, torch.Generator().manual_seed(1))
    model.config.is_causal = False
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
