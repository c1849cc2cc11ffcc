from pathlib import Path

import pytest

from diffucoder.engine.reporter import METRICS_FILE, Reporter, metrics_table


@pytest.fixture(autouse=True)
def _no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)


def test_rewinding_forgets_the_steps_to_be_done_again(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path, rank=0)
    reporter.log(0, {"loss": 2.0})
    reporter.rewind(None)
    for step in (1, 2, 3):
        reporter.log(step, {"loss": 1.0 / step})
    reporter.rewind(1)
    reporter.log(2, {"loss": 7.0, "reward": 3.0})
    reporter.close()
    rows = metrics_table(tmp_path).values.tolist()
    assert rows == [[1, "loss", 1.0], [2, "loss", 7.0], [2, "reward", 3.0]]


def test_a_line_cut_by_a_kill_is_no_record(tmp_path: Path) -> None:
    (tmp_path / METRICS_FILE).write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    reporter = Reporter(tmp_path, rank=0)
    reporter.rewind(1)
    reporter.log(2, {"loss": 1.0})
    reporter.close()
    assert metrics_table(tmp_path)["value"].tolist() == [2.0, 1.0]


def test_only_rank_0_writes(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path, rank=1)
    reporter.log(1, {"loss": 2.0})
    reporter.rewind(0)
    reporter.close()
    assert not (tmp_path / METRICS_FILE).exists()
