"""Commands that ask a checkpoint, as typed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import openai
import pytest
import torch
from click.testing import CliRunner
from transformers import Qwen2Config, Qwen2ForCausalLM

from diffucoder.cli import cli
from diffucoder.data.tokenizer import train


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = train(["def add(x):\n    return x + 1\n" * 20], 290)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=64,
    )  # fmt: skip
    config.is_causal = False
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_chat_answers_piped_input_plainly(checkpoint: str) -> None:
    asked = ["chat", "--checkpoint", checkpoint, "--max-tokens", "8", "--device", "cpu"]
    first = CliRunner().invoke(cli, asked, input="add\n")
    assert first.exit_code == 0, first.output
    assert "\x1b" not in first.stdout
    assert first.stdout.endswith("\n")
    assert CliRunner().invoke(cli, asked, input="add\n").stdout == first.stdout


def test_a_rule_of_ones_own_is_given_by_its_import_path(checkpoint: str) -> None:
    asked = ["chat", "--checkpoint", checkpoint, "--max-tokens", "8", "--device", "cpu"]
    asked += ["--temperature", "1"]
    done = CliRunner().invoke(cli, [*asked, "--rule", "custom_rule.coin"], input="add\n")
    assert done.exit_code == 0, done.output
    plain = CliRunner().invoke(cli, asked, input="add\n")
    # Another order of reveals, and so other draws.
    assert done.stdout != plain.stdout


def test_infill_writes_text_and_page(checkpoint: str, tmp_path: Path) -> None:
    source, page = tmp_path / "source.py", tmp_path / "page.html"
    source.write_text("def add(x):\n    return <|mask|>\n")
    asked = ["infill", str(source), "--checkpoint", checkpoint, "--device", "cpu"]
    done = CliRunner().invoke(cli, [*asked, "--lengths", "2,4", "--page", str(page)])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("def add(x):\n    return ")
    assert done.stdout.endswith("\n")
    assert "<|mask|>" not in done.stdout
    assert "tokens of the holes: " in done.stderr
    assert page.read_text().count('class="token"') in (2, 4)
    done = CliRunner().invoke(cli, [*asked, "--lengths", "2", "--output", str(tmp_path / "out.py")])
    assert done.stdout == ""
    assert (tmp_path / "out.py").read_text().startswith("def add(x):\n    return ")


@pytest.mark.slow
def test_serve_answers_until_it_is_interrupted(checkpoint: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    options = ["--port", "0", "--device", "cpu", "--token-file", str(token), "--max-tokens", "9"]
    command = ["serve", "--checkpoint", checkpoint, *options]
    process = subprocess.Popen(
        [sys.executable, "-c", f"from diffucoder.cli import cli; cli({command!r})"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        # A shell that ignores Ctrl-C hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[0]
        assert url.startswith("http://127.0.0.1:")
        with openai.OpenAI(base_url=url, api_key="secret") as client:
            answer = client.completions.create(model="any", prompt="def add", max_tokens=9)
            assert answer.usage is not None
            assert answer.usage.completion_tokens <= 9
        process.send_signal(signal.SIGINT)
        process.wait(20)
    finally:
        process.kill()
        process.communicate()


def test_other_machines_need_a_token(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIFFUCODER_TOKEN", raising=False)
    done = CliRunner().invoke(cli, ["serve", "--checkpoint", checkpoint, "--host", "0.0.0.0"])
    assert done.exit_code == 2
    assert "token" in done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--checkpoint", "no/where/at/all"], "no such directory"),
        (["--temperature", "-1"], "temperature"),
        (["--rule", "guess"], "'guess' is not one of"),
        (["--rule", "custom_rule.mine"], "rule 'custom_rule.mine' cannot be imported"),
    ],
)
def test_mistakes_are_one_message(checkpoint: str, options: list[str], message: str) -> None:
    asked = ["chat", "--checkpoint", checkpoint, "--device", "cpu", *options]
    done = CliRunner().invoke(cli, asked, input="add")
    assert done.exit_code != 0
    assert message in done.output
    assert "Traceback" not in done.output
