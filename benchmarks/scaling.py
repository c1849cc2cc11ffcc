"""The tables of docs/scaling.md: what the paper's recipe costs, by arithmetic and the planner.

    .venv/bin/python benchmarks/scaling.py

Nothing is timed here. Operations are counted as `diffucoder.engine.flops` does, memory as
`diffucoder.engine.plan` does, from the parameters in conf/paper and the shape of Qwen2.5-Coder-7B.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from diffucoder import settings
from diffucoder.config.adaptation import AdaptationParams
from diffucoder.config.grpo import GrpoParams
from diffucoder.config.instruction import InstructionParams
from diffucoder.config.training import TrainingParams
from diffucoder.engine.flops import PEAKS, attention_width, body_weights, of_forward
from diffucoder.engine.plan import GB, USABLE, Shape, estimate, shape_of

ROOT = Path(__file__).parents[1]
# Of the H100's dense bf16 peak; what adaptation is to reach.
SHARE = 0.45
RATE = SHARE * PEAKS["H100"]
# Of the hidden ones among a row's maskable tokens, for t ~ U(0, 1).
MEAN_HIDDEN = 0.5
QWEN_7B = Qwen2Config(
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    vocab_size=152064,
    tie_word_embeddings=False,
)


@dataclass(frozen=True)
class Model:
    """Sizes that operations depend on: weights of the body and of the head, attention's width."""

    body: float
    head: float
    width: float

    def operations(self, rows: float, length: int, scored: float, products: int) -> float:
        """Operations of passes over rows: each weight takes part in so many products a token.

        Args:
            rows: how many.
            length: tokens of a row.
            scored: positions of a row with logits.
            products: 1 forward, 3 forward and backward, 4 with everything computed once more.
        """
        through = of_forward(1, length, self.body, self.width) * products / 3
        # What checkpointing computes again are the layers.
        return rows * (through + 2 * self.head * scored * min(products, 3))


@dataclass(frozen=True)
class Stage:
    """A stage of the recipe.

    Attributes:
        name: as the paper has it.
        training: its parameters.
        length: tokens of a row.
        length: tokens of a row.
        passes: forward passes through a micro-batch before its backward pass.
        group: rows that a rank keeps together.
        tokens: that are trained on; None where rows are sampled.
        operations: of the whole stage, recomputation included.
        reported: what the paper says it took.
    """

    name: str
    training: TrainingParams
    length: int
    passes: int
    group: int
    tokens: float | None
    operations: float
    reported: str


def main() -> None:
    """Print the tables."""
    for table in (costs(), memory()):
        print(table, end="\n\n")


def stages() -> list[Stage]:
    """The recipe of conf/paper."""
    with torch.device("meta"):
        network = Qwen2ForCausalLM(QWEN_7B)
    head = QWEN_7B.vocab_size * QWEN_7B.hidden_size
    model = Model(body_weights(network), head, attention_width(network))
    adaptation = AdaptationParams(**parameters("adaptation"))
    instruction = InstructionParams(**parameters("instruction"))
    grpo = GrpoParams(**parameters("grpo"))
    packed = parameters("ingestion")["packing"]["length"]
    found = [
        ("I adaptation", adaptation.pretraining, packed, "3,200 H100 hours"),
        ("II mid-training", adaptation.mid_training, packed, "5,760 A100 hours"),
        ("III instruction", instruction.training, instruction.row_length, "-"),
    ]
    denoising = []
    for name, training, length, reported in found:
        rows = training.steps * training.batch_size
        products = 4 if training.engine.gradient_checkpointing else 3
        done = model.operations(rows, length, MEAN_HIDDEN * length, products)
        denoising.append(Stage(name, training, length, 1, 1, rows * length, done, reported))
    canvas = grpo.max_prompt_tokens + grpo.decoding.max_new_tokens
    views = 2 * grpo.estimator.pairs + 1
    done = grpo.training.steps * sum(grpo_step(model, grpo, canvas, views))
    group = grpo.num_generations
    reported = "320 H100 hours"
    reinforcement = Stage(
        "IV coupled-GRPO", grpo.training, canvas, views, group, None, done, reported
    )
    return [*denoising, reinforcement]


def grpo_step(model: Model, grpo: GrpoParams, length: int, views: int) -> tuple[float, float]:
    """Operations of a step's rollouts and of its updates."""
    rows, new = grpo.training.batch_size, grpo.decoding.max_new_tokens
    # Half of the canvas is hidden in the mean of a decode; all of it in the first view, and each
    # pair of views hides each token once.
    rollouts = rows * grpo.decoding.steps * model.operations(1, length, new / 2, 1)
    # A group shares the first view.
    passes = views - 1 + 1 / grpo.num_generations
    scored = new * (views + 1) / 2 / passes
    updated = grpo.num_iterations * model.operations(rows * passes, length, scored, 4)
    # The reference in each iteration, the old policy in all but the first.
    scorings = 2 * grpo.num_iterations - 1
    return rollouts, updated + scorings * model.operations(rows * passes, length, scored, 1)


def parameters(stage: str) -> dict[str, Any]:
    """A stage's parameters in the environment `paper`."""
    loader = settings.CONFIG_LOADER_CLASS(
        str(ROOT / "conf"), env="paper", **settings.CONFIG_LOADER_ARGS
    )
    return loader["parameters"][stage]


def costs() -> str:
    """Operations and time of each stage on 1, 8 and 64 GPUs."""
    lines = [
        "| stage | tokens | operations | H100 hours | 1 GPU | 8 GPUs | 64 GPUs | the paper's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for stage in stages():
        hours = stage.operations / RATE / 3600
        tokens = f"{stage.tokens / 1e9:.1f} B" if stage.tokens else "sampled"
        times = " | ".join(days(hours / gpus) for gpus in (1, 8, 64))
        lines.append(
            f"| {stage.name} | {tokens} | {stage.operations:.2e} | {hours:,.0f} | {times} | "
            f"{stage.reported} |"
        )
    return "\n".join(lines)


def days(hours: float) -> str:
    """Hours in words."""
    return f"{hours / 24:,.0f} days" if hours >= 96 else f"{hours:,.1f} h"


# Changes to conf/paper's engine by number of GPUs.
SETTINGS: dict[int, dict[str, Any]] = {
    1: {"nproc_per_node": 1, "zero_stage": 1, "offload": "optimizer"},
    8: {},
    64: {},
}


def batch_for(training: TrainingParams, gpus: int, group: int) -> int:
    """The recipe's rows per step, or the least above them that so many GPUs can share in groups."""
    return math.ceil(training.batch_size / (gpus * group)) * gpus * group


def memory() -> str:
    """Memory of a rank of each stage on 1, 8 and 64 GPUs, and what an H100 has of it."""
    lines = [
        "| stage | GPUs | ZeRO | offload | rows per step | at a time | states | activations "
        "| logits | room in 80 GB | the machine's memory |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    with torch.device("meta"):
        network = Qwen2ForCausalLM(QWEN_7B)
    weights = sum(weight.numel() for weight in network.parameters())
    for stage in stages():
        for gpus, changes in SETTINGS.items():
            batch = batch_for(stage.training, gpus, stage.group)
            at_a_time = min(stage.training.engine.micro_batch, batch // gpus)
            engine = stage.training.engine.model_copy(update={**changes, "micro_batch": at_a_time})
            beside = weights if stage.tokens is None else 0
            shape: Shape = shape_of(network, stage.length, stage.passes, beside)
            plan = estimate(shape, engine, gpus)
            room = USABLE * 80 - plan.device / GB
            lines.append(
                f"| {stage.name} | {gpus} | {engine.zero_stage} | {engine.offload} | "
                f"{batch} | {at_a_time} | {plan.states / GB:.1f} GB | "
                f"{plan.activations / GB:.1f} GB | {plan.logits / GB:.1f} GB | "
                f"{room:.1f} GB | {f'{plan.host / GB:.0f} GB' if plan.host else '-'} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
