import pytest
from pydantic import ValidationError

from diffucoder.config.decoding import DecodingParams


def test_as_many_steps_as_tokens_are_allowed() -> None:
    assert DecodingParams(rule="entropy", max_new_tokens=8, steps=8).temperature == 0


def test_blocks_share_the_steps_evenly() -> None:
    DecodingParams(rule="entropy", max_new_tokens=8, steps=4, block_length=2, cache="dual")


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
        ({"threshold": 0}, "threshold\n  Input should be greater than 0"),
        ({"rule": "threshold", "alg_temp": 1}, "alg_temp is 1.0 and rule is threshold"),
        ({"block_length": 3}, r"block_length \(3\) must divide max_new_tokens \(8\)"),
        ({"block_length": 1}, r"number of blocks must divide steps \(4\)"),
        ({"cache": "suffix"}, "cache\n  Input should be 'none', 'prefix' or 'dual'"),
        ({"refresh_every": 2}, "refresh_every is 2 and cache is none"),
        ({"max_padding": 2}, "max_padding\n  Input should be less than or equal to 1"),
        ({"beams": 4}, "beams\n  Extra inputs are not permitted"),
    ],
)
def test_bad_values_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DecodingParams(**{"rule": "entropy", "max_new_tokens": 8, "steps": 4} | options)
