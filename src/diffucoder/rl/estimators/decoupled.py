"""The coupled estimator without the coupling, the paper's ablation of it."""

from typing import ClassVar

from torch import Tensor

from diffucoder.diffusion.corruption import sample_mask
from diffucoder.diffusion.generators import Generators, split
from diffucoder.rl.estimators.paired import Paired


class Decoupled(Paired):
    """The views, times and weights of the coupled estimator under independent masks.

    The second view of a pair hides each position with probability 1 - t whether or not the first
    hides it: a token is scored in both, in one, or in none. Each view taken alone has the same
    distribution as there, and the cost is the same 2 * lambda + 1 forward passes, so that the
    coupling is all that differs (arXiv 2506.20639, section 5, "decoupled").

    Attributes: those of the coupled estimator.
    """

    name: ClassVar[str] = "decoupled"

    def halves(self, maskable_BL: Tensor, t_B: Tensor, source: Generators) -> tuple[Tensor, Tensor]:
        """Two independent draws, each from a source of its own."""
        first, second = split(source, 2)
        return (
            sample_mask(maskable_BL, t_B, first),
            sample_mask(maskable_BL, 1 - t_B, second),
        )
