"""Options of the evaluation stage: what is decoded, how, and how sure the numbers are."""

from pydantic import Field, model_validator

from diffucoder.config.base import Params
from diffucoder.config.checkpoints import CheckpointName
from diffucoder.config.decoding import DecodingParams
from diffucoder.config.engine import RankParams
from diffucoder.config.rewards import SandboxParams
from diffucoder.evaluation.suites.options import ModelStyle, SuiteName, SuiteParams


class BootstrapParams(Params):
    """Intervals from resampling problems with replacement.

    Attributes:
        resamples: draws of a whole set of problems.
        confidence: share of the resampled means that lies inside the interval.
    """

    resamples: int = Field(ge=100)
    confidence: float = Field(gt=0, lt=1)


class EvaluationParams(Params):
    """The evaluation stage.

    Attributes:
        problems: number of held-out problems, evenly spaced over the table; null takes all.
        samples: for each checkpoint, sampled completions per held-out problem.
        sampled: decoding of the sampled completions.
        greedy: decoding of one more completion per problem, at temperature 0.
        suites_folder: where the files of external suites lie, absolute or from the
            project's root.
        styles: how each checkpoint is asked an external suite: `instruct` as a user's turn,
            `completion` as the beginning of a program that it goes on with. Suites of holes are
            asked as what they are.
        infilling_lengths: tokens to try for a hole; the likeliest filling is taken.
        suites: external suites; one whose file is absent is skipped and reported.
        ks: the k of pass@k; one above a problem's number of samples is left out.
        bootstrap: how the intervals are found.
        sandbox: how programs are run, and their limits.
        engine: processes that decode, `micro_batch` completions together on each.
        work: folder for the decoding's log and parts.
        trace: alternatives to record at each reveal, in `work`; null records no trace.
    """

    problems: int | None = Field(ge=1)
    samples: dict[CheckpointName, int]
    sampled: DecodingParams
    greedy: DecodingParams
    suites_folder: str
    styles: dict[CheckpointName, ModelStyle]
    infilling_lengths: list[int] = Field(min_length=1)
    suites: dict[SuiteName, SuiteParams]
    ks: list[int] = Field(min_length=1)
    bootstrap: BootstrapParams
    sandbox: SandboxParams
    engine: RankParams
    work: str
    trace: int | None = Field(ge=0)

    @model_validator(mode="after")
    def _measurable(self) -> "EvaluationParams":
        if any(count < 1 for count in self.samples.values()):
            raise ValueError(f"samples must be at least 1 for each checkpoint, got {self.samples}")
        if any(k < 1 for k in self.ks) or 1 not in self.ks:
            raise ValueError(f"ks must be positive and contain 1, got {self.ks}")
        asked = {name for suite in self.suites.values() for name in suite.checkpoints}
        if without := sorted(asked - set(self.styles)):
            raise ValueError(f"styles has no entry for {without}, which suites ask")
        if min(self.infilling_lengths) < 1:
            raise ValueError(
                f"infilling_lengths must be at least 1 token each, got {self.infilling_lengths}"
            )
        if self.greedy.temperature != 0:
            raise ValueError(
                f"greedy.temperature is {self.greedy.temperature}: greedy decoding takes the most "
                "probable token, so set it to 0"
            )
        if self.sampled.temperature == 0:
            raise ValueError("sampled.temperature is 0: samples would be equal, so set it above 0")
        return self
