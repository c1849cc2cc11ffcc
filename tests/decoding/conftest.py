from collections.abc import Callable

import pytest
from transformers import PreTrainedModel

VOCABULARY, CONTEXT = 13, 32


@pytest.fixture(scope="module")
def model(make_model: Callable[..., PreTrainedModel]) -> PreTrainedModel:
    return make_model(VOCABULARY, context=CONTEXT)
