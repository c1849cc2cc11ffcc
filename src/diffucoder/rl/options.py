"""Options of the advantages; pydantic only, since the command line reads them."""

from typing import Literal

from pydantic import Field

from diffucoder.config.base import Params


class AdvantageOptions(Params):
    """How rewards become advantages.

    Attributes:
        baseline: What each reward is compared with: the mean of the others in its group, or the
            mean of the group.
        scale_rewards: Whether to divide by the group's standard deviation.
        max_num_gen_batches: Most generation batches per step. In each after the first, groups
            whose rewards are all equal are replaced by groups of other problems (dynamic
            sampling, DAPO); with 1 they are only left out.
    """

    baseline: Literal["leave_one_out", "group_mean"]
    scale_rewards: bool
    max_num_gen_batches: int = Field(ge=1)
