"""The Monte Carlo estimate of the ELBO with times spread evenly."""

from typing import ClassVar

from torch import Tensor

from diffucoder.diffusion.generators import Generators
from diffucoder.diffusion.schedule import sample_times
from diffucoder.rl.estimators.monte_carlo import MonteCarlo


class StratifiedT(MonteCarlo):
    """K draws of the ELBO's terms, one from each of K equal parts of the range of times.

    As `monte_carlo`, but t of draw i is uniform on

        [low + i / K * (high - low), low + (i + 1) / K * (high - low)),   i = 0 ... K - 1.

    Stratification leaves the mean as it is and takes the variance between the parts away. (The
    low-discrepancy times of variational diffusion models, arXiv 2107.00630, and of MDLM, arXiv
    2406.07524, spread them over the rows of a batch; here a row's own draws are spread, so that
    rows stay independent.) Costs K forward passes.

    Attributes: those of `monte_carlo`.
    """

    name: ClassVar[str] = "stratified_t"

    def times(self, rows: int, index: int, source: Generators) -> Tensor:
        """Times from part number `index` of the range."""
        width = (self.high - self.low) / self.draws
        low = self.low + index * width
        return sample_times(rows, source, low, low + width)
