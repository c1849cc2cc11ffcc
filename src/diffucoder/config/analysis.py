"""Options of the analysis stage: the temperature sweep and the measures taken from it."""

from pydantic import Field, model_validator

from diffucoder.config.base import Params
from diffucoder.config.checkpoints import CheckpointName
from diffucoder.config.decoding import DecodingParams
from diffucoder.config.engine import RankParams
from diffucoder.config.evaluation import BootstrapParams
from diffucoder.config.rewards import SandboxParams


class AnalysisParams(Params):
    """The analysis stage.

    Attributes:
        checkpoints: whose completions are compared.
        problems: number of held-out problems, evenly spaced over the table; null takes all.
        samples: completions per problem at each temperature.
        decoding: how they are decoded, one token per step, since AR-ness is defined for that alone.
        temperatures: the sweep; the decoding gives none of its own.
        half_step_temperature: the temperature at which decoding in half the steps is compared
            with decoding in all of them; one of `temperatures`.
        ar_ks: the k of AR-ness@k.
        ks: the k of pass@k.
        bootstrap: how the intervals are found.
        sandbox: how programs are run, and their limits.
        engine: processes that decode, `micro_batch` completions together on each.
        work: folder for the decoding's log and parts.
        trace: alternatives to record at each reveal, for the report; null records no trace.
    """

    checkpoints: list[CheckpointName] = Field(min_length=1)
    problems: int | None = Field(ge=1)
    samples: int = Field(ge=1)
    decoding: DecodingParams
    temperatures: list[float] = Field(min_length=1)
    half_step_temperature: float
    ar_ks: list[int] = Field(min_length=1)
    ks: list[int] = Field(min_length=1)
    bootstrap: BootstrapParams
    sandbox: SandboxParams
    engine: RankParams
    work: str
    trace: int | None = Field(ge=0)

    @model_validator(mode="after")
    def _comparable(self) -> "AnalysisParams":
        if self.decoding.steps != self.decoding.max_new_tokens or self.decoding.eps != 0:
            raise ValueError(
                f"decoding reveals several tokens in some step (steps {self.decoding.steps}, "
                f"max_new_tokens {self.decoding.max_new_tokens}, eps {self.decoding.eps}): AR-ness "
                "is defined for one per step, so set steps to max_new_tokens and eps to 0"
            )
        if self.decoding.temperature != 0:
            raise ValueError(
                f"decoding.temperature is {self.decoding.temperature}, which temperatures "
                f"{self.temperatures} replace: leave it out"
            )
        if not self.decoding.rule_record.fixed_count:
            raise ValueError(
                f"decoding.rule is {self.decoding.rule}, which may reveal several tokens per step: "
                "AR-ness is defined for one per step, so choose a rule that reveals a fixed "
                "count, such as maskgit_plus, topk_margin or entropy"
            )
        if any(value < 0 for value in self.temperatures):
            raise ValueError(f"temperatures must not be negative, got {self.temperatures}")
        if self.half_step_temperature not in self.temperatures:
            raise ValueError(
                f"half_step_temperature {self.half_step_temperature} is not one of temperatures "
                f"{self.temperatures}: add it there, so that there is something to compare with"
            )
        if any(k < 1 for k in [*self.ks, *self.ar_ks]) or 1 not in self.ks:
            raise ValueError(
                f"ks and ar_ks must be positive and ks contain 1, got {self.ks} and {self.ar_ks}"
            )
        return self
