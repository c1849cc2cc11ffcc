import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from diffucoder.errors import BadCheckpoint
from diffucoder.model import load, set_bidirectional

IDS_BL = torch.arange(40, 52)[None]


@pytest.fixture
def checkpoint(tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Path:
    folder = tmp_path / "checkpoint"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rewrite(file: Path, change: Callable[[dict], dict]) -> None:
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS_BL).logits


def test_stock_directory_loads_and_stays_causal(
    checkpoint: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    loaded, its_tokenizer = load(checkpoint)
    assert torch.equal(logits(loaded), logits(model))
    assert not loaded.training
    assert its_tokenizer.get_vocab() == tokenizer.get_vocab()
    text = "def f(x):\n    return 'é'<|im_end|>"
    assert its_tokenizer.encode(text) == tokenizer.encode(text)
    assert its_tokenizer.mask_token_id == tokenizer.mask_token_id


def test_bidirectional_attention_survives_saving(checkpoint: Path, model: PreTrainedModel) -> None:
    set_bidirectional(model)
    model.save_pretrained(checkpoint)
    expected = logits(model)
    assert torch.equal(logits(load(checkpoint)[0]), expected)
    stock = AutoModelForCausalLM.from_pretrained(checkpoint)
    assert torch.equal(logits(stock), expected)


@pytest.mark.parametrize("model_type", ["qwen3", "llama"])
def test_other_backbones_load(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, model_type: str
) -> None:
    config = AutoConfig.for_model(
        model_type,
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        tie_word_embeddings=False,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, _ = load(tmp_path)
    assert torch.equal(logits(loaded), logits(model))
    set_bidirectional(loaded)
    assert not torch.allclose(logits(loaded), logits(model))


def test_dream_layout_loads_bidirectional_with_equal_logits(
    checkpoint: Path, model: PreTrainedModel
) -> None:
    # Dream and DiffuCoder: Qwen2's weight names under a config type and code of their own.
    def as_dream(config: dict) -> dict:
        theta = config.pop("rope_parameters")["rope_theta"]
        config.pop("is_causal", None)
        return config | {
            "model_type": "Dream",
            "architectures": ["DreamModel"],
            "auto_map": {
                "AutoConfig": "configuration_dream.DreamConfig",
                "AutoModel": "modeling_dream.DreamModel",
            },
            "rope_theta": theta,
            "rope_scaling": None,
            "mask_token_id": 256,
        }

    rewrite(checkpoint / "config.json", as_dream)
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    (checkpoint / "vocab.json").write_text(json.dumps(tokenizer["model"]["vocab"]))
    (checkpoint / "merges.txt").write_text("#version: 0.2\n")
    (checkpoint / "tokenizer.json").unlink()
    special = {str(entry["id"]): entry for entry in tokenizer["added_tokens"]}
    for entry in special.values():
        entry.pop("id")
    settings = {
        "tokenizer_class": "DreamTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
        "added_tokens_decoder": special,
        "mask_token": "<|mask|>",
        "pad_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "bos_token": None,
    }
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(settings))
    set_bidirectional(model)

    loaded, its_tokenizer = load(checkpoint)

    assert torch.equal(logits(loaded), logits(model))
    assert its_tokenizer.mask_token_id == 256
    assert its_tokenizer.encode("a b<|im_end|>")[-1] == 259
    assert its_tokenizer.decode(its_tokenizer.encode("def f(): pass")) == "def f(): pass"


def drop_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def cut_config(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text[: len(text) // 2])


def drop_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def lose_a_shard(folder: Path) -> None:
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    shutil.move(folder / "model.safetensors", folder / shards["a"])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def ask_for_another_layer(folder: Path) -> None:
    rewrite(
        folder / "config.json",
        lambda c: c | {"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3},
    )


def ask_for_another_width(folder: Path) -> None:
    rewrite(folder / "config.json", lambda c: c | {"intermediate_size": 48})


def become_foreign(folder: Path) -> None:
    rewrite(folder / "config.json", lambda c: c | {"model_type": "gpt2"})


def drop_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def cut_tokenizer(folder: Path) -> None:
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text[: len(text) // 2])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop_config, "has no config.json"),
        (cut_config, "not valid JSON"),
        (drop_weights, "weights are missing .*model.safetensors"),
        (cut_weights, "not a whole safetensors file"),
        (lose_a_shard, "weights are missing .*model-00002-of-00002"),
        (ask_for_another_layer, "12 weights .* are absent"),
        (ask_for_another_width, "do not fit its config"),
        (become_foreign, "model type 'gpt2' is not known: expected one of qwen2"),
        (drop_tokenizer, "has no tokenizer"),
        (cut_tokenizer, "tokenizer cannot be read"),
    ],
)
def test_a_spoilt_directory_is_one_clear_error(
    checkpoint: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(checkpoint)
    with pytest.raises(BadCheckpoint, match=message) as caught:
        load(checkpoint)
    assert str(checkpoint) in str(caught.value)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="no such directory"):
        load(tmp_path / "nothing")
