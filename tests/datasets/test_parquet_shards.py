from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
import pytest
from kedro.io import DataCatalog
from kedro.io.core import DatasetError

from diffucoder.data.shards import Rows
from diffucoder.data.tables import REJECTED_DOCUMENTS
from diffucoder.datasets.parquet_shards import ParquetShardsDataset
from diffucoder.errors import BadData, DiffucoderError


def rejection(index: int) -> dict[str, Any]:
    return {
        "index": index,
        "path": f"{index}.py",
        "source": "test",
        "bytes": index,
        "step": "filter",
        "reason": "too_small",
        "detail": "x" * (index * 37 % 100),
    }


def rows(count: int) -> Rows:
    return Rows(REJECTED_DOCUMENTS, (rejection(index) for index in range(count)))


@pytest.fixture
def dataset(tmp_path) -> ParquetShardsDataset:
    return ParquetShardsDataset(
        filepath=str(tmp_path / "rejected"),
        schema="diffucoder.data.tables.RejectedDocuments",
        part_bytes=4000,
    )


def test_what_is_saved_is_loaded(dataset) -> None:
    assert not dataset.exists()
    dataset.save(rows(1000))
    assert dataset.exists()
    assert list(dataset.load().rows()) == [rejection(index) for index in range(1000)]


def test_saving_again_replaces(dataset) -> None:
    dataset.save(rows(1000))
    dataset.save(rows(3))
    assert len(dataset.load()) == 3
    assert len(list(dataset.load().path.glob("part-*"))) == 1


def test_a_row_that_does_not_fit_the_schema_changes_nothing(dataset) -> None:
    dataset.save(rows(10))
    bad = [*map(rejection, range(600)), rejection(600) | {"step": "guess"}]
    with pytest.raises(DatasetError, match=r"(?s)RejectedDocuments.*step.*guess") as error:
        dataset.save(Rows(REJECTED_DOCUMENTS, bad))
    assert isinstance(error.value.__cause__, BadData)
    assert len(dataset.load()) == 10


def test_an_error_in_the_stream_changes_nothing(dataset) -> None:
    dataset.save(rows(10))

    def stream() -> Iterator[dict[str, Any]]:
        yield from map(rejection, range(600))
        raise BadData("source.parquet: corrupt")

    with pytest.raises(DatasetError, match=r"source\.parquet: corrupt"):
        dataset.save(Rows(REJECTED_DOCUMENTS, stream()))
    assert len(dataset.load()) == 10
    assert [path.name for path in dataset.load().path.parent.iterdir()] == ["rejected"]


def test_a_full_disk_changes_nothing_and_says_so(
    dataset, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    dataset.save(rows(10))
    with full_disk(), pytest.raises(DatasetError, match="Free some space") as error:
        dataset.save(rows(5000))
    assert isinstance(error.value.__cause__, DiffucoderError)
    assert list(dataset.load().rows()) == [rejection(index) for index in range(10)]
    assert [path.name for path in dataset.load().path.parent.iterdir()] == ["rejected"]


def test_a_half_written_directory_is_refused(dataset) -> None:
    dataset.save(rows(10))
    (dataset.load().path / "COMPLETE").unlink()
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="half"):
        dataset.load()


def test_a_preview_shows_the_first_rows(dataset) -> None:
    dataset.save(rows(100))
    preview = dataset.preview(nrows=2)
    assert preview["columns"][:2] == ["index", "path"]
    assert [row[1] for row in preview["data"]] == ["0.py", "1.py"]
    dataset.save(rows(0))
    assert dataset.preview()["data"] == []


def test_a_catalog_entry_makes_one(tmp_path) -> None:
    catalog = DataCatalog.from_config(
        {
            "numbers": {
                "type": "diffucoder.datasets.parquet_shards.ParquetShardsDataset",
                "filepath": str(tmp_path / "numbers"),
                "schema": "diffucoder.data.tables.RejectedDocuments",
                "metadata": {"kedro-viz": {"layer": "primary"}},
            }
        }
    )
    catalog.save("numbers", rows(4))
    assert len(catalog.load("numbers")) == 4
    assert catalog.load("numbers").read_group(0).schema.equals(REJECTED_DOCUMENTS)
    assert isinstance(catalog.load("numbers").read_group(0), pa.Table)
