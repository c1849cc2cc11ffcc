"""The whole chain as a person runs it: `kedro run --env test`, then parts of it again."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from diffucoder.pipeline_registry import STAGES
from diffucoder.sandbox import Sandbox

ROOT = Path(__file__).parents[1]
CHECKPOINTS = ("adapted", "instruct", "grpo")
TRAINED = ("backbone", *CHECKPOINTS)

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


@dataclass(frozen=True)
class Project:
    """A data folder and a tracking database of its own."""

    data: Path
    tracking: str

    def kedro(self, *arguments: str) -> str:
        """What `kedro run --env=test` with these arguments printed; it must succeed."""
        variables = {"DIFFUCODER_DATA": str(self.data), "MLFLOW_TRACKING_URI": self.tracking}
        ended = subprocess.run(
            [sys.executable, "-m", "kedro", "run", "--env=test", *arguments],
            cwd=ROOT,
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout[-4000:]
        return ended.stdout

    def summary(self) -> dict:
        return json.loads((self.data / "08_reporting" / "summary.json").read_text())

    def written(self, name: str) -> int:
        """When a checkpoint was completed."""
        return (self.data / "06_models" / name / "COMPLETE").stat().st_mtime_ns


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which the whole chain has run."""
    folder = tmp_path_factory.mktemp("chain")
    made = Project(folder / "data", f"sqlite:///{folder / 'mlflow.db'}")
    made.kedro()
    return made


def test_summary_has_the_headline_numbers(project: Project) -> None:
    summary = project.summary()
    assert set(summary["pass_at_1"]) == set(CHECKPOINTS)
    for numbers in summary["pass_at_1"].values():
        assert 0 <= numbers["low"] <= numbers["mean"] <= numbers["high"] <= 1
        assert numbers["n"] == 6
    pipelines = {"ingestion", "backbone", "adaptation", "instruction", "grpo", "evaluation"}
    assert pipelines | {"analysis"} <= set(summary["seconds"])
    assert 100 < summary["peak_rss_mb"] < 4096
    assert summary["seed"] == 0
    assert summary["sandbox_tier"] != "unsafe"


def test_every_entry_of_the_catalog_was_made(project: Project) -> None:
    for stage in STAGES:
        file = ROOT / "conf" / "base" / "catalog" / f"{stage}.yml"
        entries = yaml.safe_load(file.read_text())
        # Others read what the studies leave, which are no part of the chain.
        for name, entry in ((n, e) for n, e in entries.items() if "filepath" in e):
            path = Path(entry["filepath"].replace("${globals:data}", str(project.data)))
            assert path.exists(), name


def test_every_checkpoint_is_whole(project: Project) -> None:
    for name in TRAINED:
        assert (project.data / "06_models" / name / "COMPLETE").exists()
        assert (project.data / "06_models" / name / "model.safetensors").exists()


def test_tables_hold_rollouts_and_completions(project: Project) -> None:
    output = project.data / "07_model_output"
    rollouts = pd.read_parquet(output / "rollouts.parquet")
    assert rollouts["step"].nunique() == 2
    completions = pd.read_parquet(output / "completions.parquet")
    assert set(completions["checkpoint"]) == set(CHECKPOINTS)


class Requests(HTMLParser):
    """Collects what a browser would fetch for a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fetched = {"src", "srcset", "data"} | ({"href"} if tag == "link" else set())
        self.found += [value or "" for name, value in attrs if name in fetched]


def test_report_asks_for_nothing_from_outside(project: Project) -> None:
    page = (project.data / "08_reporting" / "report.html").read_text(encoding="utf-8")
    assert [url for url in Requests(page).found if not url.startswith("data:")] == []
    assert "@import" not in page.split("</style>")[0]
    assert all(name in page for name in CHECKPOINTS)


def test_mlflow_holds_a_run_with_a_child_for_each_stage(project: Project) -> None:
    client = mlflow.MlflowClient(project.tracking)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = {run.info.run_id: run for run in client.search_runs(experiments)}
    children = [run for run in runs.values() if "mlflow.parentRunId" in run.data.tags]
    whole = [child for child in children if child.info.status == "FINISHED"]
    by_stage = {child.info.run_name: child for child in whole}
    stages = {"backbone", "adaptation", "mid_training", "instruction", "grpo"}
    assert set(by_stage) == stages | {"evaluation", "analysis"}
    parent = runs[by_stage["grpo"].data.tags["mlflow.parentRunId"]]
    assert parent.info.status == "FINISHED"
    rewards = client.get_metric_history(by_stage["grpo"].info.run_id, "reward/total")
    assert [metric.step for metric in rewards] == [1, 2]
    losses = client.get_metric_history(by_stage["instruction"].info.run_id, "loss")
    assert len(losses) > 10
    assert by_stage["grpo"].data.params["objective.beta"] == "0.01"
    measured = set(by_stage["grpo"].data.metrics)
    assert measured >= {"loss", "kl", "clip_ratio", "grad_norm", "lr", "tokens_per_s"}
    assert measured >= {"pass_rate", "completion_length", "frac_reward_zero_std"}
    assert len(parent.data.tags["git_commit"]) == 40
    assert "report.html" in {file.path for file in client.list_artifacts(parent.info.run_id)}
    samples = client.list_artifacts(parent.info.run_id, "samples")
    assert "samples/rollouts.json" in {file.path for file in samples}
    ran_programs = (parent, *(by_stage[name] for name in ("grpo", "evaluation", "analysis")))
    assert {run.data.tags["sandbox_tier"] for run in ran_programs} == {Sandbox(workers=1).tier}
    contained = client.get_metric_history(by_stage["grpo"].info.run_id, "sandbox/mechanisms")
    assert [metric.step for metric in contained] == [1, 2]
    assert min(metric.value for metric in contained) >= 2


def test_reinforcement_learning_moves_the_weights(project: Project) -> None:
    metrics = pd.read_parquet(project.data / "08_reporting" / "metrics" / "grpo.parquet")
    loss = metrics[metrics["name"] == "loss"]
    assert loss["step"].tolist() == [1, 2]
    before, after = (
        load_file(project.data / "06_models" / name / "model.safetensors")
        for name in ("instruct", "grpo")
    )
    assert any(not torch.equal(before[name], weight) for name, weight in after.items())


def test_finished_stages_are_skipped_until_a_parameter_changes(project: Project) -> None:
    before = {name: project.written(name) for name in TRAINED}
    said = project.kedro("--pipeline=grpo", "--only-missing-outputs")
    assert "Skipping all 1 nodes" in said
    assert {name: project.written(name) for name in TRAINED} == before

    project.kedro("--pipeline=grpo", "--only-missing-outputs", "--params=grpo.training.steps=3")
    after = {name: project.written(name) for name in TRAINED}
    assert after.pop("grpo") > before.pop("grpo")
    assert after == before
    rollouts = pd.read_parquet(project.data / "07_model_output" / "rollouts.parquet")
    assert rollouts["step"].nunique() == 3
