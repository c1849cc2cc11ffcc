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


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "llama"])
def test_every_backbone_comes_in_and_goes_out_bidirectional(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, model_type: str, tied: bool
) -> None:
    config = AutoConfig.for_model(
        model_type,
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=tied,
    )
    config.initializer_range = 0.5
    model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(tmp_path / "in", max_shard_size="5KB")
    tokenizer.save_pretrained(tmp_path / "in")
    assert len(list((tmp_path / "in").glob("*.safetensors"))) > 1

    loaded, _ = load(tmp_path / "in")
    assert torch.equal(logits(loaded), logits(model))
    set_bidirectional(loaded)
    loaded.save_pretrained(tmp_path / "out")
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert type(stock) is type(model)
    assert torch.equal(logits(stock), logits(loaded))
    embedded_BLD = stock.get_input_embeddings()(IDS_BL).detach().requires_grad_()
    stock(inputs_embeds=embedded_BLD).logits[0, 0].sum().backward()
    assert (embedded_BLD.grad.abs().sum(-1) > 0).all(), "the first position sees all others"


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


def gain_a_tokenizer_of_another_model(folder: Path) -> None:
    def add_one(tokenizer: dict) -> dict:
        known = tokenizer["added_tokens"]
        return tokenizer | {"added_tokens": [*known, known[0] | {"id": 261, "content": "?!"}]}

    rewrite(folder / "tokenizer.json", add_one)


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
        (gain_a_tokenizer_of_another_model, "tokenizer has 262 tokens and its embedding 261 rows"),
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
