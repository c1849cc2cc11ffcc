"""`kedro serve`."""

import socket
from pathlib import Path
from typing import get_args

import click

from diffucoder.config.decoding import Rule

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command()
@click.argument("checkpoint")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--token", envvar="DIFFUCODER_TOKEN", help="Bearer token to ask for [env: DIFFUCODER_TOKEN]."
)
@click.option("--rule", default="entropy", show_default=True, type=click.Choice(get_args(Rule)))
@click.option(
    "--max-tokens", default=512, show_default=True, type=click.IntRange(1), help="Of an answer."
)
@click.option(
    "--tokens-per-step", default=1, show_default=True, type=click.IntRange(1), help="Pace."
)
@click.option("--temperature", default=0.2, show_default=True, type=click.FloatRange(0, 2))
@click.option("--rows", default=16, show_default=True, type=click.IntRange(1), help="A batch.")
@click.option(
    "--queue", default=64, show_default=True, type=click.IntRange(0), help="Rows that may wait."
)
@click.option(
    "--body-kb", default=1024, show_default=True, type=click.IntRange(1), help="A request's body."
)
@click.option(
    "--seconds", default=300, show_default=True, type=click.IntRange(1), help="For an answer."
)
def serve(
    checkpoint: str,
    host: str,
    port: int,
    token: str | None,
    rule: Rule,
    max_tokens: int,
    tokens_per_step: int,
    temperature: float,
    rows: int,
    queue: int,
    body_kb: int,
    seconds: int,
) -> None:
    """Serve CHECKPOINT, a directory or hub name, to clients of OpenAI's API.

    Requests that come while others are decoded join their batch. Ctrl-C stops the server.
    """
    import torch
    import uvicorn

    from diffucoder.config.decoding import DecodingParams
    from diffucoder.model.load import load
    from diffucoder.serving.answers import Reader
    from diffucoder.serving.app import make_app
    from diffucoder.serving.batcher import Batcher

    if host not in LOOPBACK and not token:
        click.echo(f"Everybody who reaches {host} may ask: set --token to change that.", err=True)
    # Before the model is loaded, which may take minutes.
    listener = _listen(host, port)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model, tokenizer = load(checkpoint, dtype=dtype)
    decoding = DecodingParams(
        rule=rule,
        max_new_tokens=max_tokens,
        steps=-(-max_tokens // tokens_per_step),
        temperature=temperature,
        top_p=0.95,
        drop_after_end=True,
    )
    reader = Reader(tokenizer, decoding, max_tokens)
    special = reader.special
    batcher = Batcher(model.to(device), special.mask, special.pad, rows, queue, seconds)
    name = Path(checkpoint).name
    app = make_app(batcher, reader, name, token, body_kb * 1024)
    click.echo(f"{name} on {device}: http://{host}:{listener.getsockname()[1]}/v1")
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise click.ClickException(
            f"cannot listen on {host}, port {port} ({error.strerror}): choose another --port"
        ) from error
    return listener
