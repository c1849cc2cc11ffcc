"""Options of the advantages."""

from typing import Literal

from pydantic import Field

from diffucoder.config.base import Params


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
