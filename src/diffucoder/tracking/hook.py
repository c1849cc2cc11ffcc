"""The MLflow run of one `kedro run`: kedro-mlflow's hook, for typed parameters."""

import json
import subprocess
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro_mlflow.framework.hooks import MlflowHook
from pydantic import BaseModel

from diffucoder.datasets.identity import digest, local_path
from diffucoder.tracking.flatten import flatten
from diffucoder.tracking.runs import log_parameters

# Rows from the start and from the end of the rollouts that the UI shows: enough to read.
SAMPLE_ROWS = 8
# MLflow keeps this many characters of a data set's digest.
DIGEST_CHARACTERS = 36


class TrackingHook(MlflowHook):
    """Logs more to the plugin's run.

    These are flattened typed parameters, the git commit, the data sets that nodes read, and at
    the end headline numbers, the report and sample rollouts.
    """

    def __init__(self) -> None:
        super().__init__()
        self._root = Path()
        self._inputs_logged: set[str] = set()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember where the project lies."""
        self._root = context.project_path
        super().after_context_created(context)

    # Last of all hooks, so that a run that is refused leaves none behind in MLflow.
    @hook_impl(trylast=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Open the run and tag it with the environment and the git commit."""
        import mlflow

        self._inputs_logged.clear()
        super().before_pipeline_run(run_params, pipeline, catalog)
        if self._is_mlflow_enabled:
            mlflow.set_tags({"env": run_params["env"] or "local"} | git_state(self._root))

    @hook_impl
    def before_node_run(
        self, node: Node, catalog: CatalogProtocol, inputs: dict[str, Any], is_async: bool
    ) -> None:
        """Log the parameters and data sets that the node reads."""
        import mlflow

        if not self._is_mlflow_enabled:
            return
        if mlflow.active_run() is None:
            # The active run is a thread's own; the node may run in another than the pipeline.
            mlflow.start_run(run_id=self.run_id, nested=True)
        plain = {
            name.removeprefix("params:"): _plain(value)
            for name, value in inputs.items()
            if name.startswith("params:")
        }
        log_parameters(mlflow.MlflowClient(), self.run_id, plain)
        self._log_inputs(node, catalog)

    # After the hooks that complete summary.json.
    @hook_impl(trylast=True)
    def after_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Log the results and close the run."""
        if self._is_mlflow_enabled:
            log_results(pipeline.all_outputs(), catalog)
        super().after_pipeline_run(run_params, pipeline, catalog)

    def _log_inputs(self, node: Node, catalog: CatalogProtocol) -> None:
        import mlflow
        from mlflow.data import get_registered_sources
        from mlflow.data.meta_dataset import MetaDataset

        # MLflow makes this class at run time, so there is nothing to import.
        local = {source.__name__: source for source in get_registered_sources()}[
            "LocalArtifactDatasetSource"
        ]
        for name in node.inputs:
            path = local_path(catalog.get(name))
            if name in self._inputs_logged or path is None or not path.exists():
                continue
            self._inputs_logged.add(name)
            content = digest(path)[:DIGEST_CHARACTERS]
            mlflow.log_input(MetaDataset(local(str(path)), name, content), context=node.name)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def log_results(outputs: set[str], catalog: CatalogProtocol) -> None:
    """Log `summary`, `report` and `rollouts` to the active run, where a pipeline made them.

    Args:
        outputs: Names of the data sets that the pipeline made.
        catalog: The catalog of the run.
    """
    import mlflow
    import pandas as pd

    if "summary" in outputs:
        summary = local_path(catalog.get("summary"))
        mlflow.log_artifact(str(summary))
        numbers = flatten(json.loads(summary.read_text()))
        mlflow.log_metrics(
            {name: value for name, value in numbers.items() if isinstance(value, int | float)}
        )
    if "report" in outputs:
        mlflow.log_artifact(str(local_path(catalog.get("report"))))
    if "rollouts" in outputs:
        rollouts = catalog.load("rollouts")
        sample = pd.concat([rollouts.head(SAMPLE_ROWS), rollouts.tail(SAMPLE_ROWS)])
        mlflow.log_table(sample.astype(str), "samples/rollouts.json")


def git_state(root: Path) -> dict[str, str]:
    """Commit of the working tree at `root` and whether it has changes; empty without git."""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"git_commit": commit, "git_changed": str(bool(changed)).lower()}


def _git(root: Path, *command: str) -> str:
    return subprocess.run(
        ["git", *command], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()
