"""A run whose inputs are missing is refused with the command that makes them."""

from typing import Any

import mlflow
import pytest

from diffucoder.errors import MissingInput


def test_missing_input_names_place_and_command(project: Any) -> None:
    with pytest.raises(MissingInput) as raised:
        project.run(env="test", pipeline_names=["second"])
    message = str(raised.value)
    assert "table (" in message
    assert "data/table.json" in message
    assert "`kedro run --pipeline=first --env=test`" in message


def test_refused_run_leaves_nothing_in_mlflow(project: Any) -> None:
    with pytest.raises(MissingInput):
        project.run(pipeline_names=["second"])
    assert mlflow.search_runs(experiment_names=[project.package]).empty


def test_single_pipeline_works_on_what_earlier_ones_left(project: Any) -> None:
    project.run(pipeline_names=["first"])
    project.run(pipeline_names=["second"])
    assert project.read("scaled.json") == [6.0, 6.0]
