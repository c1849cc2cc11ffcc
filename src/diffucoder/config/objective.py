"""Options of the objectives of reinforcement learning, and of the advantages that feed them."""

from typing import Any, Literal

from pydantic import Field

from diffucoder.config.base import Params

ObjectiveName = Literal["espo", "gdsd", "grpo", "spg", "wd1"]


class ClippedParams(Params):
    """Options of `grpo` and `espo`.

    Attributes:
        epsilon: clip range of the ratio.
        beta: weight of the KL to the reference.
    """

    epsilon: float = Field(gt=0)
    beta: float = Field(ge=0)


class GdsdParams(Params):
    """Options of `gdsd`.

    Attributes:
        psi: how far an advantage of 1 moves the teacher, nats per token.
        epsilon: clip range of the ratio of whole completions.
        beta: share of the reference in the teacher.
    """

    psi: float = Field(gt=0)
    epsilon: float = Field(gt=0, lt=1)
    beta: float = Field(ge=0, le=1)


class SpgParams(Params):
    """Options of `spg`.

    Attributes:
        power: beta of the upper bound.
        mix: share of the upper bound in the score of what was bad.
    """

    power: float = Field(ge=1)
    mix: float = Field(ge=0, le=1)


class Wd1Params(Params):
    """Options of `wd1`.

    Attributes:
        psi: inverse temperature of the weights.
    """

    psi: float = Field(gt=0)


class ObjectiveParams(Params):
    """The objective, and the options of each.

    Attributes:
        name: a key of `diffucoder.rl.objectives.REGISTRY`; the options of the others are not
            read.
    """

    name: ObjectiveName
    espo: ClippedParams
    gdsd: GdsdParams
    grpo: ClippedParams
    spg: SpgParams
    wd1: Wd1Params

    def options(self) -> dict[str, Any]:
        """The keyword arguments of `diffucoder.rl.objectives.get`."""
        return getattr(self, self.name).model_dump()


class AdvantageParams(Params):
    """How rewards become advantages.

    Attributes:
        baseline: what a reward is compared with: the mean of the group's others, or of all.
        scale_rewards: whether to divide by the group's standard deviation.
        max_num_gen_batches: generation batches per step, at most: in each after the first, groups
            whose rewards are all equal are replaced by groups of other problems (dynamic
            sampling, DAPO); with 1 they are only left out.
    """

    baseline: Literal["leave_one_out", "group_mean"]
    scale_rewards: bool
    max_num_gen_batches: int = Field(ge=1)
