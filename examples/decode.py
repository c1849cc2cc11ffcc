"""Ask a checkpoint from Python, watch its answer denoise, and keep a trace of it.

    .venv/bin/python examples/decode.py "Write f(xs) that returns the sum of the numbers in xs."

`examples/read_trace.py` reads the trace.
"""

import argparse
from pathlib import Path

import torch

from diffucoder.config.decoding import DecodingParams
from diffucoder.data.tokenizer import encode_chat, special_ids, token_texts
from diffucoder.decoding import Completion, Request, stream, trace
from diffucoder.model import load


def answer(
    checkpoint: str | Path, prompt: str, tokens: int = 44, rule: str = "entropy", seed: int = 0
) -> Completion:
    """Print the canvas after each step, with a dot for each mask, and return the completion."""
    model, tokenizer = load(checkpoint)
    special, text_of = special_ids(tokenizer), token_texts(tokenizer)
    request = Request(
        prompt=encode_chat(tokenizer, prompt),
        # All masks; tokens in it would be given: a forced beginning, or a text with holes.
        canvas=[special.mask] * tokens,
        # One token per step; `entropy` reveals the most certain position first.
        config=DecodingParams(rule=rule, max_new_tokens=tokens, steps=tokens, eps=0),
        end_token_id=special.turn_end,
        generator=torch.Generator().manual_seed(seed),
        top_logprobs=4,  # most probable tokens to record beside the chosen one
    )
    canvas = ["·"] * tokens
    for step in stream(model, [request], special):
        for position, token in zip(step.positions, step.tokens, strict=True):
            canvas[position] = text_of(token)
        print(f"{step.step + 1:>3} {''.join(canvas)!r}")
        if step.completion:
            return step.completion
    raise AssertionError("the last step of a row has its completion")


def main() -> None:
    """Read the arguments, answer, save the trace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompt")
    parser.add_argument("--checkpoint", default="data/06_models/grpo")
    parser.add_argument("--tokens", type=int, default=44)
    parser.add_argument("--rule", default="entropy")
    parser.add_argument("--trace", type=Path, default=Path("trace.parquet"))
    options = parser.parse_args()
    completion = answer(options.checkpoint, options.prompt, options.tokens, options.rule)
    trace.write({options.prompt: completion.trace}, options.trace)


if __name__ == "__main__":
    main()
