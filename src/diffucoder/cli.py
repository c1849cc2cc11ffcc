"""`kedro run`, `kedro export`, and the commands that use a checkpoint: `chat`, `infill`, `serve`.

An error that the user can mend is one message without a traceback.
"""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, get_args

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError

from diffucoder.decoding.options import Caching
from diffucoder.decoding.rules import RULES
from diffucoder.errors import DiffucoderError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
DEFAULT_CHECKPOINT = "data/06_models/grpo"


def _plain_errors(callback: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(callback)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return callback(*args, **kwargs)
        except DiffucoderError as error:
            raise click.ClickException(f"{type(error).__name__}: {error}") from error
        except DatasetError as error:
            # Kedro wraps what a dataset raises; the cause says what to do.
            if isinstance(error.__cause__, DiffucoderError):
                raise click.ClickException(str(error)) from error
            raise

    return guarded


class _RuleChoice(click.Choice):
    """A rule's name, or the import path of a rule of the user's own."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return value if "." in value else super().convert(value, param, ctx)


run = click.Command(
    name="run",
    callback=_plain_errors(kedro_run.callback),
    params=kedro_run.params,
    help=kedro_run.help,
    short_help=kedro_run.short_help,
)


@click.command()
@click.argument("source")
@click.argument("target", type=click.Path(path_type=Path))
@_plain_errors
def export(source: str, target: Path) -> None:
    """Write the checkpoint SOURCE to the directory TARGET in the layout of Dream and DiffuCoder.

    SOURCE is a directory or hub name; TARGET must not exist yet.
    """
    from diffucoder.io.atomic import atomic_directory
    from diffucoder.model.export import export_dream

    if target.exists():
        raise click.UsageError(f"{target} exists: give a path that does not, or remove it")
    with atomic_directory(target) as partial:
        export_dream(source, partial)
    click.echo(f"{target}: written in Dream's layout")


def _decoding_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add options for the checkpoint and how to decode; `None` leaves a default as it is."""
    for option in reversed(
        [
            click.option("--checkpoint", default=DEFAULT_CHECKPOINT, show_default=True,
                         help="Directory or hub name, in this project's layout or Dream's."),
            click.option("--device", help="Device to compute on; a GPU if there is one."),
            click.option("--rule", type=_RuleChoice(list(RULES)),
                         help="Which positions are revealed first; also the import path of a "
                         "rule of your own."),
            click.option("--tokens-per-step", type=click.IntRange(1), default=1, show_default=True),
            click.option("--block-length", type=click.IntRange(1),
                         help="Length of a block, in tokens."),
            click.option("--cache", type=click.Choice(get_args(Caching)),
                         help="Which keys and values are reused while a block is written."),
            click.option("--threshold", type=float,
                         help="Probability from which the rule `threshold` reveals a token."),
            click.option("--temperature", type=float),
            click.option("--top-p", type=float),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


_seed = click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")


def _decoding(tokens_per_step: int, block_length: int | None, **options: Any) -> Any:
    from diffucoder.serving import decoding_params

    chosen = {name: value for name, value in options.items() if value is not None}
    return decoding_params(tokens_per_step, block_length, **chosen)


@click.command()
@_decoding_options
@_seed
@click.option("--max-tokens", type=click.IntRange(1), default=256, show_default=True)
@click.option(
    "--delay", type=click.FloatRange(0), default=0.0, help="Least time to show a step, in seconds."
)
@_plain_errors
def chat(
    checkpoint: str, device: str | None, max_tokens: int, delay: float, seed: int, **options: Any
) -> None:
    """Chat with a checkpoint and watch its answers denoise.

    On a terminal every line is a turn of one conversation; an empty line, or the end of the
    input, ends it. Otherwise all of the input is one question, and the answer is plain text.
    """
    from rich.console import Console

    from diffucoder.serving import load_chat_model
    from diffucoder.serving.terminal import converse

    config = _decoding(**options)
    chat_model = load_chat_model(checkpoint, device)
    converse(chat_model, config, max_tokens, seed, Console(soft_wrap=True), delay)


@click.command()
@click.argument("file", type=click.File("r", encoding="utf-8"))
@_decoding_options
@_seed
@click.option(
    "--lengths",
    default="4,8,12,16,24,32",
    show_default=True,
    help="Lengths to try for each hole, in tokens.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the text; the terminal if not given.",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for a page that shows how the holes were filled.",
)
@_plain_errors
def infill(
    file: Any,
    checkpoint: str,
    device: str | None,
    lengths: str,
    output: Path | None,
    page: Path | None,
    seed: int,
    **options: Any,
) -> None:
    """Fill each <|mask|> in FILE (- for the input) with the most likely text of these lengths."""
    from diffucoder.report import viewer
    from diffucoder.serving import load_chat_model

    config = _decoding(**options)
    chat_model = load_chat_model(checkpoint, device)
    text, filling = chat_model.infill(file.read(), _numbers(lengths), config, seed)
    if page:
        shown = viewer.watch(filling.completion, chat_model.text_of)
        page.write_text(viewer.page(f"{file.name}, filled", shown), encoding="utf-8")
    if output:
        output.write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=False)
    chosen = ", ".join(map(str, filling.lengths))
    click.echo(f"tokens of the holes: {chosen}; mean log-probability {filling.score:.2f}", err=True)


@click.command()
@_decoding_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File with the token that clients must send; DIFFUCODER_TOKEN also holds it.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Length of a completion, in tokens.",
)
@click.option(
    "--max-batch-size",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Completions that are decoded together.",
)
@click.option(
    "--max-queue",
    type=click.IntRange(0),
    default=64,
    show_default=True,
    help="Completions that may wait.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=120.0,
    show_default=True,
    help="Time that a request may take, waiting included, in seconds.",
)
@click.option("--body-bytes", type=click.IntRange(1), default=2**20, show_default=True)
@_plain_errors
def serve(
    checkpoint: str,
    device: str | None,
    host: str,
    port: int,
    token_file: Path | None,
    max_tokens: int,
    max_batch_size: int,
    max_queue: int,
    seconds: float,
    body_bytes: int,
    **options: Any,
) -> None:
    """Serve OpenAI's API at /v1: completions and chat/completions.

    The decoding options are the defaults of requests.
    """
    import uvicorn

    from diffucoder.serving import load_chat_model
    from diffucoder.serving.api import Limits, application

    _decoding(**options)
    token = token_file.read_text().strip() if token_file else os.environ.get("DIFFUCODER_TOKEN")
    if token_file and not token:
        raise click.UsageError(f"{token_file} is empty: write the token into it")
    if host not in LOOPBACK and not token:
        raise click.UsageError(
            f"{host} can be reached from other machines: give a --token-file, or set "
            "DIFFUCODER_TOKEN"
        )
    limits = Limits(
        body_bytes,
        tokens=max_tokens,
        max_batch_size=max_batch_size,
        max_queue=max_queue,
        seconds=seconds,
    )
    chosen = {name: value for name, value in options.items() if value is not None}
    app = application(load_chat_model(checkpoint, device), limits, chosen, token)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        # Connections beyond those that can be decoded or wait are refused at once.
        limit_concurrency=max_batch_size + max_queue + 64,
        timeout_graceful_shutdown=5,
        log_level="warning",
    )
    listening = config.bind_socket()
    click.echo(f"http://{host}:{listening.getsockname()[1]}/v1 answers for {checkpoint}")
    uvicorn.Server(config).run(sockets=[listening])


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r}: give whole numbers with commas, such as 4,8"
        ) from error


@click.group(name="diffucoder", commands=[run, export, chat, infill, serve])
def cli() -> None:
    """Commands of the project, added to Kedro's own."""
