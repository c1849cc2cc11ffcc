from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import rank_context
from torch.nn.functional import cross_entropy
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from diffucoder.config.backbone import BackboneParams
from diffucoder.data.shards import Shards
from diffucoder.data.tokenizer import train
from diffucoder.engine.reporter import Reporter
from diffucoder.engine.stage import new_job
from diffucoder.errors import BadCheckpoint
from diffucoder.model import load, set_bidirectional
from diffucoder.model.projection import aligned_states, token_log_probs
from diffucoder.training.backbone import next_token_loss, prepare, work
from diffucoder.training.packed import PackedTokens


def test_next_token_loss_of_packed_documents_by_hand(model: PreTrainedModel) -> None:
    first, second = torch.arange(10, 17), torch.arange(50, 55)
    row = PackedTokens(torch.cat([first, second]), torch.tensor([0] * 7 + [1] * 5))
    batch = prepare([row], 0, [torch.Generator()])
    assert batch.denominator == 6 + 4
    loss, metrics = next_token_loss(model, batch.batch, batch.denominator)
    expected = sum(
        cross_entropy(model(tokens[None]).logits[0, :-1], tokens[1:], reduction="sum")
        for tokens in (first, second)
    )
    torch.testing.assert_close(loss, expected / 10)
    torch.testing.assert_close(metrics["cross_entropy"], loss.detach())


@pytest.fixture
def take_over(
    tmp_path: Path, parameters: Callable[..., dict[str, Any]], shards: Shards
) -> Callable[[Path, PreTrainedTokenizerFast], Path]:
    """Runs the stage on a checkpoint in this process; nothing is trained."""

    def run(source: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
        tokenizer.save_pretrained(tmp_path / "tokenizer")
        params = BackboneParams(**parameters("test", "backbone", source=str(source)))
        inputs = {"tokenizer": tmp_path / "tokenizer", "token_shards": shards.path}
        job = new_job("backbone", params, inputs, tmp_path / "work", seed=0)
        job.work.mkdir()
        reporter = Reporter(job.work, 0)
        work(job, rank_context(job, reporter=reporter))
        reporter.close()
        return job.output

    return run


def test_a_checkpoint_is_taken_over_as_it_is(
    take_over: Callable[[Path, PreTrainedTokenizerFast], Path],
    checkpoint: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    made, its_tokenizer = load(take_over(checkpoint, tokenizer))
    assert its_tokenizer.get_vocab() == tokenizer.get_vocab()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, made.state_dict()[name])


def test_a_checkpoint_without_mask_token_gains_one(
    take_over: Callable[[Path, PreTrainedTokenizerFast], Path],
    checkpoint: Path,
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    grown = PreTrainedTokenizerFast.from_pretrained(checkpoint)
    grown.add_special_tokens({"extra_special_tokens": ["<|new|>"]})
    made, _ = load(take_over(checkpoint, grown))
    new = grown.get_vocab()["<|new|>"]
    assert made.config.vocab_size == new + 1 == len(tokenizer) + 1
    row = made.get_input_embeddings().weight[new]
    known = made.get_input_embeddings().weight[:new]
    assert (row - known.mean(0)).abs().max() < known.std()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "llama"])
def test_every_backbone_keeps_its_predictions_and_can_be_adapted(
    tmp_path: Path,
    take_over: Callable[[Path, PreTrainedTokenizerFast], Path],
    tokenizer: PreTrainedTokenizerFast,
    model_type: str,
    tied: bool,
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
        pad_token_id=tokenizer.pad_token_id,
    )
    source = AutoModelForCausalLM.from_config(config).eval()
    source.save_pretrained(tmp_path / "source")
    tokenizer.save_pretrained(tmp_path / "source")
    grown = PreTrainedTokenizerFast.from_pretrained(tmp_path / "source")
    grown.add_special_tokens({"extra_special_tokens": ["<|new|>", "<|newer|>"]})

    made, _ = load(take_over(tmp_path / "source", grown))

    tokens_BL = torch.arange(20, 32)[None]
    with torch.no_grad():
        known_BLV, grown_BLV = source(tokens_BL).logits, made(tokens_BL).logits
    assert grown_BLV.shape[2] == known_BLV.shape[2] + 2
    torch.testing.assert_close(grown_BLV[..., :-2], known_BLV)
    set_bidirectional(made)
    new_BL = torch.full((1, 8), grown.get_vocab()["<|newer|>"])
    log_probs_N = token_log_probs(made, aligned_states(made, new_BL)[0, 1:], new_BL[0, 1:])
    log_probs_N.sum().backward()
    tables = {made.get_input_embeddings(), made.get_output_embeddings()}
    assert all(table.weight.grad[-1].abs().sum() > 0 for table in tables)


def test_a_checkpoint_with_another_vocabulary_is_refused(
    take_over: Callable[[Path, PreTrainedTokenizerFast], Path], checkpoint: Path
) -> None:
    other = train(["a quite different corpus of words"] * 3, 300)
    with pytest.raises(BadCheckpoint, match="disagree"):
        take_over(checkpoint, other)
