"""Records how artefacts were made, and uses the records so that stale ones are not trusted."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from diffucoder.config.base import Params
from diffucoder.config.check import validated
from diffucoder.datasets.identity import digest, local_path, signature
from diffucoder.errors import BadParameters, MissingInput
from diffucoder.hooks import records
from diffucoder.hooks.catalog import FreshCatalog
from diffucoder.hooks.fingerprint import (
    Fingerprint,
    code_digest,
    differences,
    named_files,
    summarised,
)
from diffucoder.hooks.graph import (
    command,
    data_inputs,
    is_parameter,
    makers,
    stage_of_node,
    stages_of,
)
from diffucoder.hooks.project import REPORTING, data_root

_log = logging.getLogger(__name__)

FOLDER = "provenance"


class ProvenanceHook:
    """Writes a record when a node has saved all its outputs, and checks records before a run.

    With `--only-missing-outputs` a node is skipped only if its outputs exist and its record
    equals the present parameters, inputs and code; what depends on a node that runs, runs.
    With `--from-nodes` or `--from-inputs` a run is refused if what it skips was made with
    other parameters or inputs; any other run on such artefacts is warned about.
    """

    def __init__(self, model: type[Params]) -> None:
        self._model = model
        self._root = self._data = self._folder = Path()
        self._env = ""
        self._parameters: dict[str, Any] = {}
        self._catalog: CatalogProtocol | None = None
        self._running: dict[str, Fingerprint] = {}
        self._saved: dict[str, set[str]] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember the present parameters and where records are kept."""
        self._root = context.project_path
        self._data = data_root(context)
        self._folder = self._data / REPORTING / FOLDER
        self._env = context.env or ""
        raw = context.config_loader["parameters"]
        self._parameters = validated(self._model, raw, "the parameters").model_dump(mode="json")

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Check what the run skips, and mark what is stale.

        Raises:
            MissingInput: if a run from the middle would use results of other parameters.
            BadParameters: if the runner cannot tell stale results from fresh ones.
        """
        self._catalog = catalog
        self._running.clear()
        self._saved.clear()
        only_missing = run_params["only_missing_outputs"]
        if not isinstance(catalog, FreshCatalog):
            if only_missing:
                raise BadParameters(
                    f"--only-missing-outputs with runner {run_params['runner']}: it cannot tell "
                    "stale results from fresh ones; use SequentialRunner or ThreadRunner"
                )
            # Its processes write no records, so the old ones would soon be untrue.
            for node in pipeline.nodes:
                records.drop(self._folder, node.name)
            return
        from_middle = bool(run_params["from_nodes"] or run_params["from_inputs"])
        self._check_skipped(pipeline, refuse=from_middle)
        if only_missing:
            catalog.stale = self._stale_outputs(pipeline, catalog)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Take the fingerprint before the node runs: its inputs may change while it does."""
        if self._catalog is not None:
            self._running[node.name] = self._fingerprint(node)
            self._saved[node.name] = set()

    @hook_impl
    def before_dataset_saved(self, node: Node) -> None:
        """From the first save on, the earlier record is untrue."""
        records.drop(self._folder, node.name)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """After the last save, write the record."""
        if node.name not in self._saved:
            return
        self._saved[node.name].add(dataset_name)
        if self._saved[node.name] >= set(node.outputs):
            outputs = {
                name: {"signature": signature(path), "digest": digest(path)}
                for name in node.outputs
                if (path := self._path(name)) is not None
            }
            fingerprint = self._running[node.name]
            record = records.Record(node.name, self._env, records.now(), fingerprint, outputs)
            records.write(self._folder, record)

    def _check_skipped(self, pipeline: Pipeline, refuse: bool) -> None:
        """Compare what the run takes from earlier ones with the present parameters."""
        stale = {
            node: reasons
            for node in self._upstream(pipeline)
            if (reasons := self._reasons(node, with_code=False))
        }
        if not stale:
            return
        described = [self._described(stage, stale) for stage in stages_of(stale)]
        if refuse:
            raise MissingInput(
                "the run would skip what was made otherwise than the present parameters say:\n"
                + "\n".join(f"  {line}" for line in described)
            )
        _log.warning(
            "made otherwise than the present parameters say: %s",
            "; ".join(described),
            extra={"markup": False},
        )

    def _described(self, stage: str, stale: Mapping[Node, list[str]]) -> str:
        """What is wrong with the artefacts of one stage, and the command that makes them anew."""
        nodes = [node for node in stale if stage_of_node(node.name) == stage]
        outputs = ", ".join(name for node in nodes for name in node.outputs)
        found = [records.read(self._folder, node.name) for node in nodes]
        others = sorted({record.env for record in found if record} - {self._env})
        reasons = [f"made with --env={env}" if env else "made without --env" for env in others]
        reasons += dict.fromkeys(reason for node in nodes for reason in stale[node])
        makes = f"`{command(stage, self._env)}` makes it anew"
        return f"{outputs} ({summarised(reasons)}; {makes})"

    def _upstream(self, pipeline: Pipeline) -> list[Node]:
        """Nodes outside of `pipeline` that it depends on, some of whose outputs are there."""
        made_by = makers()
        waiting = data_inputs(pipeline.inputs())
        found: dict[str, Node] = {}
        while waiting:
            node = made_by.get(waiting.pop())
            if node is not None and node.name not in found:
                found[node.name] = node
                waiting += data_inputs(node.inputs)
        return [node for _, node in sorted(found.items()) if self._is_there(node)]

    def _is_there(self, node: Node) -> bool:
        paths = [self._path(name) for name in node.outputs]
        return any(path is not None and path.exists() for path in paths)

    def _stale_outputs(self, pipeline: Pipeline, catalog: FreshCatalog) -> frozenset[str]:
        """Outputs of all nodes that have to run, and one log line on why each has to."""
        stale: set[str] = set()
        for node in pipeline.nodes:
            remade = sorted(stale & set(node.inputs))
            absent = [
                name
                for name in node.outputs
                if self._path(name) is not None and not catalog.exists(name)
            ]
            reasons = (
                [f"{name} is made again" for name in remade]
                or [f"{name} is missing" for name in absent]
                or self._reasons(node, with_code=True)
            )
            if reasons:
                _log.info(
                    "%s has to run: %s", node.name, summarised(reasons), extra={"markup": False}
                )
                stale |= set(node.outputs)
        return frozenset(stale)

    def _reasons(self, node: Node, with_code: bool) -> list[str]:
        record = records.read(self._folder, node.name)
        if record is None:
            return ["there is no record of how it was made"]
        present = self._fingerprint(node)
        if not with_code:
            present = Fingerprint(
                present.parameters, present.files, record.fingerprint.code, present.inputs
            )
        return differences(record.fingerprint, present)

    def _fingerprint(self, node: Node) -> Fingerprint:
        names = sorted({name for name in node.inputs if is_parameter(name)})
        parameters = {name.removeprefix("params:"): self._parameter(name) for name in names}
        inputs = {name: self._content(name) for name in data_inputs(node.inputs)}
        return Fingerprint(
            parameters=parameters,
            files=named_files(parameters, self._root, self._data),
            code=code_digest(node.func),
            inputs={name: content for name, content in inputs.items() if content},
        )

    def _parameter(self, name: str) -> Any:
        value: Any = self._parameters
        if name == "parameters":
            return value
        for part in name.removeprefix("params:").split("."):
            value = value[part]
        return value

    def _content(self, name: str) -> str | None:
        """Digest of a data set: from the record of its maker while nobody wrote to it since."""
        path = self._path(name)
        if path is None or not path.exists():
            return None
        maker = makers().get(name)
        record = records.read(self._folder, maker.name) if maker else None
        known = record.outputs.get(name) if record else None
        if known and known["signature"] == signature(path):
            return known["digest"]
        return digest(path)

    def _path(self, name: str) -> Path | None:
        assert self._catalog is not None
        return local_path(self._catalog.get(name))
