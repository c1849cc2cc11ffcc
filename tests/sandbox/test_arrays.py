"""Arrays in the crossing format."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from diffucoder.sandbox.inside import arrays
from diffucoder.sandbox.inside.wire import Malformed

KINDS = st.one_of(
    arrays_of.boolean_dtypes(),
    arrays_of.integer_dtypes(endianness="?"),
    arrays_of.floating_dtypes(endianness="?"),
    arrays_of.complex_number_dtypes(endianness="?"),
    arrays_of.unicode_string_dtypes(endianness="?", max_len=5),
)


@given(arrays_of.arrays(KINDS, arrays_of.array_shapes(min_dims=0, min_side=0, max_side=4)))
def test_array_comes_back_as_it_was(array: np.ndarray) -> None:
    (payload,) = arrays.encode(array).values()
    back = arrays.decode(payload)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    assert back.flags.writeable


def test_view_comes_back_in_order() -> None:
    array = np.arange(12).reshape(3, 4)[::2, ::-1].T
    assert (arrays.decode(arrays.encode(array)["N"]) == array).all()


@pytest.mark.parametrize(
    "value", [[1], np.float64(1), np.array([object()]), np.zeros(2, "f4,i4"), np.zeros(1, "M8[s]")]
)
def test_what_could_hold_anything_is_no_array_of_plain_data(value: Any) -> None:
    assert arrays.encode(value) is None


@pytest.mark.parametrize(
    "payload",
    [
        None, [], ["<f8", [1]], ["|O8", [1], "00" * 8], ["<f8", [1], "00"], ["<f8", [2], "00" * 8],
        ["<f8", [-1], "00" * 8], ["<f8", [True], "00" * 8], ["<f8", [2**62, 2**62], ""],
        ["f4,i4", [1], "00" * 8], ["<f8", [1], "zz"], ["<f8", 1, "00" * 8], [8, [1], "00" * 8],
        ["<U0", [1], ""], ["<f3", [1], "000000"],
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_array_is_refused(payload: Any) -> None:
    with pytest.raises((Malformed, ValueError, TypeError)):
        arrays.decode(payload)
