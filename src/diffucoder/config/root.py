"""The whole tree of parameters, one field per stage."""

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
    """All parameters of the project, each stage with all of its settings (see `expand`).

    Attributes:
        seed: random seed from which all draws of a run follow.
        ingestion: where code comes from and how it becomes token rows.
        problems: problems to practise on and to measure with, and instruction pairs.
        backbone: the autoregressive model.
        adaptation: from the backbone to a masked diffusion model.
        instruction: instruction tuning.
        grpo: reinforcement learning.
        evaluation: pass@k of the checkpoints.
        analysis: the temperature sweep and AR-ness.
        lab: the study of the estimators.
        ablation: the study of trainings that differ in estimator, objective or advantages.
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
