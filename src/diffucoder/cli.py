"""`kedro run` and `kedro export`.

An error that the user can mend is one message, no traceback.
"""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError

from diffucoder.errors import DiffucoderError


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


@click.command()
@click.argument("source")
@click.argument("target", type=click.Path(path_type=Path))
@_plain_errors
def export(source: str, target: Path) -> None:
    """Write the checkpoint SOURCE to the directory TARGET in the layout of Dream and DiffuCoder.

    SOURCE is a directory or hub name; TARGET must not exist yet.
    """
    from diffucoder.datasets.atomic import atomic_directory
    from diffucoder.model.export import export_dream

    if target.exists():
        raise click.UsageError(f"{target} exists: give a path that does not, or remove it")
    with atomic_directory(target) as partial:
        export_dream(source, partial)
    click.echo(f"{target}: written in Dream's layout")


@click.group(name="diffucoder", commands=[run, export])
def cli() -> None:
    """Commands of the project, added to Kedro's own."""
