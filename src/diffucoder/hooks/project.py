"""Where a project keeps its artefacts."""

from pathlib import Path

from kedro.framework.context import KedroContext

REPORTING = "08_reporting"


def data_root(context: KedroContext) -> Path:
    """The folder that all catalog paths start with, absolute."""
    return context.project_path / context.config_loader["globals"]["data"]
