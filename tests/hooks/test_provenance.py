"""Finished nodes are skipped only while parameters, inputs and code are what they were."""

import logging
from typing import Any

import pytest

from diffucoder.errors import BadParameters, MissingInput
from diffucoder.hooks import fingerprint

TABLES = ("table.json", "scaled.json")


def remade(project: Any, **kwargs: Any) -> set[str]:
    """Tables that `--only-missing-outputs` wrote again."""
    before = {name: project.written(name) for name in TABLES}
    project.run(only_missing_outputs=True, **kwargs)
    return {name for name in TABLES if project.written(name) != before[name]}


def test_unchanged_project_skips_everything(project: Any) -> None:
    project.run()
    assert remade(project) == set()


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"second": {"factor": 5.0}}, {"scaled.json"}),
        ({"first": {"size": 4}}, {"table.json", "scaled.json"}),
        ({"seed": 4}, {"table.json", "scaled.json"}),
    ],
)
def test_changed_parameter_reruns_its_node_and_what_follows(
    project: Any, params: dict[str, Any], expected: set[str]
) -> None:
    project.run()
    assert remade(project, params=params) == expected
    assert remade(project, params=params) == set()


def test_reason_is_logged(project: Any, log: list[logging.LogRecord]) -> None:
    project.run()
    remade(project, params={"first": {"size": 4}})
    messages = [record.getMessage() for record in log]
    assert "first.make has to run: first.size was 2, is 4" in messages
    assert "second.scale has to run: table is made again" in messages


def test_missing_output_reruns_what_follows(project: Any) -> None:
    project.run()
    before = project.written("scaled.json")
    (project.root / "data/table.json").unlink()
    project.run(only_missing_outputs=True)
    assert project.written("scaled.json") != before


def test_edited_input_reruns_its_readers_only(project: Any) -> None:
    project.run()
    (project.root / "data/table.json").write_text("[1]")
    assert remade(project) == {"scaled.json"}
    assert project.read("scaled.json") == [2.0]


def test_touched_but_equal_input_is_fresh(project: Any) -> None:
    project.run()
    table = project.root / "data/table.json"
    table.write_text(table.read_text())
    assert remade(project) == set()


def test_changed_folder_that_a_parameter_names(project: Any) -> None:
    project.run()
    (project.root / "corpus/code/b.py").write_text("y = 2")
    assert remade(project) == set(TABLES)


def test_changed_file_that_a_parameter_names_without_a_folder(project: Any) -> None:
    (project.root / "corpus.jsonl").write_text("1")
    params = {"first": {"folder": "corpus.jsonl"}}
    project.run(params=params)
    assert remade(project, params=params) == set()
    (project.root / "corpus.jsonl").write_text("2")
    assert remade(project, params=params) == set(TABLES)


def test_text_too_long_for_a_name_is_no_file(project: Any) -> None:
    params = {"first": {"folder": "x" * 5000}}
    project.run(params=params)
    assert remade(project, params=params) == set()


@pytest.mark.parametrize(
    ("folder", "expected"), [("data/work", set()), ("data/01_raw/code", set(TABLES))]
)
def test_folder_below_the_artefacts_counts_if_it_is_raw(
    project: Any, folder: str, expected: set[str]
) -> None:
    (project.root / folder).mkdir(parents=True)
    params = {"first": {"folder": folder}}
    project.run(params=params)
    (project.root / folder / "b.py").write_text("y = 2")
    assert remade(project, params=params) == expected


def test_changed_code(project: Any) -> None:
    project.run()
    nodes = "src/PACKAGE/pipelines/second/nodes.py"
    project.edit(nodes, "def scale", "# A comment is no change.\ndef scale")
    fingerprint.package_digest.cache_clear()
    assert remade(project) == set()
    project.edit(nodes, "value * second.factor", "value * second.factor + 1")
    fingerprint.package_digest.cache_clear()
    assert remade(project) == {"scaled.json"}


def test_failed_node_is_not_taken_for_finished(project: Any) -> None:
    project.run()
    with pytest.raises(RuntimeError, match="negative"):
        project.run(params={"first": {"size": 4}, "second": {"factor": -1.0}})
    assert remade(project, params={"first": {"size": 4}}) == {"scaled.json"}
    assert project.read("scaled.json") == [6.0] * 4


def test_from_nodes_refuses_artefacts_of_other_parameters(project: Any) -> None:
    project.run()
    with pytest.raises(MissingInput) as raised:
        project.run(from_nodes=["second.scale"], params={"first": {"size": 4}})
    message = str(raised.value)
    assert "table (first.size was 2, is 4; `kedro run --pipeline=first` makes it anew)" in message


def test_from_nodes_refuses_artefacts_without_a_record(
    project: Any, log: list[logging.LogRecord]
) -> None:
    project.run()
    (project.root / "data/08_reporting/provenance/first.make.json").unlink()
    with pytest.raises(MissingInput, match=r"table .there is no record of how it was made"):
        project.run(from_nodes=["second.scale"])
    project.run(pipeline_names=["second"])
    warnings = [r.getMessage() for r in log if r.levelno == logging.WARNING]
    assert any("there is no record" in warning for warning in warnings)


def test_refusal_quotes_no_more_than_the_beginning_of_a_long_value(project: Any) -> None:
    project.run()
    with pytest.raises(MissingInput) as raised:
        project.run(from_nodes=["second.scale"], params={"first": {"folder": "long/" * 100}})
    (line,) = str(raised.value).splitlines()[1:]
    assert "first.folder was corpus/code, is long/long/" in line
    assert len(line) < 250


def test_from_nodes_runs_on_artefacts_of_the_same_parameters(project: Any) -> None:
    project.run()
    before = project.written("table.json")
    project.run(from_nodes=["second.scale"], params={"second": {"factor": 5.0}})
    assert project.written("table.json") == before
    assert project.read("scaled.json") == [15.0, 15.0]


def test_single_pipeline_on_other_parameters_warns_in_one_line(
    project: Any, log: list[logging.LogRecord]
) -> None:
    project.run()
    project.run(pipeline_names=["second"], params={"first": {"size": 4}})
    warnings = [r.getMessage() for r in log if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "table (first.size was 2, is 4" in warnings[0]
    assert "\n" not in warnings[0]


def test_runner_of_several_processes_is_refused(project: Any) -> None:
    from kedro.runner import ParallelRunner

    project.run()
    with pytest.raises(BadParameters, match="SequentialRunner or ThreadRunner"):
        project.run(only_missing_outputs=True, runner=ParallelRunner(max_workers=1))
