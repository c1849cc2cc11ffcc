"""The coupled estimator of DiffuCoder (arXiv 2506.20639, section 4)."""

from typing import ClassVar

from torch import Tensor

from diffucoder.diffusion.corruption import coupled_masks
from diffucoder.diffusion.generators import Generators
from diffucoder.rl.estimators.paired import Paired


class Coupled(Paired):
    """Pairs of complementary views, and one view with everything hidden.

    For lambda pairs at times t ~ U(low, high), one time a row and pair:

        estimate_k = 1 / (lambda + 1) * [ sum over pairs w_k * log p(x_k | the view hiding k)
                                          + log p(x_k | all hidden) ]

    with w_k = 1 / t if k is hidden in the first view of the pair and 1 / (1 - t) if in the
    second. Every token is scored once a pair, and the two halves of a pair are antithetic:
    their covariance is negative. Costs 2 * lambda + 1 forward passes.

    Each half is by itself an estimate of the token's ELBO term, so that a pair is worth two of
    them and the published weights give (2 * lambda + 1) / (lambda + 1) times a mean of log
    probabilities. Without the full view the divisor is 2 * lambda, and the estimate is that of
    the ELBO with coupled draws (as in ESPO, arXiv 2512.03759), over times in [low, high].

    Attributes:
        pairs: lambda; the paper uses 1.
        low: smallest time; the paper uses 0.2, since 1/t explodes below.
        high: largest time; the paper uses 0.8, since 1/(1 - t) explodes above.
        full_view: the paper has it.
    """

    name: ClassVar[str] = "coupled"

    def halves(self, maskable_BL: Tensor, t_B: Tensor, source: Generators) -> tuple[Tensor, Tensor]:
        """Each position in exactly one of the two."""
        return coupled_masks(maskable_BL, t_B, source)
