"""Dream's layout, in and out, against a forward pass of its own (`dream.py`)."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from diffucoder.cli import cli
from diffucoder.config.backbone import ArchitectureParams
from diffucoder.data.tokenizer import complete, open_tokenizer, special_ids
from diffucoder.errors import BadCheckpoint
from diffucoder.model import create, load, set_bidirectional
from diffucoder.model.export import export_dream

sys.path.append(str(Path(__file__).parent))
import dream

IDS_L = torch.arange(40, 60)


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS_L[None]).logits[0]


@pytest.fixture
def original(tmp_path: Path) -> Path:
    folder = tmp_path / "original"
    dream.write(folder)
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "exported"
    folder.mkdir()
    return folder


def saved(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_dream_directory_loads_with_the_logits_of_the_original(original: Path) -> None:
    model, tokenizer = load(original)
    expected_LV = dream.forward(original, IDS_L)
    torch.testing.assert_close(logits(model), expected_LV, rtol=1e-5, atol=1e-5)
    # Causal attention would pass the test above at the last position alone.
    moved = IDS_L.clone()
    moved[-1] = 7
    assert not torch.allclose(dream.forward(original, moved)[0], expected_LV[0])
    assert tokenizer.mask_token_id == dream.CONFIG["mask_token_id"]


def test_the_tokenizer_of_dream_is_read_without_its_code(original: Path) -> None:
    tokenizer = open_tokenizer(original)
    text = "def f(x): return 'é'<|im_end|>"
    ids = tokenizer.encode(text)
    assert ids[-1] == 258 and tokenizer.decode(ids) == text
    assert tokenizer.mask_token == "<|mask|>"
    assert special_ids(complete(tokenizer)) == (259, 256, 257, 258, 260)


def test_dream_comes_out_as_it_came_in(original: Path, target: Path) -> None:
    export_dream(original, target)
    before, after = dream.read_weights(original), dream.read_weights(target)
    assert before.keys() == after.keys()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    config = json.loads((target / "config.json").read_text())
    # The code stays with who published it; the two last keys are of no effect.
    changed = {key for key, value in dream.CONFIG.items() if config.get(key) != value}
    assert changed <= {"auto_map", "max_window_layers", "transformers_version", "use_mrope"}
    assert config["auto_map"]["AutoModel"].endswith("--modeling_dream.DreamModel")
    assert not list(target.glob("*.py"))
    expected = open_tokenizer(original)
    text = "x = 12\n<|mask|><|im_end|>"
    assert open_tokenizer(target).encode(text) == expected.encode(text)


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_of_ours_is_a_dream_model_once_exported(
    tmp_path: Path,
    target: Path,
    architecture: ArchitectureParams,
    tokenizer: PreTrainedTokenizerFast,
    tied: bool,
) -> None:
    shape = architecture.model_copy(update={"tie_word_embeddings": tied, "rope_theta": 300.0})
    model = create(shape, tokenizer, torch.Generator().manual_seed(0)).eval()
    set_bidirectional(model)
    export_dream(saved(tmp_path / "ours", model, tokenizer), target)
    torch.testing.assert_close(dream.forward(target, IDS_L), logits(model), rtol=1e-5, atol=1e-5)
    again, its_tokenizer = load(target)
    assert torch.equal(logits(again), logits(model))
    text = "def f(x):\n    return x<|im_end|>"
    assert its_tokenizer.encode(text) == tokenizer.encode(text)
    generation = json.loads((target / "generation_config.json").read_text())
    assert generation["mask_token_id"] == tokenizer.mask_token_id
    stock = AutoTokenizer.from_pretrained(target, trust_remote_code=False)
    assert stock.mask_token == "<|mask|>" and stock.pad_token == "<|dlm_pad|>"


def become_causal(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    model.config.is_causal = True


def lose_the_mask(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.mask_token = None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(become_causal, "attention is causal"), (lose_the_mask, "no mask token")],
)
def test_what_is_no_diffusion_model_is_refused(
    tmp_path: Path,
    target: Path,
    model: PreTrainedModel,
    make_tokenizer: Callable[[list[str]], PreTrainedTokenizerFast],
    spoil: Callable[[PreTrainedModel, PreTrainedTokenizerFast], None],
    message: str,
) -> None:
    set_bidirectional(model)
    tokenizer = make_tokenizer(dream.SPECIAL)
    spoil(model, tokenizer)
    with pytest.raises(BadCheckpoint, match=message):
        export_dream(saved(tmp_path / "ours", model, tokenizer), target)


def test_another_architecture_is_refused(
    tmp_path: Path, target: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    config = AutoConfig.for_model(
        "llama",
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        is_causal=False,
    )
    source = saved(tmp_path / "llama", AutoModelForCausalLM.from_config(config), tokenizer)
    with pytest.raises(BadCheckpoint, match=r"holds Qwen2-shaped models.*'llama'"):
        export_dream(source, target)


def test_the_command_writes_a_whole_directory_or_none(original: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    done = CliRunner().invoke(cli, ["export", str(original), str(target)])
    assert done.exit_code == 0, done.output
    assert (target / "COMPLETE").is_file()
    torch.testing.assert_close(logits(load(target)[0]), logits(load(original)[0]))

    again = CliRunner().invoke(cli, ["export", str(original), str(target)])
    assert again.exit_code != 0 and "exists" in again.output
    (original / "config.json").unlink()
    failed = CliRunner().invoke(cli, ["export", str(original), str(tmp_path / "other")])
    assert failed.exit_code == 1 and "BadCheckpoint" in failed.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "original"]
