import pytest

from diffucoder.errors import BadParameters
from diffucoder.rl.estimators import REGISTRY, get


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_registered_estimator_can_be_made(name: str) -> None:
    assert callable(get(name, mask_token_id=3).log_likelihood)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(BadParameters, match=r"'cupled': expected one of \['coupled', 'full_mask'"):
        get("cupled", mask_token_id=3)


def test_an_option_that_it_lacks_is_named() -> None:
    with pytest.raises(BadParameters, match=r"'full_mask' has no option \['pairs'\]"):
        get("full_mask", mask_token_id=3, pairs=1)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_a_required_field_that_is_not_given_is_named(name: str) -> None:
    with pytest.raises(BadParameters, match=rf"'{name}' needs the option \['mask_token_id'\]"):
        get(name)
