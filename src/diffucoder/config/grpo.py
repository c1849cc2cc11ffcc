"""Parameters of coupled-GRPO and its relatives."""

from pydantic import Field, model_validator

from diffucoder.config.base import Params
from diffucoder.config.decoding import DecodingParams
from diffucoder.config.rewards import RewardParams, SandboxParams
from diffucoder.config.training import LoraParams, TrainingParams
from diffucoder.rl.estimators.options import EstimatorOptions, PairedOptions
from diffucoder.rl.objectives.options import ObjectiveOptions
from diffucoder.rl.options import AdvantageOptions


class ValidationParams(Params):
    """How checkpoints are chosen.

    Attributes:
        every: steps between validations; one also runs before the first step.
        problems: number of validation problems, the first of the table.
        samples: sampled completions per problem.
        decoding: decoding of those samples.
    """

    every: int = Field(ge=1)
    problems: int = Field(ge=1)
    samples: int = Field(ge=1)
    decoding: DecodingParams


class CurriculumParams(Params):
    """StepCoder's curriculum: completing ever longer parts of reference solutions.

    Attributes:
        stages: how many there are; the last asks for whole solutions, and with 1 there is none
            else.
        threshold: pass rate of a step's completions at which the next stage begins.
    """

    stages: int = Field(ge=1)
    threshold: float = Field(gt=0, le=1)


class GrpoParams(Params):
    """Reinforcement learning against unit tests.

    Attributes:
        num_generations: G, the size of a group.
        num_iterations: optimizer steps on each batch of rollouts, each with fresh masks.
        ref_model_sync_steps: steps between copies of the policy into the reference.
        max_prompt_tokens: longer prompts are left out and reported.
        decoding: how rollouts are sampled.
        trace: alternatives to record at each reveal of a rollout, in `work`; null records no
            trace.
        generation_batch: completions decoded together on a rank.
        estimator: the estimator of log-likelihoods; in YAML a label under `estimators`.
        objective: the loss over them; in YAML a label under `objectives`.
        advantages: how rewards become advantages.
        rewards: reward functions and weights.
        process_weight: weight of the share of a program's prefixes that run, added to the rewards;
            0 runs no prefixes.
        executed_only: whether tokens of lines that no test ran are left out of the loss.
        curriculum: how much of a solution is asked for.
        sandbox: how programs are run, and their limits.
        validation: how the checkpoint is chosen.
        lora: adapters to train instead of all weights; None trains all.
        training: `steps` rollout steps; `batch_size` completions per step over all ranks,
            prompts times num_generations.
        work: folder for saves, logs and rollouts of the run.
    """

    num_generations: int = Field(ge=2)
    num_iterations: int = Field(ge=1)
    ref_model_sync_steps: int = Field(ge=1)
    max_prompt_tokens: int = Field(ge=1)
    decoding: DecodingParams
    trace: int | None = Field(ge=0)
    generation_batch: int = Field(ge=1)
    estimator: EstimatorOptions
    objective: ObjectiveOptions
    advantages: AdvantageOptions
    rewards: RewardParams
    process_weight: float = Field(ge=0, allow_inf_nan=False)
    executed_only: bool
    curriculum: CurriculumParams
    sandbox: SandboxParams
    validation: ValidationParams
    lora: LoraParams | None
    training: TrainingParams
    work: str

    @model_validator(mode="after")
    def _objective_admits_estimator(self) -> "GrpoParams":
        if self.objective.needs_elbo and not self.estimator.is_elbo:
            paired = isinstance(self.estimator, PairedOptions)
            raise ValueError(
                f"objective {self.objective.name} cannot go with estimator {self.estimator.name}"
                f"{' with full_view: true' if paired else ''}: it needs estimates of the ELBO's "
                "terms; choose monte_carlo or stratified_t, or coupled or decoupled with "
                "full_view: false"
            )
        return self

    @model_validator(mode="after")
    def _whole_groups(self) -> "GrpoParams":
        if self.training.batch_size % self.num_generations:
            raise ValueError(
                f"training.batch_size ({self.training.batch_size}) must be a multiple of "
                f"num_generations ({self.num_generations}): groups are never split"
            )
        prompts = self.training.batch_size // self.num_generations
        if prompts % self.training.engine.nproc_per_node:
            raise ValueError(
                f"{prompts} prompts per step (training.batch_size / num_generations) must be "
                "a multiple of training.engine.nproc_per_node "
                f"({self.training.engine.nproc_per_node}): every rank takes whole groups, and "
                "equally many"
            )
        return self
