"""Options of the estimators; the union of their classes is the registry.

A name with a dot in it is the import path of an estimator of the user's own.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from diffucoder.config.choice import ByName, Options, OwnOptions


class _EstimatorOptions(Options):
    @property
    def is_elbo(self) -> bool:
        """Whether the estimate is a mean of draws of the ELBO's terms over random times."""
        return False


class PairedOptions(_EstimatorOptions):
    """What `coupled` and `decoupled` share.

    Attributes:
        pairs: lambda, the number of pairs of half views; the paper uses 1.
        low: smallest time; the paper uses 0.2, since 1/t explodes below.
        high: largest time; the paper uses 0.8, since 1/(1 - t) explodes above.
        full_view: whether a view with everything masked is added; the paper has it.
    """

    pairs: int = Field(default=1, ge=1)
    low: float = Field(default=0.2, gt=0, lt=1)
    high: float = Field(default=0.8, gt=0, lt=1)
    full_view: bool = True

    @model_validator(mode="after")
    def _times_in_order(self) -> "PairedOptions":
        _in_order(self.low, self.high)
        return self

    @property
    def is_elbo(self) -> bool:
        """The full view is no draw of the ELBO's terms."""
        return not self.full_view


class CoupledOptions(PairedOptions):
    """The coupled estimator (DiffuCoder, arXiv 2506.20639, section 4)."""

    implementation: ClassVar[str] = "diffucoder.rl.estimators.coupled.Coupled"
    name: Literal["coupled"] = "coupled"


class DecoupledOptions(PairedOptions):
    """The same views under independent masks (arXiv 2506.20639, section 5)."""

    implementation: ClassVar[str] = "diffucoder.rl.estimators.coupled.Decoupled"
    name: Literal["decoupled"] = "decoupled"


class DreamCoderOptions(_EstimatorOptions):
    """Complementary views without weights (Dream-Coder, arXiv 2509.01142); no options."""

    implementation: ClassVar[str] = "diffucoder.rl.estimators.dream_coder.DreamCoder"
    name: Literal["dream_coder"] = "dream_coder"


class FullMaskOptions(_EstimatorOptions):
    """One view with everything masked (diffu-GRPO of d1, arXiv 2504.12216, section 3).

    Attributes:
        prompt_masking: probability that a prompt token is masked; d1 uses 0.15.
    """

    implementation: ClassVar[str] = "diffucoder.rl.estimators.full_mask.FullMask"
    name: Literal["full_mask"] = "full_mask"
    prompt_masking: float = Field(default=0.0, ge=0, lt=1)


class RandomViewsOptions(_EstimatorOptions):
    """What `monte_carlo` and `stratified_t` share.

    Attributes:
        draws: K, the number of random views; 3 cost as much as `coupled`.
        low: smallest time; 0.001 as in training (MDLM, LLaDA), since 1/t has no bound.
        high: largest time.
    """

    draws: int = Field(default=3, ge=1)
    low: float = Field(default=1e-3, gt=0, le=1)
    high: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _times_in_order(self) -> "RandomViewsOptions":
        _in_order(self.low, self.high)
        return self

    @property
    def is_elbo(self) -> bool:
        """Every view is a draw of the ELBO's terms."""
        return True


class MonteCarloOptions(RandomViewsOptions):
    """Independent draws of the ELBO's terms (MDLM, arXiv 2406.07524; LLaDA, arXiv 2502.09992)."""

    implementation: ClassVar[str] = "diffucoder.rl.estimators.monte_carlo.MonteCarlo"
    name: Literal["monte_carlo"] = "monte_carlo"


class StratifiedTOptions(RandomViewsOptions):
    """Draws of the ELBO's terms at times spread evenly (stratified sampling)."""

    implementation: ClassVar[str] = "diffucoder.rl.estimators.monte_carlo.StratifiedT"
    name: Literal["stratified_t"] = "stratified_t"


class TraceOptions(_EstimatorOptions):
    """Tokens scored at the step that revealed them (TraceRL, arXiv 2509.06949, section 4).

    Attributes:
        group: consecutive decoding steps that are scored together; the paper uses 8.
    """

    implementation: ClassVar[str] = "diffucoder.rl.estimators.trace.Trace"
    name: Literal["trace"] = "trace"
    group: int = Field(default=8, ge=1)


class OwnEstimatorOptions(OwnOptions):
    """An estimator of the user's own, and its options.

    Attributes:
        name: import path of a subclass of `diffucoder.rl.estimators.base.Estimator`.
    """

    kind: ClassVar[str] = "estimator"
    base: ClassVar[str] = "diffucoder.rl.estimators.base.Estimator"

    @property
    def is_elbo(self) -> bool:
        """What the estimator says of itself."""
        return self.make(mask_token_id=0, steps=1).is_elbo


EstimatorOptions = Annotated[
    CoupledOptions
    | DecoupledOptions
    | DreamCoderOptions
    | FullMaskOptions
    | MonteCarloOptions
    | StratifiedTOptions
    | TraceOptions
    | OwnEstimatorOptions,
    ByName("estimator"),
]


def _in_order(low: float, high: float) -> None:
    if low > high:
        raise ValueError(f"low ({low}) must not be above high ({high})")
