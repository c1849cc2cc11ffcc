"""Who makes what, over all registered pipelines."""

from collections.abc import Iterable

from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node


def stages() -> dict[str, Pipeline]:
    """The pipelines that are stages, by name."""
    return {name: pipelines[name] for name in pipelines if name != "__default__"}


def stage_of_node(name: str) -> str:
    """The stage that holds the node called `name`."""
    return next(
        stage for stage, pipeline in stages().items() if name in {n.name for n in pipeline.nodes}
    )


def stages_of(nodes: Iterable[Node]) -> list[str]:
    """The stages that hold these nodes, in the order in which they run."""
    names = {stage_of_node(node.name) for node in nodes}
    order = {node.name: place for place, node in enumerate(pipelines["__default__"].nodes)}
    first = {stage: min(order[node.name] for node in stages()[stage].nodes) for stage in names}
    return sorted(names, key=first.__getitem__)


def makers() -> dict[str, Node]:
    """For each data set that some stage makes, the node that does."""
    return {
        output: node
        for pipeline in stages().values()
        for node in pipeline.nodes
        for output in node.outputs
    }


def data_inputs(names: Iterable[str]) -> list[str]:
    """Those of `names` that are data sets, not parameters; sorted."""
    return sorted(name for name in set(names) if not is_parameter(name))


def is_parameter(name: str) -> bool:
    """Whether Kedro fills this input from the parameters."""
    return name == "parameters" or name.startswith("params:")


def command(stage: str, env: str | None) -> str:
    """The command that runs one stage."""
    return f"kedro run --pipeline={stage}" + (f" --env={env}" if env else "")
