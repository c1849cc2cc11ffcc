"""A served model: real, tiny, and asked over a real socket."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import uvicorn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from diffucoder.config.decoding import DecodingParams
from diffucoder.data.tokenizer import train
from diffucoder.serving.answers import Reader
from diffucoder.serving.app import make_app
from diffucoder.serving.batcher import Batcher

CONTEXT, MAX_TOKENS = 96, 24
TEXTS = ["def add(a, b):\n    return a + b\n", "user assistant system hello wörld"] * 4
DECODING = DecodingParams(rule="entropy", max_new_tokens=16, steps=16, drop_after_end=True)


@dataclass
class Served:
    url: str
    batcher: Batcher
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    decoding: DecodingParams


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    return train(TEXTS, 320)


@pytest.fixture(scope="session")
def model(
    make_model: Callable[..., PreTrainedModel], tokenizer: PreTrainedTokenizerBase
) -> PreTrainedModel:
    model = make_model(len(tokenizer), dtype=torch.float32, context=CONTEXT)
    # So that texts have some length: the end tokens of an untrained model come anywhere.
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>", "<|dlm_pad|>"])
    with torch.no_grad():
        model.get_output_embeddings().weight[ends] = 0
    return model


@pytest.fixture(scope="session")
def start(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Callable[..., Any]:
    """`with start(...) as served`: a server of its own, with other limits."""

    @contextmanager
    def serve(
        rows: int = 4,
        queue: int = 8,
        seconds: float = 60,
        token: str | None = None,
        body_bytes: int = 20_000,
        delay_s: float = 0,
    ) -> Iterator[Served]:
        reader = Reader(tokenizer, DECODING, MAX_TOKENS)
        special = reader.special
        batcher = Batcher(model, special.mask, special.pad, rows, queue, seconds)
        app = make_app(batcher, reader, "tiny", token, body_bytes)
        slow = model.base_model.register_forward_pre_hook(lambda *_: time.sleep(delay_s))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield Served(f"http://127.0.0.1:{port}", batcher, model, tokenizer, DECODING)
        finally:
            server.should_exit = True
            thread.join(30)
            slow.remove()

    return serve


@pytest.fixture(scope="session")
def served(start: Callable[..., Any]) -> Iterator[Served]:
    with start() as running:
        yield running
