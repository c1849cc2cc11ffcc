"""`kedro serve`, as a person starts and stops it."""

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, model: Any, tokenizer: Any) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kedro", "serve", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell that starts tests in the background has them ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_serves_until_it_is_interrupted(checkpoint: Path) -> None:
    server = start(str(checkpoint), "--port", "0", "--max-tokens", "8")
    assert server.stdout is not None
    line = next(line for line in server.stdout if "http://" in line)
    assert line.startswith(f"{checkpoint.name} on ")
    url = line.split()[-1]
    assert url.startswith("http://127.0.0.1:")
    answer = httpx.post(f"{url}/completions", json={"prompt": "def"}, timeout=60)
    assert answer.json()["usage"]["completion_tokens"] <= 8
    server.send_signal(signal.SIGINT)
    rest, _ = server.communicate(timeout=60)
    assert "Traceback" not in rest


def test_refuses_what_it_cannot_serve(tmp_path: Path) -> None:
    server = start(str(tmp_path), "--port", "0")
    said, _ = server.communicate(timeout=120)
    assert server.returncode == 1
    assert "Traceback" not in said
    assert str(tmp_path) in said


def test_refuses_a_port_that_is_taken_before_it_loads(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = start(str(tmp_path / "nothing"), "--port", str(port))
        said, _ = server.communicate(timeout=120)
    assert server.returncode == 1
    assert f"port {port}" in said
