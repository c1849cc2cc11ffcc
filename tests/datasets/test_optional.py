"""Entries that a reader can do without."""

import os
from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DatasetError

from diffucoder.datasets.optional import OptionalDataset
from diffucoder.datasets.table import TableDataset


@pytest.fixture
def dataset(tmp_path: Path) -> OptionalDataset:
    return OptionalDataset(
        {
            "type": "diffucoder.datasets.table.TableDataset",
            "filepath": str(tmp_path / "table.parquet"),
        },
        after=str(tmp_path / "COMPLETE"),
    )


def put(folder: Path, table_time: int, complete_time: int) -> None:
    TableDataset(filepath=str(folder / "table.parquet")).save(pd.DataFrame({"a": [1]}))
    (folder / "COMPLETE").touch()
    os.utime(folder / "table.parquet", (table_time, table_time))
    os.utime(folder / "COMPLETE", (complete_time, complete_time))


def test_what_is_not_there_is_none_and_stops_no_run(dataset: OptionalDataset) -> None:
    assert dataset.load() is None
    assert dataset.exists()


def test_what_is_there_is_loaded(dataset: OptionalDataset, tmp_path: Path) -> None:
    put(tmp_path, table_time=200, complete_time=100)
    assert list(dataset.load()["a"]) == [1]


def test_what_is_older_than_its_source_is_none(dataset: OptionalDataset, tmp_path: Path) -> None:
    put(tmp_path, table_time=100, complete_time=200)
    assert dataset.load() is None


def test_it_is_for_reading(dataset: OptionalDataset) -> None:
    with pytest.raises(DatasetError, match="for reading"):
        dataset.save(pd.DataFrame())
