from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffucoder.data.packed_row import FILLER, PackedRow
from diffucoder.data.packing import ShardReader, pack
from diffucoder.data.shards import Rows, write_parts
from diffucoder.data.tables import packed_rows
from diffucoder.errors import BadData

END = 0
documents_strategy = st.lists(st.lists(st.integers(0, 9), max_size=40), max_size=12)


@given(documents=documents_strategy, length=st.integers(1, 17))
def test_no_token_is_lost_or_doubled(documents, length) -> None:
    rows = list(pack(documents, length, END))

    assert all(len(row["input_ids"]) == len(row["document_ids"]) == length for row in rows)
    tokens = [token for row in rows for token in row["input_ids"]]
    ids = [number for row in rows for number in row["document_ids"]]
    unpacked = [[] for _ in documents]
    for token, number in zip(tokens, ids, strict=True):
        if number != FILLER:
            unpacked[number].append(token)
    assert unpacked == [[*document, END] for document in documents]


@given(documents=documents_strategy, length=st.integers(1, 17))
def test_only_the_end_of_the_last_row_is_filled(documents, length) -> None:
    ids = [number for row in pack(documents, length, END) for number in row["document_ids"]]

    filled = ids.count(FILLER)
    assert filled < length
    assert FILLER not in ids[: len(ids) - filled]
    assert ids[: len(ids) - filled] == sorted(ids[: len(ids) - filled])


def test_rows_come_before_the_corpus_is_read_to_its_end() -> None:
    def documents() -> Iterator[list[int]]:
        yield [1] * 10
        raise AssertionError("read ahead of need")

    row = next(pack(documents(), 5, END))
    assert row == {"input_ids": [1] * 5, "document_ids": [0] * 5}


def test_a_length_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="length"):
        list(pack([[1]], 0, END))


@pytest.fixture
def reader(tmp_path) -> tuple[ShardReader, list[PackedRow]]:
    """57 rows of 4 tokens in row groups of 5, over several parts."""
    documents = [list(range(1, 2 + size % 9)) for size in range(40)]
    rows = list(pack(documents, 4, END))[:57]
    table = Rows(packed_rows(4), rows, {"length": 4}, rows_per_group=5)
    manifest = write_parts(tmp_path, table, part_bytes=1200)
    assert len(manifest["parts"]) > 2
    reader = ShardReader(tmp_path, window=3)
    return reader, rows


def test_rows_read_at_random_are_the_rows_written(reader) -> None:
    reader, rows = reader
    wanted = [56, 0, 17, 17, 4, 5, 31]
    input_ids, document_ids = reader.read_rows(wanted)
    assert input_ids.dtype == document_ids.dtype == np.int64
    assert input_ids.tolist() == [rows[index]["input_ids"] for index in wanted]
    assert document_ids.tolist() == [rows[index]["document_ids"] for index in wanted]
    assert len(reader) == len(rows)


def test_a_row_that_does_not_exist_is_refused(reader) -> None:
    reader, rows = reader
    for index in (-1, len(rows)):
        with pytest.raises(IndexError, match="57"):
            reader.read_rows([index])


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), epoch=st.integers(0, 5))
def test_an_epoch_holds_every_row_once(tmp_path_factory, seed, epoch) -> None:
    path = tmp_path_factory.mktemp("shards")
    rows = list(pack([[1] * 100], 4, END))
    write_parts(path, Rows(packed_rows(4), rows, {"length": 4}, rows_per_group=3), 2**20)
    reader = ShardReader(path, window=2)
    size = len(reader)
    order = reader.shuffled(range(epoch * size, (epoch + 1) * size), seed)
    assert sorted(order) == list(range(size))


def test_the_order_depends_on_seed_and_epoch(reader) -> None:
    reader, _ = reader
    first = reader.shuffled(range(57), seed=1)
    assert (first == reader.shuffled(range(57), seed=1)).all()
    assert (first != reader.shuffled(range(57), seed=2)).any()
    assert (first != reader.shuffled(range(57, 114), seed=1)).any()
    assert (first != np.arange(57)).any()


@pytest.mark.parametrize("start", [0, 1, 23, 56, 57, 80])
def test_shuffled_reading_starts_anywhere(reader, start, tmp_path) -> None:
    reader, rows = reader
    read = [tokens.tolist() for tokens, _ in reader.rows(start, seed=7, batch=10)]
    end = (start // 57 + 1) * 57
    order = ShardReader(tmp_path, window=3).shuffled(range(start, end), seed=7)
    assert read == [rows[index]["input_ids"] for index in order]


def test_unshuffled_reading_follows_the_corpus(reader) -> None:
    reader, rows = reader
    read = [tokens.tolist() for tokens, _ in reader.rows(start=13)]
    assert read == [row["input_ids"] for row in rows[13:]]


def test_memory_holds_no_more_row_groups_than_the_window(reader) -> None:
    reader, _ = reader
    list(reader.rows(seed=3))
    assert reader.groups_in_memory == 3


def test_a_shuffled_window_reads_each_row_group_once(reader) -> None:
    reader, _ = reader
    groups = reader.shuffled(range(57), seed=5) // 5
    for group in set(groups):
        [positions] = np.nonzero(groups == group)
        # A window has three groups of five rows: no group is needed for longer than that.
        assert positions[-1] - positions[0] < 15


def test_another_table_is_no_packed_corpus(tmp_path) -> None:
    write_parts(tmp_path, Rows(packed_rows(4), []), 100)
    with pytest.raises(BadData, match="row length"):
        ShardReader(tmp_path)
