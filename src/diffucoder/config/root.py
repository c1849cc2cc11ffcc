"""The whole tree of parameters, one field a stage."""

from pydantic import Field

from diffucoder.config.ablation import AblationParams
from diffucoder.config.adaptation import AdaptationParams
from diffucoder.config.analysis import AnalysisParams
from diffucoder.config.backbone import BackboneParams
from diffucoder.config.base import Params
from diffucoder.config.evaluation import EvaluationParams
from diffucoder.config.grpo import GrpoParams
from diffucoder.config.ingestion import IngestionParams
from diffucoder.config.instruction import InstructionParams
from diffucoder.config.lab import LabParams
from diffucoder.config.problems import ProblemsParams


class Parameters(Params):
    """All parameters of the project.

    Attributes:
        seed: what every random draw of a run follows from.
    """

    seed: int = Field(ge=0)
    ingestion: IngestionParams
    problems: ProblemsParams
    backbone: BackboneParams
    adaptation: AdaptationParams
    instruction: InstructionParams
    grpo: GrpoParams
    evaluation: EvaluationParams
    analysis: AnalysisParams
    lab: LabParams
    ablation: AblationParams
