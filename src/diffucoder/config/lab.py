"""Options of the lab: what is measured of the estimators, on which checkpoint."""

from pydantic import Field, model_validator

from diffucoder.config.base import Params
from diffucoder.config.decoding import DecodingParams
from diffucoder.config.engine import RankParams
from diffucoder.config.evaluation import BootstrapParams
from diffucoder.config.labels import Label
from diffucoder.rl.estimators.options import EstimatorOptions


class LabParams(Params):
    """Measurements of estimators on the completions of one checkpoint.

    Attributes:
        checkpoint: directory of the checkpoint.
        problems: number of validation problems, evenly spaced over the table, each answered once.
        max_prompt_tokens: longer prompts are left out.
        decoding: how the completions are sampled.
        estimators: estimators by label; in YAML a list of labels under `estimators`.
        baseline: the label that the variances of the others are compared with.
        forwards: budgets of forward passes per completion at which estimators are compared; one
            that does not pay for a call leaves the estimator out.
        draws: independent estimates of each, at each budget.
        reference_draws: draws of the ELBO that the estimates are held against.
        gradient_completions: number of completions, the first, whose gradients are measured.
        gradient_draws: independent gradients of each estimator.
        bootstrap: how the intervals are found, over completions.
        engine: processes; estimators are shared out over them.
        work: folder for the log and the parts.
    """

    checkpoint: str
    problems: int = Field(ge=2)
    max_prompt_tokens: int = Field(ge=1)
    decoding: DecodingParams
    estimators: dict[Label, EstimatorOptions] = Field(min_length=1)
    baseline: str
    forwards: list[int] = Field(min_length=1)
    draws: int = Field(ge=2)
    reference_draws: int = Field(ge=1)
    gradient_completions: int = Field(ge=1)
    gradient_draws: int = Field(ge=2)
    bootstrap: BootstrapParams
    engine: RankParams
    work: str

    @model_validator(mode="after")
    def _comparable(self) -> "LabParams":
        if self.baseline not in self.estimators:
            raise ValueError(
                f"baseline {self.baseline!r} is not one of estimators {sorted(self.estimators)}"
            )
        if min(self.forwards) < 1:
            raise ValueError(f"forwards must be positive, got {self.forwards}")
        return self
