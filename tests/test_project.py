"""The project as Kedro sees it: settings, environments, pipelines, the command line."""

import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml
from kedro.config import OmegaConfigLoader

from diffucoder import settings
from diffucoder.config.check import validated
from diffucoder.config.expand import DEFAULTS
from diffucoder.config.root import Parameters
from diffucoder.hooks.graph import data_inputs
from diffucoder.pipeline_registry import STAGES, STUDIES, register_pipelines

ENVIRONMENTS = ("local", "test", "h200", "paper")
CONF = settings.ROOT / "conf"


def loader(env: str) -> OmegaConfigLoader:
    # The pattern that kedro-mlflow adds.
    patterns = {"config_patterns": {"mlflow": ["mlflow*"]}}
    arguments = settings.CONFIG_LOADER_ARGS | patterns
    return settings.CONFIG_LOADER_CLASS(str(CONF), env=env, **arguments)


def kedro(*arguments: str, cwd: Path = settings.ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kedro", *arguments], cwd=cwd, capture_output=True, text=True
    )


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_parameters_of_every_environment_are_valid(env: str) -> None:
    validated(Parameters, loader(env)["parameters"], env)


@pytest.mark.parametrize("env", ENVIRONMENTS[1:])
def test_overlays_change_base_softly(env: str) -> None:
    merged = validated(Parameters, loader(env)["parameters"], env).model_dump(mode="json")
    base = validated(Parameters, loader("local")["parameters"], "base").model_dump(mode="json")
    assert merged != base
    for file in (CONF / env / "parameters").glob("*.yml"):
        assert set(yaml.safe_load(file.read_text())) <= set(base) | set(DEFAULTS)


def test_runs_are_kept_in_the_project_whatever_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_ARTIFACT_LOCATION", raising=False)
    found = loader("local")["mlflow"]
    assert found["server"]["mlflow_tracking_uri"] == f"sqlite:///{settings.ROOT}/mlflow.db"
    artifacts = found["tracking"]["experiment"]["create_experiment_kwargs"]["artifact_location"]
    assert artifacts == f"{settings.ROOT}/mlruns"


def test_environment_variables_move_runs_and_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    monkeypatch.setenv("DIFFUCODER_DATA", "/elsewhere")
    found = loader("local")
    assert found["mlflow"]["server"]["mlflow_tracking_uri"] == "http://tracking:5000"
    paths = [entry["filepath"] for entry in found["catalog"].values() if "filepath" in entry]
    assert paths
    assert all(path.startswith("/elsewhere/") for path in paths)


def test_default_pipeline_is_all_stages_and_closed() -> None:
    pipelines = register_pipelines()
    assert set(pipelines) == {*STAGES, *STUDIES, "__default__"}
    default = pipelines["__default__"]
    assert len(default.nodes) == sum(len(pipelines[stage].nodes) for stage in STAGES)
    free = data_inputs(default.inputs())
    catalog = loader("local")["catalog"]
    assert {catalog[name]["type"].rsplit(".", 1)[1] for name in free} == {"StudiesDataset"}


def test_every_stage_is_a_namespace_of_its_nodes() -> None:
    pipelines = register_pipelines()
    for name in (*STAGES, *STUDIES):
        assert {node.namespace for node in pipelines[name].nodes} == {name}
    with pytest.raises(ValueError, match=r"Did you mean: \['grpo\.train_grpo'\]"):
        pipelines["__default__"].from_nodes("train_grpo")


def test_every_data_set_is_in_the_catalog() -> None:
    catalog = loader("local")["catalog"]
    named = {name for found in register_pipelines().values() for name in found.datasets()}
    assert set(data_inputs(named)) <= set(catalog)


def test_layers_of_the_graph_have_one_direction() -> None:
    catalog = loader("local")["catalog"]
    layer = {name: entry["metadata"]["kedro-viz"]["layer"] for name, entry in catalog.items()}
    before: dict[str, set[str]] = {}
    for node in sum(register_pipelines().values()).nodes:
        for output in node.outputs:
            earlier = {layer[name] for name in data_inputs(node.inputs)} - {layer[output]}
            before.setdefault(layer[output], set()).update(earlier)
    # Kedro-Viz drops all layers if two of them feed each other; this raises CycleError then.
    order = list(TopologicalSorter(before).static_order())
    assert order.index("models") < order.index("reporting")


def test_command_line_imports_nothing_heavy() -> None:
    program = (
        "import sys, diffucoder.settings, diffucoder.pipeline_registry as registry\n"
        "registry.register_pipelines()\n"
        "heavy = {'torch', 'transformers', 'deepspeed', 'datasets', 'peft'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nothing_reports_usage() -> None:
    telemetry = yaml.safe_load((settings.ROOT / ".telemetry").read_text())
    assert telemetry == {"consent": False}
    for switch in ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
        assert os.environ[switch].lower() in {"1", "true"}


def test_user_error_is_one_message_without_traceback() -> None:
    done = kedro("run", "--env=test", "--params=grpo.surprise=1,seed=-1,grpo.decoding.rule=no.rule")
    assert done.returncode == 1
    assert "grpo.surprise: unknown key; known here:" in done.stderr
    assert "seed: got -1; input should be greater than or equal to 0" in done.stderr
    assert "grpo.decoding.rule: got 'no.rule'; rule 'no.rule' cannot be imported" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
