"""Parameters as the command line reads them."""

from pathlib import Path
from typing import Any

from diffucoder import settings

CONF = Path(__file__).parents[2] / "conf"


def read_parameters(
    env: str, stage: str, given: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """Read a stage's parameters.

    Args:
        env: Environment, a folder of `conf`.
        stage: A top-level key of the parameters.
        given: What `--params` gives.
        changes: Values that replace those of the stage.
    """
    loader = settings.CONFIG_LOADER_CLASS(
        str(CONF), env=env, runtime_params=given, **settings.CONFIG_LOADER_ARGS
    )
    return loader["parameters"][stage] | changes
