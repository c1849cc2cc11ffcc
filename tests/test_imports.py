"""Objects by import path."""

import math

import pytest

from diffucoder.errors import BadParameters
from diffucoder.imports import load_object


def test_a_path_names_an_object_of_a_module() -> None:
    assert load_object("math.sqrt", "function") is math.sqrt


@pytest.mark.parametrize(
    "path", ["no_such_package.f", "math.no_such", "math", "", ".f", "math.sqrt.f"]
)
def test_what_cannot_be_imported_is_named_with_what_it_was_for(path: str) -> None:
    with pytest.raises(BadParameters, match=r"^estimator '.*' cannot be imported .*PYTHONPATH"):
        load_object(path, "estimator")
