"""Options of the estimators of token log-likelihoods."""

from typing import Any, Literal

from pydantic import Field, model_validator

from diffucoder.config.base import Params

EstimatorName = Literal[
    "coupled", "decoupled", "dream_coder", "full_mask", "monte_carlo", "stratified_t", "trace"
]


class PairedParams(Params):
    """Options of `coupled` and `decoupled`.

    Attributes:
        pairs: lambda, pairs of half views.
        low: smallest time.
        high: largest time.
        full_view: whether a view with everything hidden is added.
    """

    pairs: int = Field(ge=1)
    low: float = Field(gt=0, lt=1)
    high: float = Field(gt=0, lt=1)
    full_view: bool

    @model_validator(mode="after")
    def _times_in_order(self) -> "PairedParams":
        _in_order(self.low, self.high)
        return self


class DrawsParams(Params):
    """Options of `monte_carlo` and `stratified_t`.

    Attributes:
        draws: K, random views.
        low: smallest time.
        high: largest time.
    """

    draws: int = Field(ge=1)
    low: float = Field(gt=0, le=1)
    high: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _times_in_order(self) -> "DrawsParams":
        _in_order(self.low, self.high)
        return self


class FullMaskParams(Params):
    """Options of `full_mask`.

    Attributes:
        prompt_masking: probability that a prompt token is hidden.
    """

    prompt_masking: float = Field(ge=0, lt=1)


class TraceParams(Params):
    """Options of `trace`.

    Attributes:
        group: consecutive decoding steps scored together.
    """

    group: int = Field(ge=1)


class EstimatorParams(Params):
    """The estimator of token log-likelihoods, and the options of each.

    Attributes:
        name: a key of `diffucoder.rl.estimators.REGISTRY`; the options of the others are not
            read. `dream_coder` has none.
    """

    name: EstimatorName
    coupled: PairedParams
    decoupled: PairedParams
    full_mask: FullMaskParams
    monte_carlo: DrawsParams
    stratified_t: DrawsParams
    trace: TraceParams

    def options(self, name: EstimatorName, steps: int) -> dict[str, Any]:
        """The keyword arguments of `diffucoder.rl.estimators.get`, beside the mask token.

        Args:
            name: of the estimator.
            steps: of the decoding that makes the completions.
        """
        own = getattr(self, name).model_dump() if name != "dream_coder" else {}
        return own | ({"steps": steps} if name == "trace" else {})

    @property
    def draws_elbo(self) -> bool:
        """Whether the estimate is a mean of draws of the ELBO's terms."""
        if self.name in ("coupled", "decoupled"):
            return not getattr(self, self.name).full_view
        return self.name in ("monte_carlo", "stratified_t")


def _in_order(low: float, high: float) -> None:
    if low > high:
        raise ValueError(f"low ({low}) must not be above high ({high})")
