import pytest

from diffucoder.data.decontamination import ContaminationIndex
from diffucoder.data.documents import Document, Rejection
from diffucoder.data.report import by_source, document_steps, tally
from diffucoder.data.screening import as_document, as_row, drop_rejected, find_rejected

from_template = '''def {name}(first, second):
    """Combine two values in the way that is called {name}."""
    {name}_of_first = first.{name}(second) + len({name!r})
    {name}_of_second = [item.{name} for item in second if item.{name} != first]
    print({name}_of_first, "and", {name}_of_second, "make", {name!r})
    return {name}_of_first, {name}_of_second
'''
SECRET = "def heldout(xs):\n    return [x * x + 7 for x in xs if x % 11 == 5 and x not in (1, 2)]\n"


@pytest.fixture
def screened(params, document) -> tuple[list[Document], list[Rejection]]:
    documents = [
        document(from_template.format(name="zip"), "good.py"),
        document(b"\xff\xfe", "bytes.py"),
        document("x = 1\n", "small.py"),
        document(from_template.format(name="zip") + "\n", "copy.py"),
        document(from_template.format(name="map") + SECRET, "leak.py"),
        document(from_template.format(name="map"), "other.py"),
        document("if" + from_template.format(name="map"), "broken.py"),
    ]
    contamination = ContaminationIndex([("held", SECRET)], params.decontamination)
    return documents, list(find_rejected(documents, params, contamination))


def test_each_document_is_rejected_at_its_first_step_with_a_reason(screened) -> None:
    _, rejected = screened
    assert [(row.path, row.step, row.reason) for row in rejected] == [
        ("bytes.py", "read", "not_utf8"),
        ("small.py", "filter", "too_small"),
        ("copy.py", "deduplicate", "near_duplicate"),
        ("leak.py", "decontaminate", "contaminated"),
        ("broken.py", "filter", "does_not_parse"),
    ]


def test_what_is_not_rejected_is_kept_in_order(screened) -> None:
    documents, rejected = screened
    kept = list(drop_rejected(map(as_row, documents), map(as_row, rejected)))
    assert [row["path"] for row in kept] == ["good.py", "other.py"]
    assert as_document(kept[0]) == documents[0]


def test_the_report_adds_up(screened) -> None:
    documents, rejected = screened
    steps = document_steps(map(as_row, documents), map(as_row, rejected))
    assert [(step["step"], step["documents_in"], step["documents_out"]) for step in steps] == [
        ("read", 7, 6),
        ("filter", 6, 4),
        ("decontaminate", 4, 3),
        ("deduplicate", 3, 2),
    ]
    kept = documents[0].bytes + documents[5].bytes
    assert steps[-1]["bytes_out"] == kept
    assert steps[0]["bytes_in"] == sum(document.bytes for document in documents)
    assert steps[1]["rejected"] == [
        {"reason": "does_not_parse", "documents": 1, "bytes": documents[6].bytes},
        {"reason": "too_small", "documents": 1, "bytes": 6},
    ]


def test_sources_are_counted() -> None:
    rows = [{"source": "s", "licence": licence, "bytes": 2} for licence in ("MIT", "BSD", "MIT")]
    assert by_source(rows) == [
        {"source": "s", "licence": "BSD", "documents": 1, "bytes": 2},
        {"source": "s", "licence": "MIT", "documents": 2, "bytes": 4},
    ]


def test_tally_counts_combinations() -> None:
    rows = [{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 1, "b": 2}]
    assert tally(rows, "a", "b") == [
        {"a": 1, "b": 2, "count": 2},
        {"a": 1, "b": 3, "count": 1},
    ]
    assert tally([], "a") == []
