"""The training step beside the plainest correct torch loop of the same model.

    .venv/bin/python benchmarks/engine.py --sizes 1m 10m 0.5b-2
    .venv/bin/python benchmarks/engine.py --sizes 0.5b 1.5b --attention flash varlen sdpa # a GPU

Both train the same denoising objective with AdamW. The plain loop pads each document to a row and
computes the logits of every position. Ours runs once on those very rows with those very logits,
for each ZeRO stage: what DeepSpeed costs. And once as a stage would, on packed rows with logits
where the loss is taken: what the savings bring, in tokens of documents a second.

The two take turns within one process, step by step, so that a busy machine slows both. Memory is
measured with each alone in a process: its peak above what it had before the model was made.
"""

import argparse
import ast
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from diffucoder.config.training import TrainingParams
from diffucoder.data.packing import pack
from diffucoder.diffusion.denoising import NoisedBatch, corrupt, denoising_loss
from diffucoder.diffusion.options import InverseTimeWeighting
from diffucoder.engine.clock import peak_memory_mib
from diffucoder.engine.flops import attention_width, body_weights, of_forward
from diffucoder.engine.loop import MicroBatch, optimizer_step
from diffucoder.engine.zero import Engine, initialize
from diffucoder.loss import LossOutput
from diffucoder.model.compute import configure
from diffucoder.model.kernels import document_attention
from diffucoder.model.positions import packed_position_ids
from diffucoder.model.shift import aligned_logits

# hidden, intermediate, layers, heads, key-value heads, vocabulary, rows of a step, their length
SIZES = {
    "1m": (128, 384, 3, 4, 2, 1_024, 16, 256),
    "10m": (320, 1_280, 6, 5, 5, 4_096, 8, 256),
    "0.5b-2": (896, 4_864, 2, 14, 2, 151_936, 4, 256),
    "0.5b": (896, 4_864, 24, 14, 2, 151_936, 8, 2_048),
    "1.5b": (1_536, 8_960, 28, 12, 2, 151_936, 8, 2_048),
}
# A token is about three characters of source with a vocabulary of thousands.
CHARACTERS_A_TOKEN = 3
WEIGHTING = InverseTimeWeighting(kind="inverse_t")
Step = Callable[[], None]


def main() -> None:
    """Measure what was asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["1m", "10m", "0.5b-2"])
    parser.add_argument("--stages", nargs="+", type=int, default=[0, 1, 2, 3])
    parser.add_argument(
        "--attention", nargs="+", default=["auto"], help="kernels of the packed step"
    )
    parser.add_argument("--rounds", type=int, default=9, help="steps of each, taken in turns")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure, options.rounds)))
        return
    print("| model | step | time / plain | memory / plain | tokens/s / plain |")
    print("|---|---|---|---|---|")
    for size in options.sizes:
        plain = apart("memory-plain", size, options.rounds)["mib"]
        stages = [f"zero-{stage}" for stage in options.stages]
        for name in [*stages, *(f"packed-{kernel}" for kernel in options.attention)]:
            timed = apart(f"time-{name}", size, options.rounds)
            mib = apart(f"memory-{name}", size, options.rounds)["mib"]
            print(
                f"| {size} | {name} | {timed['ratio']:.2f} | {mib / plain:.2f} | "
                f"{timed['throughput']:.2f} |",
                flush=True,
            )
            print(
                f"{size} {name}: plain {timed['plain']:.3f} s, ours {timed['ours']:.3f} s a step; "
                f"{plain:,.0f} MiB, {mib:,.0f} MiB"
                + (f"; {timed['mfu']:.0%} of the matrix rate" if timed["mfu"] else ""),
                file=sys.stderr,
            )


def apart(what: str, size: str, rounds: int) -> dict[str, float]:
    """Run `measure` in a process of its own."""
    command = [sys.executable, __file__, "--rounds", str(rounds), "--measure", what, size]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(what: str, size: str, rounds: int) -> dict[str, float]:
    """Time of ours beside plain, or memory of either."""
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
    cuda = torch.cuda.is_available()
    dist.init_process_group(
        "nccl" if cuda else "gloo", store=dist.HashStore(), rank=0, world_size=1
    )
    device = torch.device("cuda", 0) if cuda else torch.device("cpu")
    kind, _, variant = what.partition("-")
    padded, packed = rows_of(size)
    before = 0.0 if cuda else peak_memory_mib(device)
    if kind == "memory":
        if variant == "plain":
            step = plain_step(size, padded, device)
        else:
            step = engine_step(size, variant, padded, packed, device)
        for _ in range(2):
            step()
        return {"mib": peak_memory_mib(device) - before}
    plain = plain_step(size, padded, device)
    ours = engine_step(size, variant, padded, packed, device)
    times = take_turns(plain, ours, rounds, device)
    tokens = [int((documents >= 0).sum()) for _, documents in (padded, packed)]
    ratio = times[1] / times[0]
    more = tokens[1] / tokens[0] if variant.startswith("packed") else 1.0
    mfu = share_of_matrix_rate(size, packed, times[1], device) if cuda else 0.0
    return {
        "plain": times[0],
        "ours": times[1],
        "ratio": ratio,
        "throughput": more / ratio,
        "mfu": mfu,
    }


def take_turns(one: Step, other: Step, rounds: int, device: torch.device) -> tuple[float, float]:
    """Median seconds of each; the first round warms up."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for step, found in zip((one, other), times, strict=True):
            began = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn > 0:
                found.append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def rows_of(size: str) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Tokens and document numbers `[B, L]`: a document a row, padded; and as many rows packed.

    Documents have the lengths of the standard library's functions; longer ones are cut.
    """
    *_, vocabulary, rows, length = SIZES[size]
    draw = np.random.default_rng(0)
    lengths = [min(n // CHARACTERS_A_TOKEN + 1, length) for n in function_lengths()]
    draw.shuffle(lengths)
    documents = [draw.integers(2, vocabulary, n).tolist() for n in lengths]
    tokens_BL = torch.ones((rows, length), dtype=torch.long)
    documents_BL = torch.full((rows, length), -1)
    for row, document in enumerate(documents[:rows]):
        tokens_BL[row, : len(document)] = torch.tensor(document)
        documents_BL[row, : len(document)] = 0
    packed = pack(documents, length, end_token_id=0)
    chosen = [next(packed) for _ in range(rows)]
    columns = [np.stack([row[name] for row in chosen]) for name in ("input_ids", "document_ids")]
    return (tokens_BL, documents_BL), tuple(torch.from_numpy(c).long() for c in columns)


def function_lengths() -> list[int]:
    """Characters of each function in the top level of this Python's standard library."""
    lengths = []
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        source = file.read_text(encoding="utf-8", errors="replace")
        lines = source.splitlines(keepends=True)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                lengths.append(sum(map(len, lines[node.lineno - 1 : node.end_lineno])))
    return lengths


def new_model(size: str) -> Qwen2ForCausalLM:
    """A bidirectional model with random weights."""
    hidden, intermediate, layers, heads, shared, vocabulary, _, length = SIZES[size]
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        max_position_embeddings=length,
        tie_word_embeddings=True,
        use_cache=False,
        attn_implementation="sdpa",
    )
    config.is_causal = False
    return Qwen2ForCausalLM(config)


def noised(rows: tuple[Tensor, Tensor], seed: int) -> NoisedBatch:
    """A batch of the denoising objective; token 1 stands in for what is hidden."""
    tokens_BL, documents_BL = rows
    generator = torch.Generator().manual_seed(seed)
    return corrupt(tokens_BL, documents_BL >= 0, 1, generator, documents_BL)


def full_loss(model: nn.Module, batch: NoisedBatch, denominator: float) -> LossOutput:
    """The objective written out: logits of all positions, 1/t at the hidden ones."""
    mask_BL = batch.document_ids >= 0
    logits_BLV = model(input_ids=batch.noised, attention_mask=mask_BL).logits
    losses_BL = nn.functional.cross_entropy(
        aligned_logits(logits_BLV).float().transpose(1, 2), batch.tokens, reduction="none"
    )
    weighted_BL = losses_BL * batch.masked / batch.times[:, None]
    return LossOutput(weighted_BL.sum() / denominator, {})


def packed_loss(model: nn.Module, batch: NoisedBatch, denominator: float) -> LossOutput:
    """The same as adaptation computes it."""
    documents_BL = batch.document_ids
    positions_BL = packed_position_ids(documents_BL)
    attention = document_attention(model, documents_BL)
    return denoising_loss(model, batch, WEIGHTING, denominator, attention, positions_BL)


def plain_step(size: str, rows: tuple[Tensor, Tensor], device: torch.device) -> Step:
    """One step of the plain loop."""
    model = new_model(size).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    seeds = iter(range(1_000_000))

    def step() -> None:
        batch = noised(rows, next(seeds)).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss, _ = full_loss(model, batch, float((rows[1] >= 0).sum()))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def engine_step(
    size: str,
    variant: str,
    padded: tuple[Tensor, Tensor],
    packed: tuple[Tensor, Tensor],
    device: torch.device,
) -> Step:
    """One step of ours: `zero-N` as the plain loop does it, or `packed-KERNEL`."""
    how, _, which = variant.partition("-")
    if how == "packed":
        engine, rows, loss = under_engine(size, 0, which, device), packed, packed_loss
    else:
        engine, rows, loss = under_engine(size, int(which), "sdpa", device), padded, full_loss
    seeds = iter(range(1_000_000))

    def step() -> None:
        count = float((rows[1] >= 0).sum())
        optimizer_step(engine, [MicroBatch(noised(rows, next(seeds)), count, int(count))], loss)

    return step


def under_engine(size: str, stage: int, attention: str, device: torch.device) -> Engine:
    """A model under DeepSpeed, set up as the stages do."""
    training = TrainingParams.model_validate(
        {
            "steps": 1_000_000,
            "batch_size": SIZES[size][-2],
            "optimizer": {
                "learning_rate": 1e-4,
                "betas": (0.9, 0.999),
                "epsilon": 1e-8,
                "weight_decay": 0.01,
                "max_grad_norm": 1.0,
            },
            "schedule": {"kind": "constant", "warmup_steps": 0},
            "engine": {
                "launcher": "local",
                "hostfile": None,
                "nproc_per_node": 1,
                "threads": torch.get_num_threads(),
                "zero_stage": stage,
                "precision": "bf16" if device.type == "cuda" else "fp32",
                "offload": "none",
                "gradient_checkpointing": False,
                "compile": False,
                "micro_batch": SIZES[size][-2],
                "attention": attention,
                "logits_mib": 2_048 if device.type == "cuda" else 128,
                "nonfinite_limit": 1,
                "save_every_s": 1e9,
                "save_total_limit": 1,
                "keep_best": False,
                "on_change": "refuse",
            },
        }
    )
    model = new_model(size)
    configure(model, training.engine, device)
    return initialize(model, training)


def share_of_matrix_rate(
    size: str, rows: tuple[Tensor, Tensor], seconds: float, device: torch.device
) -> float:
    """The body's operations of a step over what large bf16 products reach on this device."""
    with torch.device("meta"):
        model = new_model(size)
    done = of_forward(*rows[0].shape, body_weights(model), attention_width(model))
    side = 8_192
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))

    def products() -> None:
        for _ in range(20):
            torch.mm(left, right)

    took, _ = take_turns(products, products, 5, device)
    return done / seconds / (20 * 2 * side**3 / took)


if __name__ == "__main__":
    main()
