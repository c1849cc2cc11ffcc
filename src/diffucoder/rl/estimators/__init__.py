"""Estimators of the token log-likelihoods of a masked diffusion model, one file each.

An estimator has one method, `log_likelihood(model, batch, generator) -> float32 [B, L]`, and
is made by `get(name, **options)`. Scoring the same batch with a generator in the same state
draws the same masks: that is how the new, the old and the reference policy are compared under
equal noise.
"""

from dataclasses import MISSING, fields
from typing import Any, Protocol

from torch import Tensor, nn

from diffucoder.diffusion.draws import Draws
from diffucoder.errors import BadParameters
from diffucoder.rl.estimators.coupled import Coupled
from diffucoder.rl.estimators.full_mask import FullMask
from diffucoder.rl.rollouts import CompletionBatch

REGISTRY: dict[str, type] = {"coupled": Coupled, "full_mask": FullMask}


class Estimator(Protocol):
    """What every estimator offers."""

    def log_likelihood(self, model: nn.Module, batch: CompletionBatch, generator: Draws) -> Tensor:
        """Estimated log-likelihood of each completion token: float32 `[B, L]`."""
        ...


def get(name: str, **options: Any) -> Estimator:
    """Make an estimator by name.

    Args:
        name: a key of `REGISTRY`.
        options: fields of that estimator; `mask_token_id` always.

    Raises:
        BadParameters: for an unknown name or option, listing the known ones, or for a field
            without a default that is not given.
    """
    if name not in REGISTRY:
        raise BadParameters(f"unknown estimator {name!r}: expected one of {sorted(REGISTRY)}")
    its_fields = fields(REGISTRY[name])
    known = [field.name for field in its_fields]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise BadParameters(f"estimator {name!r} has no option {unknown}: expected some of {known}")
    required = {field.name for field in its_fields if field.default is MISSING}
    if absent := sorted(required - set(options)):
        raise BadParameters(f"estimator {name!r} needs the option {absent}: pass it to `get`")
    return REGISTRY[name](**options)
