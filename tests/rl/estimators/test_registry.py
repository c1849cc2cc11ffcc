import pytest

from diffucoder.errors import BadParameters
from diffucoder.rl.estimators import REGISTRY, get


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_registered_estimator_can_be_made(name: str) -> None:
    assert callable(get(name, mask_token_id=3).log_likelihood)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(BadParameters, match=r"'cupled': expected one of \['coupled', 'full_mask'"):
        get("cupled", mask_token_id=3)
