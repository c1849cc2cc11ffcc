"""The data report: what went into each step, what came out, and why the rest was rejected."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from diffucoder.data.screening import STEPS

Row = Mapping[str, Any]


def document_steps(documents: Iterable[Row], rejected: Iterable[Row]) -> list[dict[str, Any]]:
    """Count documents and bytes in and out of each step, and by reason what was rejected.

    Args:
        documents: Rows with `bytes`.
        rejected: Rows with `step`, `reason` and `bytes`.

    Returns:
        One record per step, in order: `step`, `documents_in`, `documents_out`, `bytes_in`,
        `bytes_out`, and `rejected`, a list of `reason`, `documents`, `bytes`.
    """
    count = size = 0
    for row in documents:
        count, size = count + 1, size + row["bytes"]
    reasons: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row in rejected:
        reasons[row["step"]][row["reason"]].append(row["bytes"])
    steps = []
    for step in STEPS:
        lost = [
            {"reason": reason, "documents": len(sizes), "bytes": sum(sizes)}
            for reason, sizes in sorted(reasons[step].items())
        ]
        left = count - sum(row["documents"] for row in lost)
        left_size = size - sum(row["bytes"] for row in lost)
        steps.append(
            {
                "step": step,
                "documents_in": count,
                "documents_out": left,
                "bytes_in": size,
                "bytes_out": left_size,
                "rejected": lost,
            }
        )
        count, size = left, left_size
    return steps


def by_source(documents: Iterable[Row]) -> list[dict[str, Any]]:
    """Count documents and bytes of each source and licence.

    Args:
        documents: Rows with `source`, `licence` and `bytes`.

    Returns:
        One record per source and licence, sorted.
    """
    counts: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    for row in documents:
        key = row["source"], row["licence"]
        counts[key] += 1
        sizes[key] += row["bytes"]
    return [
        {"source": source, "licence": licence, "documents": count, "bytes": sizes[source, licence]}
        for (source, licence), count in sorted(counts.items())
    ]


def tally(rows: Iterable[Row], *columns: str) -> list[dict[str, Any]]:
    """Count the rows with each combination of values.

    Args:
        rows: Rows with these columns.
        columns: Names of columns.

    Returns:
        One record per combination, sorted: the values by column, and `count`.
    """
    counts = Counter(tuple(row[column] for column in columns) for row in rows)
    return [
        dict(zip(columns, values, strict=True)) | {"count": count}
        for values, count in sorted(counts.items())
    ]
