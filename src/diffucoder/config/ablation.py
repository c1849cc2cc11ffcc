"""Options of the ablation: a grid of estimators, objectives and seeds, trained and compared."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from diffucoder.config.base import Params
from diffucoder.config.decoding import DecodingParams
from diffucoder.config.engine import RankParams
from diffucoder.config.evaluation import BootstrapParams
from diffucoder.config.rewards import SandboxParams
from diffucoder.rl.estimators.options import EstimatorOptions
from diffucoder.rl.objectives.options import ObjectiveOptions

# What an untrained starting point is called beside the cells.
START = "start"

# What the trainings of two cells have in common when they are compared.
EQUAL_STEPS, EQUAL_COMPUTE = "equal steps", "equal compute"
BUDGETS = (EQUAL_STEPS, EQUAL_COMPUTE)

Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class CellParams(Params):
    """What a cell changes in the parameters of the grpo stage.

    Attributes:
        estimator: the cell's estimator, in YAML a label under `estimators`; None takes that of
            `grpo`.
        objective: the cell's objective, in YAML a label under `objectives`; None takes that of
            `grpo`.
        advantages: options to replace in `grpo.advantages`.
    """

    estimator: EstimatorOptions | None = None
    objective: ObjectiveOptions | None = None
    advantages: dict[str, Any] = Field(default_factory=dict)


class AblationParams(Params):
    """The ablation.

    Attributes:
        cells: what is compared, by label (letters, digits, `-` and `_`).
        seeds: each cell is trained once with each; they also draw the problems' order.
        steps: rollout steps of each training; null takes those of the grpo stage.
        window: steps over which a curve is averaged where it is read off.
        problems: number of held-out problems, evenly spaced over the table; null takes all.
        samples: completions per problem.
        decoding: how those completions are decoded.
        bootstrap: how the intervals are found, over seeds and problems.
        sandbox: how programs are run, and their limits.
        engine: the processes that decode; trainings have those of the grpo stage.
        work: folder of the cells' trainings, and of the decoding's parts.
    """

    cells: dict[Label, CellParams] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    steps: int | None = Field(ge=1)
    window: int = Field(ge=1)
    problems: int | None = Field(ge=1)
    samples: int = Field(ge=1)
    decoding: DecodingParams
    bootstrap: BootstrapParams
    sandbox: SandboxParams
    engine: RankParams
    work: str

    @model_validator(mode="after")
    def _labels_are_free(self) -> "AblationParams":
        if START in self.cells:
            raise ValueError(f"a cell cannot be called {START!r}, as the starting point is")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must differ, got {self.seeds}")
        return self
