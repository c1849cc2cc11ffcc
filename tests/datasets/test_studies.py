"""What a reader can do without."""

import os
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
from kedro.io import DatasetError
from kedro_datasets.plotly import JSONDataset

from diffucoder.datasets.studies import StudiesDataset
from diffucoder.datasets.table import TableDataset


@pytest.fixture
def dataset(tmp_path: Path) -> StudiesDataset:
    return StudiesDataset(str(tmp_path / "studies"), after=str(tmp_path / "COMPLETE"))


def put(folder: Path, table_time: int, complete_time: int) -> None:
    table = folder / "studies" / "table.parquet"
    TableDataset(filepath=str(table)).save(pd.DataFrame({"a": [1]}))
    (folder / "COMPLETE").touch()
    os.utime(table, (table_time, table_time))
    os.utime(folder / "COMPLETE", (complete_time, complete_time))


def test_what_is_not_there_is_left_out_and_stops_no_run(dataset: StudiesDataset) -> None:
    assert dataset.load() == {}
    assert dataset.exists()


def test_what_is_there_is_loaded(dataset: StudiesDataset, tmp_path: Path) -> None:
    put(tmp_path, table_time=200, complete_time=100)
    JSONDataset(filepath=str(tmp_path / "studies" / "figure.json")).save(go.Figure())
    found = dataset.load()
    assert set(found) == {"table", "figure"}
    assert list(found["table"]["a"]) == [1]
    assert isinstance(found["figure"], go.Figure)


def test_what_is_older_than_its_source_is_left_out(dataset: StudiesDataset, tmp_path: Path) -> None:
    put(tmp_path, table_time=100, complete_time=200)
    assert dataset.load() == {}


def test_it_is_for_reading(dataset: StudiesDataset) -> None:
    with pytest.raises(DatasetError, match="for reading"):
        dataset.save({})
