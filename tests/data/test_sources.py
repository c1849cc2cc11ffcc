import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from diffucoder.config.ingestion import HubSource, TableSource
from diffucoder.data.sources import documents
from diffucoder.errors import BadData


def table(kind: str, path: Path, **changes: Any) -> TableSource:
    values = {
        "kind": kind,
        "name": "table",
        "path": str(path),
        "licence": "unknown",
        "max_bytes": None,
        "curated": False,
        "text_column": "content",
        "path_column": None,
        "licence_column": None,
    }
    return TableSource.model_validate(values | changes)


def test_the_standard_library_is_found(params) -> None:
    source = params.sources[0].model_copy(update={"include": ["json/*.py"]})
    found = {document.path: document for document in documents([source])}
    assert {"json/__init__.py", "json/decoder.py"} <= found.keys()
    decoder = found["json/decoder.py"]
    assert "class JSONDecoder" in decoder.text
    assert decoder.licence == "PSF-2.0"
    assert decoder.sha256 == hashlib.sha256(decoder.text.encode()).hexdigest()
    assert decoder.bytes == len(decoder.text.encode())


def test_globs_choose_files_in_a_fixed_order(tmp_path, folder_source) -> None:
    for name in ("b.py", "a.py", "sub/c.py", "sub/tests/d.py", "site-packages/e.py", "f.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    paths = [document.path for document in documents([folder_source(tmp_path)])]
    assert paths == ["a.py", "b.py", "sub/c.py"]


def test_a_file_that_is_not_utf8_is_marked_not_raised(tmp_path, folder_source) -> None:
    (tmp_path / "bad.py").write_bytes(b"x = '\xff'\n")
    [document] = documents([folder_source(tmp_path)])
    assert document.unreadable == "not_utf8: byte 0xff at 5"
    assert document.text == ""
    assert document.bytes == 8


def test_an_empty_folder_is_one_clear_error_before_reading(tmp_path, folder_source) -> None:
    (tmp_path / "notes.txt").write_text("no code here")
    with pytest.raises(BadData, match=r"source test .*gives no document"):
        documents([folder_source(tmp_path)])


def test_a_missing_folder_is_named(tmp_path, folder_source) -> None:
    with pytest.raises(BadData, match="nowhere is not a folder"):
        documents([folder_source(tmp_path / "nowhere")])


def test_max_bytes_ends_a_source(tmp_path, folder_source) -> None:
    for name in "abc":
        (tmp_path / f"{name}.py").write_text("x" * 100)
    found = documents([folder_source(tmp_path, max_bytes=250)])
    assert [document.path for document in found] == ["a.py", "b.py"]


def test_parquet_and_jsonl_rows_are_documents(tmp_path) -> None:
    rows = [{"content": f"x = {i}", "path": f"{i}.py", "licence": "MIT"} for i in range(3)]
    pd.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    columns = {"path_column": "path", "licence_column": "licence"}
    for kind in ("parquet", "jsonl"):
        found = list(documents([table(kind, tmp_path, **columns)]))
        assert [(document.path, document.text, document.licence) for document in found] == [
            (row["path"], row["content"], "MIT") for row in rows
        ]


def test_a_corrupt_parquet_file_is_named(tmp_path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"content": ["x = 1"] * 1000}).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadData, match=r"a\.parquet: not a whole Parquet file"):
        documents([table("parquet", path)])


def test_a_line_that_is_not_json_is_named(tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"content": "x = 1"}\n{"content": \n')
    with pytest.raises(BadData, match=r"a\.jsonl: at or after line 2"):
        list(documents([table("jsonl", path)]))


def test_a_missing_column_is_named_with_those_present(tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"code": "x = 1"}\n')
    with pytest.raises(BadData, match=r"'content'.*\['code'\]"):
        documents([table("jsonl", path)])


def test_a_surrogate_in_a_row_makes_it_unreadable(tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"content": "x = 1"}\n{"content": "\\ud800"}\n')
    assert [bool(document.unreadable) for document in documents([table("jsonl", path)])] == [
        False,
        True,
    ]


def test_a_dataset_is_streamed_through_datasets(tmp_path) -> None:
    # `load_dataset` takes a local folder of data files under the same interface as a hub name.
    pd.DataFrame({"content": ["x = 1", "y = 2"]}).to_parquet(tmp_path / "train.parquet")
    values = table("parquet", tmp_path).model_dump() | {"kind": "hub"}
    source = HubSource.model_validate(values | {"config": None, "split": "train"})
    assert [document.text for document in documents([source])] == ["x = 1", "y = 2"]


def test_a_dataset_that_does_not_exist_is_named(tmp_path) -> None:
    values = table("parquet", tmp_path / "no-such").model_dump() | {"kind": "hub"}
    source = HubSource.model_validate(values | {"config": None, "split": "train"})
    with pytest.raises(BadData, match=r"hub dataset .*no-such"):
        documents([source])
