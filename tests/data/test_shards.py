from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from diffucoder.data.shards import MANIFEST, Rows, Shards, write_parts
from diffucoder.errors import BadData

SCHEMA = pa.schema({"number": pa.int64(), "text": pa.string()})


def rows(count: int) -> list[dict[str, Any]]:
    return [{"number": number, "text": f"row {number}" * 20} for number in range(count)]


def test_rows_come_back_in_order_from_many_parts(tmp_path) -> None:
    manifest = write_parts(tmp_path, Rows(SCHEMA, iter(rows(100)), rows_per_group=7), 1500)
    shards = Shards(tmp_path)
    assert len(manifest["parts"]) > 3
    assert list(shards.rows()) == rows(100)
    assert list(shards.rows(["number"])) == [{"number": number} for number in range(100)]
    assert len(shards) == 100


def test_a_table_may_be_empty(tmp_path) -> None:
    write_parts(tmp_path, Rows(SCHEMA, []), 100)
    assert list(Shards(tmp_path).rows()) == []


def test_counts_made_while_writing_are_in_the_manifest(tmp_path) -> None:
    counts = {"rows": 0}

    def counted() -> Iterator[dict[str, Any]]:
        for row in rows(5):
            counts["rows"] += 1
            yield row

    write_parts(tmp_path, Rows(SCHEMA, counted(), counts), 10**6)
    assert Shards(tmp_path).metadata == {"rows": 5}


def test_no_more_than_a_row_group_is_pulled_before_it_is_written(tmp_path) -> None:
    pulled = []

    def source() -> Iterator[dict[str, Any]]:
        for row in rows(20):
            pulled.append(row)
            yield row

    seen = []
    write_parts(
        tmp_path,
        Rows(SCHEMA, source(), rows_per_group=4),
        10**6,
        check=lambda group: seen.append((group.num_rows, len(pulled))),
    )
    assert seen == [(4, 4), (4, 8), (4, 12), (4, 16), (4, 20)]


def test_a_flipped_byte_names_the_file(tmp_path) -> None:
    write_parts(tmp_path, Rows(SCHEMA, rows(50)), 10**6)
    part = tmp_path / "part-00000.parquet"
    data = bytearray(part.read_bytes())
    data[len(data) // 4] ^= 0xFF
    part.write_bytes(data)
    with pytest.raises(BadData, match=r"part-00000\.parquet.*corrupt"):
        list(Shards(tmp_path).rows())


def test_a_truncated_part_is_found_on_opening(tmp_path) -> None:
    write_parts(tmp_path, Rows(SCHEMA, rows(50)), 10**6)
    part = tmp_path / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-10])
    with pytest.raises(BadData, match=r"part-00000\.parquet.*bytes where the manifest says"):
        Shards(tmp_path)


def test_a_missing_part_is_found_on_opening(tmp_path) -> None:
    write_parts(tmp_path, Rows(SCHEMA, rows(50)), 10**6)
    (tmp_path / "part-00000.parquet").unlink()
    with pytest.raises(BadData, match=r"part-00000\.parquet.*missing"):
        Shards(tmp_path)


@pytest.mark.parametrize("text", [None, "{not json"])
def test_a_directory_without_a_manifest_is_no_table(tmp_path, text) -> None:
    if text:
        (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(BadData, match=MANIFEST):
        Shards(tmp_path)
