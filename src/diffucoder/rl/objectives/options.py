"""Options of the objectives; the union of their classes is the registry.

A name with a dot in it is the import path of an objective of the user's own.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from diffucoder.config.choice import ByName, Options, OwnOptions


class _ObjectiveOptions(Options):
    # Whether the scores must be estimates of the ELBO's terms.
    needs_elbo: ClassVar[bool] = False


class GrpoOptions(_ObjectiveOptions):
    """Clipped ratios of single tokens with a k3 KL (DeepSeekMath, DiffuCoder).

    Attributes:
        epsilon: clip range of a token's ratio; DiffuCoder uses 0.5.
        beta: weight of the k3 KL to the reference; DiffuCoder uses 0.01. 0: there is none.
    """

    implementation: ClassVar[str] = "diffucoder.rl.objectives.grpo.Grpo"
    name: Literal["grpo"] = "grpo"
    epsilon: float = Field(default=0.5, gt=0)
    beta: float = Field(default=0.01, ge=0)


class EspoOptions(_ObjectiveOptions):
    """One clipped ratio per completion with a k2 KL (ESPO, arXiv 2512.03759).

    Attributes:
        epsilon: clip range of a completion's ratio; 0.2 is TRL's default.
        beta: weight of the k2 KL to the reference; as that of `grpo`. 0: there is none.
    """

    implementation: ClassVar[str] = "diffucoder.rl.objectives.espo.Espo"
    name: Literal["espo"] = "espo"
    epsilon: float = Field(default=0.2, gt=0)
    beta: float = Field(default=0.01, ge=0)


class GdsdOptions(_ObjectiveOptions):
    """Regression on an advantage-guided teacher (GDSD, arXiv 2605.29398).

    Attributes:
        psi: how far an advantage of 1 moves the teacher, nats per token; 0.005 is about what
            `epsilon` lets 44 tokens move.
        epsilon: clip range of a completion's ratio; 0.2 is TRL's default.
        beta: share of the reference in the teacher; as the KL weight of `grpo`. 0: there is none.
    """

    implementation: ClassVar[str] = "diffucoder.rl.objectives.gdsd.Gdsd"
    name: Literal["gdsd"] = "gdsd"
    psi: float = Field(default=0.005, gt=0)
    epsilon: float = Field(default=0.2, gt=0, lt=1)
    beta: float = Field(default=0.01, ge=0, le=1)


class SpgOptions(_ObjectiveOptions):
    """The sandwiched policy gradient (SPG, arXiv 2510.09541).

    Attributes:
        power: the beta of the upper bound; the paper uses 1.5.
        mix: share of the upper bound in the score of completions with a negative advantage; the
            paper uses 0.5.
    """

    implementation: ClassVar[str] = "diffucoder.rl.objectives.spg.Spg"
    name: Literal["spg"] = "spg"
    needs_elbo: ClassVar[bool] = True
    power: float = Field(default=1.5, ge=1)
    mix: float = Field(default=0.5, ge=0, le=1)


class Wd1Options(_ObjectiveOptions):
    """Weighted log-likelihoods without ratios (wd1, arXiv 2507.08838).

    Attributes:
        psi: inverse temperature of the weights; the paper uses 1.
    """

    implementation: ClassVar[str] = "diffucoder.rl.objectives.wd1.Wd1"
    name: Literal["wd1"] = "wd1"
    psi: float = Field(default=1.0, gt=0)


class OwnObjectiveOptions(OwnOptions):
    """An objective of the user's own, and its options.

    Attributes:
        name: import path of a subclass of `diffucoder.rl.objectives.base.Objective`.
    """

    kind: ClassVar[str] = "objective"
    base: ClassVar[str] = "diffucoder.rl.objectives.base.Objective"

    @property
    def needs_elbo(self) -> bool:
        """What the objective says of itself."""
        return self.make().needs_elbo


ObjectiveOptions = Annotated[
    EspoOptions | GdsdOptions | GrpoOptions | SpgOptions | Wd1Options | OwnObjectiveOptions,
    ByName("objective"),
]
