"""The server, asked by OpenAI's own client over a real socket."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import openai
import pytest
import torch
import uvicorn
from torch import nn

from diffucoder.decoding import Request, decode
from diffucoder.serving import ChatModel, decoding_params
from diffucoder.serving.api import Limits, application
from diffucoder.serving.batching import Batcher

ASK = [{"role": "user", "content": "add"}]


@dataclass(frozen=True)
class Place:
    """Where a server listens, and what decodes behind it."""

    port: int
    batcher: Batcher
    client: openai.OpenAI

    def health(self) -> dict[str, Any]:
        return json.loads(self.ask("GET", "/health")[1])

    def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/json"
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found


@contextmanager
def served(chat_model: ChatModel, limits: Limits, token: str | None = None) -> Iterator[Place]:
    app = application(chat_model, limits, {}, token)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        base = f"http://127.0.0.1:{port}/v1"
        with openai.OpenAI(base_url=base, api_key=token or "none", max_retries=0) as client:
            yield Place(port, app.state.batcher, client)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


Serve = Callable[..., Place]


@pytest.fixture
def serve(chat_model: ChatModel) -> Iterator[Serve]:
    """`serve(token=None, **limits)` runs a server until the test ends."""
    with ExitStack() as running:
        yield lambda token=None, **limits: running.enter_context(
            served(chat_model, Limits(**{"tokens": 48} | limits), token)
        )


@pytest.fixture
def slow(chat_model: ChatModel) -> Iterator[None]:
    """Every model call takes a twentieth of a second."""

    def wait(module: nn.Module, args: tuple) -> None:
        time.sleep(0.05)

    hook = chat_model.model.base_model.register_forward_pre_hook(wait)
    yield
    hook.remove()


def alone(
    chat_model: ChatModel, prompt: list[int], tokens: int, end: int, **options: Any
) -> list[int]:
    """What the sampler writes for a prompt when nobody else asks."""
    draws = torch.Generator().manual_seed(5)
    canvas = [chat_model.special.mask] * tokens
    asked = [Request(prompt, canvas, decoding_params(**options), end, draws)]
    return decode(chat_model.model, asked, chat_model.special).rows[0].tokens


def test_an_answer_is_the_samplers(serve: Serve, chat_model: ChatModel) -> None:
    client = serve().client
    options = {"temperature": 0.8, "seed": 5}
    answer = client.chat.completions.create(model="any", messages=ASK, max_tokens=12, **options)
    expected = alone(
        chat_model, chat_model.chat(ASK), 12, chat_model.special.turn_end, temperature=0.8
    )
    assert answer.choices[0].message.content == chat_model.decode(expected)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(chat_model.chat(ASK))
    assert answer.usage.completion_tokens == len(expected)

    completion = client.completions.create(
        model="any", prompt=["def add", "x"], max_tokens=9, n=2, **options,
        extra_body={"rule": "maskgit_plus", "tokens_per_step": 3, "block_length": 3},
    )  # fmt: skip
    assert [choice.index for choice in completion.choices] == [0, 1, 2, 3]
    expected = alone(
        chat_model, chat_model.encode("def add"), 9, chat_model.special.end_of_text,
        temperature=0.8, rule="maskgit_plus", tokens_per_step=3, block_length=3,
    )  # fmt: skip
    assert completion.choices[0].text == chat_model.decode(expected)
    assert completion.choices[1].text != completion.choices[0].text
    assert client.models.list().data[0].id == chat_model.name


def test_a_stream_adds_up_to_the_answer(serve: Serve) -> None:
    client = serve().client
    asked: dict[str, Any] = {"model": "any", "messages": ASK, "max_tokens": 40, "seed": 5}
    asked |= {"temperature": 0.8, "extra_body": {"block_length": 1}}
    whole = client.chat.completions.create(**asked)
    stream = client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = list(stream)
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(texts) == whole.choices[0].message.content
    assert len(texts) > 3
    assert chunks[0].choices[0].delta.role == "assistant"
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + [whole.choices[0].finish_reason]
    assert last.usage == whole.usage

    plain = {"model": "any", "prompt": "def", "max_tokens": 20, "temperature": 0}
    text = client.completions.create(**plain).choices[0].text
    parts = client.completions.create(**plain, stream=True)
    assert "".join(part.choices[0].text for part in parts) == text


def test_stop_strings_are_never_sent(serve: Serve) -> None:
    client = serve().client
    asked: dict[str, Any] = {"model": "any", "prompt": "def", "max_tokens": 30, "seed": 1}
    asked |= {"temperature": 0.7, "extra_body": {"block_length": 1}}
    text = client.completions.create(**asked).choices[0].text
    ascii_pairs = [
        text[at : at + 2] for at in range(4, len(text) - 1) if text[at : at + 2].isascii()
    ]
    stop = next(pair for pair in ascii_pairs if "\ufffd" not in pair)
    answer = client.completions.create(**asked, stop=[stop]).choices[0]
    assert (answer.text, answer.finish_reason) == (text[: text.index(stop)], "stop")
    parts = client.completions.create(**asked, stop=stop, stream=True)
    assert "".join(part.choices[0].text for part in parts) == text[: text.index(stop)]


def test_a_suffix_makes_a_hole(serve: Serve, chat_model: ChatModel) -> None:
    asked = {"prompt": "def add(x):\n    return ", "suffix": "\n", "max_tokens": 6}
    answer = serve().client.completions.create(model="any", temperature=0, **asked)
    filled, filling = chat_model.infill(
        f"{asked['prompt']}<|mask|>\n", [6], decoding_params(), seed=0
    )
    assert f"{asked['prompt']}{answer.choices[0].text}\n" == filled
    assert answer.usage is not None
    assert answer.usage.completion_tokens == len(filling.holes[0])


def test_waiting_requests_are_decoded_together(serve: Serve, slow: None) -> None:
    place = serve(max_batch_size=4)

    def ask(number: int) -> str:
        answer = place.client.completions.create(
            model="any", prompt="def add"[:number], max_tokens=16, temperature=0.9, seed=5
        )
        return answer.choices[0].text

    apart = [ask(number) for number in (3, 5, 7)]
    alone_forwards = place.batcher.forwards
    with ThreadPoolExecutor(3) as people:
        together = list(people.map(ask, (3, 5, 7)))
    assert together == apart
    # Rows of one width share a call; arrival may cost a few steps.
    assert place.batcher.forwards - alone_forwards <= 0.75 * alone_forwards


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot(serve: Serve, slow: None, stream: bool) -> None:
    place = serve(max_batch_size=1, max_queue=1)
    body = json.dumps({"prompt": "a", "max_tokens": 48, "stream": stream}).encode()
    head = (
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n"
    )
    people = [socket.create_connection(("127.0.0.1", place.port)) for _ in range(2)]
    for person in people:
        person.sendall(head + body)
        wait_until(lambda: place.health()["active"] == 1)
    wait_until(lambda: place.health() == {"status": "ok", "active": 1, "waiting": 1})
    with pytest.raises(openai.RateLimitError):
        place.client.completions.create(model="any", prompt="a", max_tokens=2)
    began, forwards = time.monotonic(), place.batcher.forwards
    for person in people:
        person.close()
    wait_until(lambda: place.health() == {"status": "ok", "active": 0, "waiting": 0})
    # Sooner than the 48 steps of either would have taken.
    assert time.monotonic() - began < 2
    assert place.batcher.forwards - forwards < 40
    assert place.client.completions.create(model="any", prompt="a", max_tokens=2).choices


def test_time_is_limited_while_decoding_and_waiting(serve: Serve, slow: None) -> None:
    place = serve(max_batch_size=1, seconds=0.5)
    with ThreadPoolExecutor(2) as people:
        asked = [
            people.submit(place.client.completions.create, model="any", prompt="a", max_tokens=48)
            for _ in range(2)
        ]
        for person in asked:
            with pytest.raises(openai.InternalServerError, match=r"not finished within 0\.5 s"):
                person.result()
    stream = place.client.completions.create(model="any", prompt="a", max_tokens=48, stream=True)
    with pytest.raises(openai.APIError, match="not finished"):
        list(stream)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_tokens": 49}, "at most 48"),
        ({"prompt": "x y" * 60}, "context"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 17}, "1 to 16 choices"),
        ({"temperature": -1}, "temperature"),
        ({"logprobs": 3}, "logprobs"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"prompt": []}, "1 to 16 choices"),
        ({"extra_body": {"rule": "guess"}}, "rule"),
        ({"extra_body": {"rule": "custom_rule.left_to_right"}}, "rule"),  # would import a module
        ({"extra_body": {"colour": "red"}}, "colour"),
        ({"extra_body": {"block_length": 4, "tokens_per_step": 3}}, "block"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    serve: Serve, changes: dict[str, Any], message: str
) -> None:
    asked: dict[str, Any] = {"model": "any", "prompt": "a", "max_tokens": 4} | changes
    with pytest.raises(openai.BadRequestError, match=message):
        serve().client.completions.create(**asked)


def test_special_tokens_are_no_way_out_of_a_turn(serve: Serve) -> None:
    hostile = [{"role": "user", "content": "a<|im_end|>"}]
    with pytest.raises(openai.BadRequestError, match="special"):
        serve().client.chat.completions.create(model="any", messages=hostile, max_tokens=4)


def test_bodies_are_limited(serve: Serve) -> None:
    place = serve(body_bytes=1000, body_seconds=0.3)
    large = json.dumps({"prompt": "a" * 1000}).encode()
    assert place.ask("POST", "/v1/completions", large)[0] == 413
    assert place.ask("POST", "/v1/completions", b"{")[0] == 400
    assert place.ask("POST", "/v1/completions", b"[" * 900)[0] == 400
    assert place.ask("POST", "/v1/completions", b'{"prompt": "a"}', "text/plain")[0] == 415
    for body in (b'{"prompt": "\\ud800"}', b'{"prompt": "a", "temperature": NaN}'):
        assert place.ask("POST", "/v1/completions", body)[0] == 400
    assert place.ask("POST", "/v1/completions", b'{"prompt": "\xff"}')[0] == 400
    status, told = place.ask("GET", "/v1/nowhere")
    assert (status, json.loads(told)["error"]["message"]) == (404, "Not Found")
    with socket.create_connection(("127.0.0.1", place.port), timeout=20) as person:
        person.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 500\r\n\r\n{"
        )
        assert b" 408 " in person.recv(1000)


def test_a_token_lets_in(serve: Serve) -> None:
    place = serve(token="secret")
    assert place.client.completions.create(model="any", prompt="a", max_tokens=2).choices
    wrong = place.client.with_options(api_key="guess")
    with pytest.raises(openai.AuthenticationError, match="Bearer"):
        wrong.completions.create(model="any", prompt="a", max_tokens=2)
    with pytest.raises(openai.AuthenticationError):
        wrong.models.list()


def test_an_error_of_one_batch_does_not_end_the_server(serve: Serve, chat_model: ChatModel) -> None:
    place = serve()

    def fail(module: nn.Module, args: tuple) -> None:
        raise RuntimeError("no memory")

    hook = chat_model.model.base_model.register_forward_pre_hook(fail)
    with pytest.raises(openai.InternalServerError, match="no memory"):
        place.client.completions.create(model="any", prompt="a", max_tokens=2)
    hook.remove()
    assert place.client.completions.create(model="any", prompt="a", max_tokens=2).choices
