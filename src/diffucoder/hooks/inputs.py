"""Before anything runs: is all there that the run starts from?"""

from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from diffucoder.datasets.identity import local_path
from diffucoder.errors import MissingInput
from diffucoder.hooks.graph import command, data_inputs, makers, stage_of_node


class InputsHook:
    """Refuses a run whose inputs are missing, and says how to make them."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Raise MissingInput that names every missing input and the command that makes it."""
        missing = [name for name in data_inputs(pipeline.inputs()) if not catalog.exists(name)]
        if not missing:
            return
        made_by = makers()
        lines = []
        for name in missing:
            place = local_path(catalog.get(name))
            where = f" ({place})" if place else ""
            if name in made_by:
                remedy = command(stage_of_node(made_by[name].name), run_params["env"])
                lines.append(f"{name}{where}: make it with `{remedy}`")
            else:
                lines.append(f"{name}{where}: no pipeline makes it; put it there")
        raise MissingInput(
            "the run needs what is missing or was only half written:\n"
            + "\n".join(f"  {line}" for line in lines)
        )
