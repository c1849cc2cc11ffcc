"""Tables survive a failed save, and their previews are plain JSON."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DatasetError

from diffucoder.datasets.table import PREVIEW_CHARACTERS, TableDataset

TABLE = pd.DataFrame(
    {
        "name": ["a", "b" * 1000],
        "tokens": [[1, 2], []],
        "passed": [True, False],
        "rate": [0.5, 1.0],
    }
)


def test_table_comes_back_equal(tmp_path: Path) -> None:
    dataset = TableDataset(filepath=str(tmp_path / "deep" / "table.parquet"))
    assert not dataset.exists()
    dataset.save(TABLE)
    assert dataset.exists()
    loaded = dataset.load()
    pd.testing.assert_frame_equal(loaded[["name", "passed", "rate"]], TABLE.drop(columns="tokens"))
    assert [list(tokens) for tokens in loaded["tokens"]] == [[1, 2], []]
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["table.parquet"]


def test_failed_save_keeps_the_earlier_table(tmp_path: Path) -> None:
    dataset = TableDataset(filepath=str(tmp_path / "table.parquet"))
    dataset.save(TABLE)
    # Fails after the file was opened: columns of two types cannot become Parquet.
    with pytest.raises(DatasetError):
        dataset.save(pd.DataFrame({"mixed": [1, "one"]}))
    assert list(dataset.load()["name"]) == list(TABLE["name"])
    assert [file.name for file in tmp_path.iterdir()] == ["table.parquet"]


def test_a_full_disk_keeps_the_earlier_table(
    tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    dataset = TableDataset(filepath=str(tmp_path / "table.parquet"))
    dataset.save(TABLE.head(1))
    with full_disk(), pytest.raises(DatasetError, match="File too large"):
        dataset.save(pd.DataFrame({"number": range(10_000)}))
    assert list(dataset.load()["name"]) == ["a"]
    assert [file.name for file in tmp_path.iterdir()] == ["table.parquet"]


def test_preview_is_json_with_short_cells(tmp_path: Path) -> None:
    dataset = TableDataset(filepath=str(tmp_path / "table.parquet"))
    dataset.save(TABLE)
    preview = json.loads(json.dumps(dataset.preview(nrows=2)))
    assert preview["columns"] == list(TABLE.columns)
    assert preview["data"][0] == ["a", "[1 2]", True, 0.5]
    assert len(preview["data"][1][0]) == PREVIEW_CHARACTERS + 1
