"""What a decode costs, and what it costs in quality, against recomputing the canvas each token.

    .venv/bin/python benchmarks/decoding.py
    .venv/bin/python benchmarks/decoding.py --checkpoint DIRECTORY --threads 2 --skip random

Five parts, each against a reference that is measured beside it, batch by batch:

- `checkpoint`: every rule, cache and number of tokens a step on held-out problems, with pass@1;
- `random`: the same without pass@1 on random weights in the shape of Qwen2.5-0.5B;
- `lengths`: 64 rows of mixed lengths against as many tokens in rows of one length;
- `traces`: rollouts with a trace of the 4 most probable tokens against rollouts without one;
- `memory`: the most memory that a decode takes in few steps and in many.

Each part prints a Markdown table; all rows go to `--output` as Parquet.
"""

import argparse
import multiprocessing
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Qwen2Config

from diffucoder.config.decoding import DecodingParams
from diffucoder.data.problems import Problem
from diffucoder.data.tokenizer import SpecialIds, encode_chat, special_ids
from diffucoder.decoding import Request, decode
from diffucoder.decoding.options import Caching
from diffucoder.decoding.rules import RULES
from diffucoder.evaluation.bootstrap import interval
from diffucoder.model import load
from diffucoder.progress import track
from diffucoder.rewards.extract import extract_code
from diffucoder.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("checkpoint", "random", "lengths", "traces", "memory")
RESAMPLES, CONFIDENCE = 10_000, 0.95

# Where the default model's pass@1 does not suffer; Fast-dLLM's 0.9 is the rule's default.
SURE = 0.98

# Qwen2.5-0.5B's config.
HALF_BILLION = {
    "vocab_size": 151_936,
    "hidden_size": 896,
    "intermediate_size": 4_864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32_768,
    "tie_word_embeddings": True,
}


@dataclass
class Cost:
    """What a setting has cost so far, and what it wrote."""

    forwards: int = 0
    positions: int = 0
    seconds: float = 0.0
    completions: list[list[int]] = field(default_factory=list)
    canvases: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Subject:
    """A model, ids of its special tokens, and the token that ends its completions."""

    model: nn.Module
    special: SpecialIds
    end: int


def main() -> None:
    """Run the parts that were not skipped."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = ROOT / "data"
    parser.add_argument("--checkpoint", type=Path, default=data / "06_models" / "grpo")
    parser.add_argument("--problems", type=Path, default=data / "03_primary" / "problems.parquet")
    parser.add_argument("--count", type=int, default=160, help="held-out problems")
    parser.add_argument("--batch", type=int, default=16, help="rows decoded together")
    parser.add_argument("--length", type=int, default=48, help="tokens of a completion")
    parser.add_argument("--block", type=int, default=12, help="tokens of a block")
    parser.add_argument("--paces", type=int, nargs="+", default=[1, 2, 4], help="tokens a step")
    parser.add_argument("--random-length", type=int, default=256, help="of the random model's text")
    parser.add_argument("--random-block", type=int, default=32)
    parser.add_argument("--random-paces", type=int, nargs="+", default=[8])
    parser.add_argument("--random-batch", type=int, default=1)
    parser.add_argument(
        "--random-settings",
        nargs="+",
        help="such as 'entropy dual 8'; all if not given. The first is what others are compared to",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip", nargs="*", choices=PARTS, default=[])
    parser.add_argument("--output", type=Path, default=data / "08_reporting" / "decoding.parquet")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    measure = {
        "checkpoint": checkpoint,
        "random": half_billion,
        "lengths": lengths,
        "traces": traces,
        "memory": memory,
    }
    tables = []
    for part in PARTS:
        if part not in options.skip:
            rows = measure[part](options)
            print(f"\n{part}\n\n{markdown(rows)}", flush=True)
            tables.append(pd.DataFrame(rows).assign(part=part))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    pd.concat(tables).to_parquet(options.output, index=False)


def settings(length: int, block: int, paces: Sequence[int]) -> dict[str, DecodingParams]:
    """Every rule, cache and number of tokens a step; first of all the plain sampler.

    The plain one has one block and reveals a token a step.
    """
    shape = {"max_new_tokens": length, "eps": 0.0}
    made = {"plain": DecodingParams(rule="entropy", steps=length, **shape)}
    for rule in RULES:
        for pace in paces:
            for cache in get_args(Caching):
                chosen = {"rule": rule, "steps": length // pace, "block_length": block}
                made[f"{rule} {cache} {pace}"] = DecodingParams(cache=cache, **chosen, **shape)
    return made


def savings(length: int, block: int) -> dict[str, DecodingParams]:
    """Settings for text that ends.

    `dropping` ones compute nothing after an end token, one token per step; `fast` ones also reveal
    all tokens that are sure.
    """
    shape, made = {"max_new_tokens": length, "eps": 0.0}, {}
    for cache in get_args(Caching):
        saving = shape | {"drop_after_end": True, "cache": cache, "steps": length}
        made[f"dropping {cache}"] = DecodingParams(rule="entropy", block_length=block, **saving)
        fast = saving | {"threshold": SURE}
        made[f"fast {cache}"] = DecodingParams(rule="threshold", block_length=block, **fast)
    return made


def checkpoint(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every setting on held-out problems, with pass@1."""
    model, tokenizer = load(options.checkpoint, dtype=torch.float32)
    special = special_ids(tokenizer)
    subject = Subject(model, special, special.turn_end)
    table = pd.read_parquet(options.problems)
    heldout = table[table["split"] == "heldout"]
    count = min(options.count, len(heldout))
    heldout = heldout.iloc[[index * len(heldout) // count for index in range(count)]]
    prompts = [encode_chat(tokenizer, prompt) for prompt in heldout["prompt"]]
    order = sorted(range(count), key=lambda index: len(prompts[index]))
    problems = [Problem.from_record(heldout.iloc[index].to_dict()) for index in order]
    chosen = settings(options.length, options.block, options.paces)
    chosen |= savings(options.length, options.block)
    costs = run(subject, [prompts[index] for index in order], chosen, options.batch)
    rows = compare(costs, chosen)
    with Sandbox(workers=2, tier="auto", memory_mb=512, cpu_s=4, wall_s=4, max_timeouts=1) as box:
        for row in track(rows, "score settings", len(rows)):
            texts = tokenizer.batch_decode(
                costs[row["setting"]].completions,
                skip_special_tokens=True,
                clean_up_tokenization_spaces=False,
            )
            codes = [extract_code(text) or "" for text in texts]
            pairs = zip(problems, codes, strict=True)
            programs = [problem.program(code) for problem, code in pairs]
            passed = [float(verdict.status == "passed") for verdict in box.run(programs)]
            low, high = interval(passed, RESAMPLES, CONFIDENCE, seed=0)
            row |= {"pass@1": sum(passed) / len(passed), "low": low, "high": high}
    return rows


def half_billion(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every setting on half a billion random weights, in float32."""
    config = Qwen2Config(**HALF_BILLION)
    config.is_causal = False
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    model = model.to_empty(device="cpu").eval()
    draws = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        nn.init.ones_(weight) if "norm" in name else nn.init.normal_(weight, 0, 0.02, draws)
    model.tie_weights()
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    end = 151_934
    special = SpecialIds(mask=151_935, end_of_text=end, turn_start=end, turn_end=end, pad=151_933)
    subject = Subject(model, special, end)
    prompts = torch.randint(150_000, (options.random_batch, 64), generator=draws).tolist()
    made = settings(options.random_length, options.random_block, options.random_paces)
    names = options.random_settings or list(made)
    if unknown := sorted(set(names) - set(made)):
        raise SystemExit(f"--random-settings {unknown}: choose from {sorted(made)}")
    chosen = {name: made[name] for name in names}
    return compare(run(subject, prompts, chosen, options.random_batch), chosen)


def lengths(options: argparse.Namespace) -> list[dict[str, Any]]:
    """64 rows whose prompts have 8 to 71 tokens, and 64 of the same mean."""
    subject, word = loaded(options.checkpoint)
    prompts = {
        "uniform": [[word] * length for length in [39, 40] * 32],
        "mixed": [[word] * length for length in range(8, 72)],
    }
    shape = {"rule": "entropy", "max_new_tokens": options.length, "steps": 8, "eps": 0.0}
    made: dict[str, Cost] = {}
    for _ in range(5):
        for name, limit in (("padded", 1.0), ("split", 0.1)):
            config = DecodingParams(max_padding=limit, **shape)
            for kind, rows in prompts.items():
                add(subject, rows, config, made.setdefault(f"{kind} {name}", Cost()))
    return against(made, "uniform padded")


def traces(options: argparse.Namespace) -> list[dict[str, Any]]:
    """128 rollouts, two tokens a step, with and without a trace."""
    subject, word = loaded(options.checkpoint)
    prompts = [[word] * 32] * 128
    steps = options.length // 2
    shape = {"rule": "entropy", "max_new_tokens": options.length, "steps": steps, "eps": 0.0}
    config = DecodingParams(temperature=1.0, top_p=0.95, **shape)
    made = {"untraced": Cost(), "traced": Cost()}
    for _ in range(3):
        add(subject, prompts, config, made["untraced"])
        add(subject, prompts, config, made["traced"], top_logprobs=4)
    return against(made, "untraced")


def against(made: Mapping[str, Cost], reference: str) -> list[dict[str, Any]]:
    """A row for each cost, with its time over that of the reference."""
    return [
        {
            "setting": name,
            "forwards": cost.forwards,
            "positions": cost.positions,
            "seconds": cost.seconds,
            f"time over {reference}": cost.seconds / made[reference].seconds,
        }
        for name, cost in made.items()
    ]


def loaded(directory: Path) -> tuple[Subject, int]:
    """A checkpoint, and a token to fill prompts with whose content does not matter."""
    model, tokenizer = load(directory, dtype=torch.float32)
    special = special_ids(tokenizer)
    return Subject(model, special, special.turn_end), special.end_of_text


def memory(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The most memory of a decode in 4 steps and in as many as there are tokens."""
    rows = []
    for cache in get_args(Caching):
        for steps in (4, options.length):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                asked = (options.checkpoint, cache, options.length, steps)
                peak = process.submit(peak_memory, *asked).result()
            rows.append({"setting": f"{cache}, {steps} steps", "MiB": peak})
    return rows


def peak_memory(directory: Path, cache: Caching, length: int, steps: int) -> float:
    """MiB that a decode adds to a process at its highest; run in a process of its own."""
    torch.set_num_threads(1)
    subject, word = loaded(directory)
    shape = {"rule": "entropy", "max_new_tokens": length, "eps": 0.0, "cache": cache}
    prompts = [[word] * 32] * 64
    # Loading took more than decoding will: the mark is set back (proc(5), clear_refs).
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    add(subject, prompts, DecodingParams(steps=steps, **shape), Cost())
    return resident("VmHWM") - before


def resident(name: str) -> float:
    """MiB that this process holds (VmRSS) or held at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith(name))
    return int(found.split()[1]) / 1024


def run(
    subject: Subject,
    prompts: Sequence[list[int]],
    chosen: Mapping[str, DecodingParams],
    batch: int,
) -> dict[str, Cost]:
    """Decode under each setting in turn, batch by batch, so that all meet the same machine."""
    costs = {name: Cost() for name in chosen}
    starts = range(0, len(prompts), batch)
    add(subject, prompts[:batch], next(iter(chosen.values())), Cost())  # not measured: warming up
    turns = [(start, name) for start in starts for name in chosen]
    for start, name in track(turns, "decode", len(turns)):
        add(subject, prompts[start : start + batch], chosen[name], costs[name], start)
    return costs


def add(
    subject: Subject,
    prompts: Sequence[list[int]],
    config: DecodingParams,
    cost: Cost,
    first: int = 0,
    top_logprobs: int | None = None,
) -> None:
    """Decode a batch and add what it cost."""
    canvas = [subject.special.mask] * config.max_new_tokens
    requests = [
        Request(
            prompt,
            canvas,
            config,
            subject.end,
            torch.Generator().manual_seed(first + row),
            top_logprobs=top_logprobs,
        )
        for row, prompt in enumerate(prompts)
    ]
    began = time.perf_counter()
    made = decode(subject.model, requests, subject.special)
    cost.seconds += time.perf_counter() - began
    cost.forwards += made.forwards
    cost.positions += made.computed_positions
    cost.completions += made.completions
    cost.canvases.append(made.canvas)


def compare(
    costs: Mapping[str, Cost], chosen: Mapping[str, DecodingParams]
) -> list[dict[str, Any]]:
    """A row for each setting, with ratios to the first, the plain one.

    `faster by cache` and `disagreement`, the share of the canvas that differs, compare a cached
    setting with the same one uncached, which has to be among them.
    """
    plain, rows = next(iter(costs.values())), []
    for name, cost in costs.items():
        uncached = chosen[name].model_copy(update={"cache": "none"})
        twin = costs[next(other for other, config in chosen.items() if config == uncached)]
        differing = torch.cat(cost.canvases) != torch.cat(twin.canvases)
        rows.append(
            {
                "setting": name,
                "forwards": cost.forwards,
                "positions": cost.positions,
                "seconds": cost.seconds,
                "fewer positions": plain.positions / cost.positions,
                "faster": plain.seconds / cost.seconds,
                "faster by cache": twin.seconds / cost.seconds,
                "disagreement": float(differing.double().mean()),
            }
        )
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table."""
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for row in rows:
        cells = [f"{row[n]:.3g}" if isinstance(row[n], float) else str(row[n]) for n in names]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
