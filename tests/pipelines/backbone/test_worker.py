from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from diffucoder.config.backbone import BackboneParams
from diffucoder.data.shards import Shards
from diffucoder.data.tokenizer import train
from diffucoder.engine.context import Context
from diffucoder.engine.reporter import Reporter
from diffucoder.errors import BadCheckpoint
from diffucoder.model import load
from diffucoder.pipelines.backbone.worker import next_token_loss, prepare, work
from diffucoder.pipelines.packed import PackedRow
from diffucoder.pipelines.stage import new_job


def test_next_token_loss_of_packed_documents_by_hand(model: PreTrainedModel) -> None:
    first, second = torch.arange(10, 17), torch.arange(50, 55)
    row = PackedRow(torch.cat([first, second]), torch.tensor([0] * 7 + [1] * 5))
    batch = prepare([row], 0, [torch.Generator()])
    assert batch.denominator == 6 + 4
    loss, metrics = next_token_loss(model, batch.tensors, batch.denominator)
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
        work(job, Context(job, job.identity(), 0, 1, torch.device("cpu"), reporter))
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


def test_a_checkpoint_with_another_vocabulary_is_refused(
    take_over: Callable[[Path, PreTrainedTokenizerFast], Path], checkpoint: Path
) -> None:
    other = train(["a quite different corpus of words"] * 3, 300)
    with pytest.raises(BadCheckpoint, match="disagree"):
        take_over(checkpoint, other)
