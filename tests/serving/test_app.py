"""The endpoints, asked by the official client over a real socket."""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2 as httpx
import pytest
import torch

from diffucoder.data.tokenizer import special_ids
from diffucoder.decoding import Request, decode

openai = pytest.importorskip("openai", reason="the official client is not installed")
HELLO = [{"role": "user", "content": "hello"}]


def client(served: Any, token: str = "none") -> Any:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key=token, max_retries=0)


def test_a_chat_is_answered_as_the_sampler_would(served: Any) -> None:
    answer = client(served).chat.completions.create(
        model="tiny", messages=HELLO, temperature=0, max_tokens=12
    )
    special, tokenizer = special_ids(served.tokenizer), served.tokenizer
    text = tokenizer.apply_chat_template(HELLO, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    request = Request(prompt, [special.mask] * 12, served.decoding, special.turn_end)
    (row,) = decode(served.model, [request], special.mask, special.pad).rows
    expected = tokenizer.decode(row.tokens, skip_special_tokens=True)
    choice = answer.choices[0]
    assert choice.message.content == expected != ""
    assert choice.message.role == "assistant"
    assert choice.finish_reason == {"end": "stop", "length": "length"}[row.reason]
    assert answer.usage.prompt_tokens == len(prompt)
    assert 0 < answer.usage.completion_tokens <= 12
    assert [model.id for model in client(served).models.list()] == ["tiny"]


def test_a_stream_adds_up_to_the_answer(served: Any) -> None:
    asked: dict[str, Any] = {"model": "tiny", "temperature": 1.0, "seed": 5, "max_tokens": 20}
    whole = client(served).chat.completions.create(messages=HELLO, n=2, **asked)
    pieces = list(
        client(served).chat.completions.create(
            messages=HELLO, n=2, stream=True, stream_options={"include_usage": True}, **asked
        )
    )
    texts = ["", ""]
    for piece in pieces:
        for choice in piece.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [choice.message.content for choice in whole.choices]
    assert texts[0] != texts[1]
    assert pieces[-1].usage == whole.usage
    assert sum(len(piece.choices) for piece in pieces) > 2


def test_equal_seeds_give_equal_texts_whoever_else_asks(served: Any) -> None:
    def ask(seed: int) -> str:
        answer = client(served).completions.create(
            model="tiny", prompt="def add", temperature=1.0, seed=seed, max_tokens=16
        )
        return answer.choices[0].text

    alone = [ask(seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(ask, range(6)))
    assert together == alone
    assert len(set(alone)) > 1


def test_several_prompts_and_choices_keep_their_order(served: Any) -> None:
    asked: dict[str, Any] = {"model": "tiny", "temperature": 0, "max_tokens": 8}
    prompts = ["def", "return a"]
    both = client(served).completions.create(prompt=prompts, **asked)
    each = [client(served).completions.create(prompt=p, **asked).choices[0] for p in prompts]
    assert [choice.index for choice in both.choices] == [0, 1]
    assert [choice.text for choice in both.choices] == [choice.text for choice in each]


def test_a_suffix_makes_a_hole_to_fill(served: Any) -> None:
    answer = client(served).completions.create(
        model="tiny", prompt="def add(a, b):\n", suffix="\nreturn", temperature=0, max_tokens=6
    )
    assert answer.usage.completion_tokens == 6
    assert answer.choices[0].finish_reason == "length"
    other = client(served).completions.create(
        model="tiny", prompt="def add(a, b):\n", temperature=0, max_tokens=6
    )
    assert answer.choices[0].text != other.choices[0].text


def test_stop_strings_end_a_text_before_them(served: Any) -> None:
    asked: dict[str, Any] = {"model": "tiny", "prompt": "def", "temperature": 0, "max_tokens": 16}
    text = client(served).completions.create(**asked).choices[0].text
    stop = text[len(text) // 2 :][:2]
    cut = client(served).completions.create(stop=stop, **asked).choices[0]
    assert cut.text == text[: text.index(stop)]
    assert cut.finish_reason == "stop"
    pieces = client(served).completions.create(stop=[stop], stream=True, **asked)
    assert "".join(piece.choices[0].text for piece in pieces) == cut.text


def test_options_of_the_sampler_come_in_a_field_of_their_own(served: Any) -> None:
    forwards = []
    handle = served.model.base_model.register_forward_hook(lambda *_: forwards.append(1))
    ask = client(served).completions.create
    for decoding in ({}, {"steps": 4}):
        forwards.append(0)
        ask(model="tiny", prompt="def", max_tokens=16, extra_body={"decoding": decoding})
    handle.remove()
    slow = forwards[1 : forwards.index(0, 1)]
    assert len(forwards) - len(slow) - 2 <= 4 < len(slow)


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "no messages": ("chat/completions", {"messages": []}, "messages"),
    "not JSON's type": ("chat/completions", {"messages": "hello"}, "messages"),
    "negative temperature": ("completions", {"prompt": "a", "temperature": -1}, "temperature"),
    "no tokens": ("completions", {"prompt": "a", "max_tokens": 0}, "max_tokens"),
    "too many tokens": ("completions", {"prompt": "a", "max_tokens": 25}, "max_tokens is 25"),
    "an empty prompt": ("completions", {"prompt": ""}, "prompt 0 is empty"),
    "a long prompt": ("completions", {"prompt": "a b " * 200}, "model's context"),
    "an unknown rule": ("completions", {"prompt": "a", "decoding": {"rule": "x"}}, "rule"),
    "an unknown option": ("completions", {"prompt": "a", "decoding": {"speed": 1}}, "speed"),
    "more steps than tokens": ("completions", {"prompt": "a", "decoding": {"steps": 99}}, "steps"),
    "a token of the model's": ("completions", {"prompt": "a<|mask|>"}, "special tokens"),
    "what is not offered": ("completions", {"prompt": "a", "logprobs": 5}, "logprobs"),
    "an image": (
        "chat/completions",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_bodies_get_one_clear_error(served: Any, name: str) -> None:
    path, body, said = BAD[name]
    answer = httpx.post(f"{served.url}/v1/{path}", json=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_options_that_ask_for_nothing_are_let_pass(served: Any) -> None:
    body = {"prompt": "a", "logprobs": None, "frequency_penalty": 0, "echo": False, "user": "me"}
    assert httpx.post(f"{served.url}/v1/completions", json=body).status_code == 200


def test_long_bodies_are_refused_unread(served: Any) -> None:
    def chunks() -> Any:
        yield b'{"prompt": "'
        while True:
            yield b"a" * 10_000

    url = f"{served.url}/v1/completions"
    assert httpx.post(url, content=b"a" * 30_000).status_code == 413
    # The connection may be closed while the body is being sent.
    with contextlib.suppress(httpx.WriteError):
        assert httpx.post(url, content=chunks()).status_code == 413


def test_a_token_is_asked_for_where_one_is_set(start: Callable[..., Any]) -> None:
    with start(token="sésame") as served:
        url, body = f"{served.url}/v1/completions", {"prompt": "a"}
        assert httpx.post(url, json=body).status_code == 401
        assert httpx.get(f"{served.url}/health").status_code == 401
        with pytest.raises(openai.AuthenticationError):
            client(served, "other").completions.create(model="tiny", prompt="a")
        headers = {"Authorization": "Bearer sésame".encode()}
        assert httpx.post(url, json=body, headers=headers).status_code == 200


def test_requests_that_wait_join_the_batch(start: Callable[..., Any]) -> None:
    # A row takes 16 steps of 50 ms; one after the other four take four times that.
    with start(delay_s=0.05) as served, ThreadPoolExecutor(4) as pool:
        began = time.monotonic()
        asked = [
            pool.submit(client(served).completions.create, model="tiny", prompt="a", max_tokens=16)
            for _ in range(4)
        ]
        assert all(answer.result().choices[0].text for answer in asked)
        assert time.monotonic() - began < 3 * 16 * 0.05


def test_a_full_queue_says_so_and_late_answers_are_given_up(start: Callable[..., Any]) -> None:
    with start(rows=1, queue=1, seconds=0.6, delay_s=0.2) as served, ThreadPoolExecutor(4) as pool:
        url, body = f"{served.url}/v1/completions", {"prompt": "a", "max_tokens": 16}
        answers = list(pool.map(lambda _: httpx.post(url, json=body), range(4)))
        assert sorted(answer.status_code for answer in answers) == [429, 429, 504, 504]
        assert {answer.headers.get("retry-after") for answer in answers} == {"1", None}
        assert served.batcher.load == (0, 0)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_place(start: Callable[..., Any], stream: bool) -> None:
    with start(rows=1, delay_s=0.1) as served:
        body = {"prompt": "a", "max_tokens": 24, "stream": stream}
        with pytest.raises(httpx.ReadTimeout), httpx.Client(timeout=0.3) as leaver:
            if stream:
                with leaver.stream("POST", f"{served.url}/v1/completions", json=body) as answer:
                    for _ in answer.iter_lines():
                        break
                    raise httpx.ReadTimeout("left")
            else:
                leaver.post(f"{served.url}/v1/completions", json=body)
        # All steps of a row take 2.4 s.
        deadline = time.monotonic() + 1.5
        while served.batcher.load != (0, 0) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert served.batcher.load == (0, 0)


def test_a_step_that_fails_costs_its_rows_alone(start: Callable[..., Any]) -> None:
    with start() as served:

        def fail(*_: Any) -> None:
            raise torch.OutOfMemoryError("no memory left")

        hook = served.model.base_model.register_forward_pre_hook(fail)
        body = {"prompt": "a"}
        answer = httpx.post(f"{served.url}/v1/completions", json=body)
        assert answer.status_code == 500
        assert "no memory left" in answer.json()["error"]["message"]
        streamed = httpx.post(f"{served.url}/v1/completions", json=body | {"stream": True})
        assert (
            "no memory left" in json.loads(streamed.text.removeprefix("data: "))["error"]["message"]
        )
        hook.remove()
        assert httpx.post(f"{served.url}/v1/completions", json=body).status_code == 200


def test_closing_tells_those_who_wait(start: Callable[..., Any]) -> None:
    with start(rows=1, delay_s=0.2) as served, ThreadPoolExecutor(1) as pool:
        body = {"prompt": "a", "max_tokens": 24}
        asked = pool.submit(httpx.post, f"{served.url}/v1/completions", json=body, timeout=30)
        while served.batcher.load != (1, 0):
            time.sleep(0.01)
        threading.Thread(target=served.batcher.close).start()
        assert asked.result().status_code == 503
