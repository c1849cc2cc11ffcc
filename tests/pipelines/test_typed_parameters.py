"""Kedro turns a `params:` input into its model only if it can read the node's type hints."""

import typing

import pytest
from kedro.validation.type_extractor import TypeExtractor

from diffucoder.config.root import Parameters
from diffucoder.pipeline_registry import register_pipelines

PIPELINES = register_pipelines()
NODES = {node.name: node for pipeline in PIPELINES.values() for node in pipeline.nodes}


@pytest.mark.parametrize("name", sorted(NODES))
def test_type_hints_of_a_node_can_be_read(name: str) -> None:
    # A name imported for type checkers alone would make Kedro pass plain dictionaries.
    typing.get_type_hints(NODES[name].func)


def test_every_stage_reaches_its_nodes_as_its_model() -> None:
    found = TypeExtractor(PIPELINES).extract_types_from_pipelines()
    used = {
        entry.removeprefix("params:")
        for node in NODES.values()
        for entry in node.inputs
        if entry.startswith("params:")
    }
    expected = {key: Parameters.model_fields[key].annotation for key in used - {"seed"}}
    assert {key: found.get(key) for key in expected} == expected
