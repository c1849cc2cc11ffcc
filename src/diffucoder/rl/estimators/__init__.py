"""Estimators of the token log-likelihoods of a masked diffusion model, one file each.

An estimator is made by `get(name, **options)`. It has `log_likelihood(model, batch, generator)
-> float32 [B, L]` and `forwards`, what that costs in forward passes. Scoring the same batch with
a generator in the same state draws the same masks: that is how the new, the old and the
reference policy are compared under equal noise.
"""

from dataclasses import MISSING, fields
from typing import Any

from diffucoder.errors import BadParameters
from diffucoder.rl.estimators.base import Estimator
from diffucoder.rl.estimators.coupled import Coupled
from diffucoder.rl.estimators.decoupled import Decoupled
from diffucoder.rl.estimators.dream_coder import DreamCoder
from diffucoder.rl.estimators.full_mask import FullMask
from diffucoder.rl.estimators.monte_carlo import MonteCarlo
from diffucoder.rl.estimators.stratified_t import StratifiedT
from diffucoder.rl.estimators.trace import Trace

__all__ = ["REGISTRY", "Estimator", "get"]

REGISTRY: dict[str, type] = {
    "coupled": Coupled,
    "decoupled": Decoupled,
    "dream_coder": DreamCoder,
    "full_mask": FullMask,
    "monte_carlo": MonteCarlo,
    "stratified_t": StratifiedT,
    "trace": Trace,
}


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
