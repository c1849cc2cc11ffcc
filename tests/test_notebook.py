"""The notebook runs from top to bottom; its own cells assert on what it shows."""

import json
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch
from nbclient import NotebookClient
from nbformat import NotebookNode

from diffucoder.config.backbone import ArchitectureParams
from diffucoder.config.problems import ProblemsParams
from diffucoder.data import families
from diffucoder.data.tokenizer import train
from diffucoder.datasets.checkpoint import CheckpointDataset
from diffucoder.model import create

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "coupled_grpo.ipynb"
SECONDS_A_CELL = 240


@pytest.fixture(scope="module")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Opening the catalog sets tracking up; a new store's tables take seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def data(tmp_path: Path, tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder; kernels started by the test see it as the project's."""
    folder = tmp_path / "data"
    monkeypatch.setenv("DIFFUCODER_DATA", str(folder))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
    monkeypatch.setenv("MLFLOW_ARTIFACT_LOCATION", str(tmp_path / "mlruns"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder


def executed() -> NotebookNode:
    """The notebook after a run in a fresh kernel; the file stays as it is."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=SECONDS_A_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
    )
    return client.execute()


def printed(notebook: NotebookNode, cell: str) -> str:
    """What a cell wrote to its output, as text."""
    [found] = [entry for entry in notebook.cells if entry.id == cell]
    return "".join(output.get("text", "") for output in found.outputs)


def leave_a_run(data: Path) -> None:
    """What `kedro run` would leave of an instruct model and of problems."""
    params = ProblemsParams(
        families={"lists": 1.0},
        counts={"sft": 3, "rl": 0, "validation": 0, "heldout": 0},
        tests_per_problem=3,
        pairs_per_problem=1,
        mistake_share=0.0,
        files=[],
        pair_files=[],
    )
    problems = families.generate(params, seed=3)
    table = data / "03_primary" / "problems.parquet"
    table.parent.mkdir(parents=True)
    pd.DataFrame([problem.record() for problem in problems]).to_parquet(table, index=False)
    tokenizer = train([problem.prompt for problem in problems], vocabulary=300)
    architecture = ArchitectureParams(
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        rope_theta=1e4,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    made = data / "made"
    create(architecture, tokenizer, torch.Generator().manual_seed(1)).save_pretrained(made)
    tokenizer.save_pretrained(made)
    CheckpointDataset(str(data / "06_models" / "instruct")).save(made)


def test_it_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)


@pytest.mark.slow
def test_it_runs_before_a_first_run(data: Path) -> None:
    assert "from this notebook" in printed(executed(), "task")
    assert not data.exists()


@pytest.mark.slow
def test_it_uses_what_a_run_left(data: Path) -> None:
    leave_a_run(data)
    assert "from the catalog" in printed(executed(), "task")
