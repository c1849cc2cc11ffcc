"""`kedro run` and `kedro serve`.

An error that the user can mend is one message, no traceback.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError

from diffucoder.errors import DiffucoderError
from diffucoder.serving.command import serve


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


run = click.Command(
    name="run",
    callback=_plain_errors(kedro_run.callback),
    params=kedro_run.params,
    help=kedro_run.help,
    short_help=kedro_run.short_help,
)


serve.callback = _plain_errors(serve.callback)


@click.group(name="diffucoder", commands=[run, serve])
def cli() -> None:
    """Commands of the project, added to Kedro's own."""
