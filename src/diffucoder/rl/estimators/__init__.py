"""Estimators of the token log-likelihoods of a masked diffusion model.

An estimator is made by `make`, from its options or from a name. It has `log_likelihood(model,
batch, generator) -> float32 [B, L]` and `forwards`, what that costs in forward passes. Scoring the
same batch with a generator in the same state draws the same masks: that is how the new, the old
and the reference policy are compared under equal noise.
"""

from typing import TYPE_CHECKING

from diffucoder.config.choice import default_options, registry
from diffucoder.config.engine import LOGITS_MIB
from diffucoder.rl.estimators.options import EstimatorOptions

if TYPE_CHECKING:
    from diffucoder.rl.estimators.base import Estimator

__all__ = ["NAMES", "make"]

# The estimators that the project brings.
NAMES = tuple(sorted(registry(EstimatorOptions)))


def make(
    options: EstimatorOptions | str,
    mask_token_id: int,
    steps: int | None = None,
    logits_mib: float = LOGITS_MIB,
) -> "Estimator":
    """Make an estimator.

    Args:
        options: an instance of its option class; or its name, one of `NAMES` or the import path of
            a class of the user's own, for its defaults.
        mask_token_id: the mask token.
        steps: steps of the decoding that made the completions; `trace` needs them, the others do
            not read them.
        logits_mib: memory for logits and what is computed from them, in MiB.

    Raises:
        BadParameters: for an unknown name, listing the known ones, or if it needs `steps` and got
            none.
    """
    named = isinstance(options, str)
    chosen = default_options(EstimatorOptions, "estimator", options) if named else options
    return chosen.make(mask_token_id=mask_token_id, steps=steps, logits_mib=logits_mib)
