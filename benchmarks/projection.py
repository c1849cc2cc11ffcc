"""A training step with a vocabulary of 151,936: logits in chunks against the plain form.

    .venv/bin/python benchmarks/projection.py

A step is the forward and backward pass of a 2-layer model of Qwen2.5-0.5B's widths over 4 rows of
512 tokens, in float32. The plain form makes the logits of every position and takes their
log-softmax. Each form and repetition is a process of its own, forms in turn; memory is the
process's peak above what it holds once the weights are there, gradients of the weights included,
and freed tensors go back to the system at once instead of being hoarded by malloc.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Qwen2Config

VOCABULARY, WIDTH, ROWS, LENGTH = 151_936, 896, 4, 512
GOAL_MEMORY, GOAL_TIME = 1 / 3, 1.0
MIB = 2**20


def main() -> None:
    """Print the table; the exit code says whether the goals are met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, nargs="+", default=[1.0, 0.5])
    parser.add_argument("--logits-mib", type=float, default=128.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="timed steps of a process")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--form", help="measure this one here and print it")
    options = parser.parse_args()
    if options.form:
        print(json.dumps(measure(options.form, options)))
        return
    print(
        "| positions scored | form | s/step | MiB above the weights | time ratio | memory ratio |"
    )
    print("|---|---|---|---|---|---|")
    met = [report(share, options) for share in options.share]
    sys.exit(not all(met))


def report(share: float, options: argparse.Namespace) -> bool:
    """Measure both forms with a share of the positions scored; whether the goals are met."""
    found: dict[str, list[dict[str, float]]] = {"plain": [], "chunked": []}
    for _ in range(options.repeats):
        for form, results in found.items():
            results.append(in_fresh_process(form, share, options))
    middle = {
        form: {key: median(result[key] for result in results) for key in results[0]}
        for form, results in found.items()
    }
    ratio = {key: middle["chunked"][key] / middle["plain"][key] for key in middle["plain"]}
    for form, values in middle.items():
        ratios = f"{ratio['seconds']:.2f} | {ratio['mib']:.2f}" if form == "chunked" else "1 | 1"
        print(
            f"| {share:.0%} | {form} | {values['seconds']:.2f} | {values['mib']:,.0f} | {ratios} |",
            flush=True,
        )
    if abs(ratio["loss"] - 1) > 1e-5:
        raise SystemExit(f"the forms disagree about the loss: {middle}")
    return ratio["mib"] <= GOAL_MEMORY and ratio["seconds"] <= GOAL_TIME


def in_fresh_process(form: str, share: float, options: argparse.Namespace) -> dict[str, float]:
    """`measure` in a process that has held nothing else."""
    arguments = {
        "form": form,
        "share": share,
        "logits-mib": options.logits_mib,
        "steps": options.steps,
        "threads": options.threads,
    }
    command = [sys.executable, str(Path(__file__))]
    command += [part for key, value in arguments.items() for part in (f"--{key}", str(value))]
    # Waiting threads that spin would time the neighbours; and by itself malloc learns to keep
    # freed tensors of up to 32 MiB, here some 200 MiB of them.
    quiet = {"OMP_WAIT_POLICY": "passive", "MALLOC_MMAP_THRESHOLD_": str(MIB)}
    environment = os.environ | quiet
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def measure(form: str, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of the fastest step, peak memory above the weights, and the loss."""
    import torch

    torch.set_num_threads(options.threads)
    step = stepper(form, options.share[0], options.logits_mib)
    held = resident_mib()
    seconds, loss = [], 0.0
    for _ in range(options.steps):
        began = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": min(seconds), "mib": peak - held, "loss": loss}


def resident_mib() -> float:
    """Memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def wide() -> "Qwen2Config":
    """A bidirectional model of Qwen2.5-0.5B's widths with 2 layers."""
    from transformers import Qwen2Config

    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=4864,
        num_hidden_layers=2,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    config.is_causal = False
    return config


def stepper(form: str, share: float, logits_mib: float) -> Callable[[], float]:
    """The step of a form, its model and its batch ready."""
    import torch
    from transformers import AutoModelForCausalLM

    from diffucoder.diffusion.objectives import projected_loss
    from diffucoder.model.projection import aligned_states
    from diffucoder.model.shift import aligned_logits

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(wide())
    tokens_BL = torch.randint(0, VOCABULARY, (ROWS, LENGTH))
    scored_BL = torch.rand(ROWS, LENGTH) < share
    scored_BL[:, 0] = False
    weights_BL = torch.rand(ROWS, LENGTH) + 0.5
    denominator = float(scored_BL.sum())

    def plain() -> torch.Tensor:
        scores_BLV = aligned_logits(model(tokens_BL).logits).log_softmax(-1)
        chosen_BL = scores_BLV.gather(2, tokens_BL[..., None])[..., 0]
        return -(weights_BL * chosen_BL * scored_BL).sum() / denominator

    def chunked() -> torch.Tensor:
        states_BLD = aligned_states(model, tokens_BL)
        return projected_loss(
            model, states_BLD, tokens_BL, scored_BL, weights_BL, denominator, logits_mib
        ).loss

    compute = {"plain": plain, "chunked": chunked}[form]

    def step() -> float:
        model.zero_grad()
        loss = compute()
        loss.backward()
        return loss.item()

    return step


if __name__ == "__main__":
    main()
