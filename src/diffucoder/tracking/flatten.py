"""Nested parameters as MLflow takes them: flat names, short texts."""

from collections.abc import Iterator, Mapping
from typing import Any

# MLflow's limits on one parameter's value and on the number in one call.
LONGEST_VALUE = 6000
BATCH = 100


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Join the keys of nested mappings with dots.

    Args:
        tree: Nested mappings; lists and empty mappings are values.
        prefix: Put before every key.

    Returns:
        Each value by its dotted key, in the order of the tree.
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def text_of(value: object) -> str:
    """The value as text, cut to the length that MLflow takes."""
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def batches(items: list[Any], size: int = BATCH) -> Iterator[list[Any]]:
    """Cut a list into lists of at most `size` items, in order."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
