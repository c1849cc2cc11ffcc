"""All parameters are checked as soon as they are read, whichever pipeline runs."""

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl

from diffucoder.config.base import Params
from diffucoder.config.check import validated


class ParametersHook:
    """Checks the merged tree (base, environment, `--params`) against one model."""

    def __init__(self, model: type[Params]) -> None:
        self._model = model

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Raise BadParameters that lists every mistake."""
        environment = context.env or "local"
        validated(
            self._model,
            context.config_loader["parameters"],
            f"the parameters (conf/base, conf/{environment} and --params)",
        )
