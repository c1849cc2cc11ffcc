"""A small real stage for the engine's tests: next-token training of a tiny Qwen2."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from diffucoder.config.training import LoraParams, TrainingParams
from diffucoder.engine import lora
from diffucoder.engine.context import Context
from diffucoder.engine.job import Job
from diffucoder.engine.launch import STOP_FILE
from diffucoder.engine.loop import MicroBatch, fit
from diffucoder.engine.zero import export, initialize
from diffucoder.loss import LossOutput

VOCABULARY, LENGTH = 64, 12


def tiny_model(seed: int) -> Qwen2ForCausalLM:
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        use_cache=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(config)


def rows_between(first: int, last: int) -> list[Tensor]:
    return [torch.randint(VOCABULARY, (LENGTH,), generator=_of(n)) for n in range(first, last)]


def _of(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


@dataclass(frozen=True)
class Rows:
    tokens: Tensor
    scored: Tensor

    def to(self, device: torch.device) -> "Rows":
        return Rows(self.tokens.to(device), self.scored.to(device))


def prepare(
    rows: Sequence[Tensor], step: int, generators: Sequence[torch.Generator]
) -> MicroBatch[Rows]:
    """Rows of very unequal weight: between 1 and all of a row's positions are scored."""
    tokens_BL = torch.stack(list(rows))
    scored = [int(torch.randint(1, LENGTH, (), generator=g)) for g in generators]
    scored_BL = torch.arange(LENGTH - 1) < torch.tensor(scored)[:, None]
    return MicroBatch(Rows(tokens_BL, scored_BL), float(scored_BL.sum()), tokens_BL.numel())


def loss(model: nn.Module, rows: Rows, denominator: float) -> LossOutput:
    tokens_BL, scored_BL = rows.tokens, rows.scored
    logits_BLV = model(input_ids=tokens_BL).logits[:, :-1].float()
    entropy_BL = nn.functional.cross_entropy(
        logits_BLV.transpose(1, 2), tokens_BL[:, 1:], reduction="none"
    )
    right_BL = logits_BLV.argmax(-1) == tokens_BL[:, 1:]
    accuracy = right_BL[scored_BL].double().mean()
    return LossOutput(entropy_BL[scored_BL].sum() / denominator, {"accuracy": accuracy})


def work(job: Job, context: Context) -> None:
    training = TrainingParams.model_validate(job.parameters["training"])
    model = tiny_model(job.seed)
    if "lora" in job.parameters:
        lora.add(model, LoraParams.model_validate(job.parameters["lora"]), context.generator())
    engine = initialize(model, training)
    fault = job.parameters.get("fault", {})

    def reader(first: int, last: int) -> list[Tensor]:
        commit_fault(fault, first // training.batch_size, context)
        return rows_between(first, last)

    fit(context, engine, reader, prepare, loss)
    export(engine, PreTrainedTokenizerFast.from_pretrained(job.inputs["tokenizer"]), job.output)


def commit_fault(fault: dict[str, Any], step: int, context: Context) -> None:
    """What the test asks to go wrong at a step of a rank."""
    if step != fault.get("step") or context.rank != fault.get("rank", 0):
        return
    match fault["kind"]:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            (context.job.work / STOP_FILE).touch()
        case "wait":
            time.sleep(fault["seconds"])
