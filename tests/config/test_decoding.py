import pytest
from pydantic import ValidationError

from diffucoder.config.decoding import DecodingParams


def test_as_many_steps_as_tokens_are_allowed() -> None:
    assert DecodingParams(rule="entropy", max_new_tokens=8, steps=8).temperature == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 9}, r"steps \(9\) is more than max_new_tokens \(8\).*no more steps than tokens"),
        ({"steps": 0}, "steps\n  Input should be greater than or equal to 1"),
        ({"max_new_tokens": 0}, "max_new_tokens\n"),
        ({"temperature": -0.1}, "temperature\n  Input should be greater than or equal to 0"),
        ({"alg_temp": -1}, "alg_temp\n"),
        ({"top_p": 0}, "top_p\n  Input should be greater than 0"),
        ({"top_k": -1}, "top_k\n"),
        ({"eps": 1}, "eps\n  Input should be less than 1"),
        ({"rule": "left_to_right"}, "rule\n  Input should be 'origin', 'maskgit_plus'"),
        ({"beams": 4}, "beams\n  Extra inputs are not permitted"),
    ],
)
def test_bad_values_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DecodingParams(**{"rule": "entropy", "max_new_tokens": 8, "steps": 4} | options)
