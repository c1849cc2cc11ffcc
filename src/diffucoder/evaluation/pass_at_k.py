"""The unbiased estimate of pass@k (Chen et al. 2021, arXiv 2107.03374, equation 1)."""

import math


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of k samples passes, drawn from n of which c passed.

    1 - C(n - c, k) / C(n, k), in exact integers.

    Args:
        n: Number of samples of a problem.
        c: Number of them that passed.
        k: Number of samples that may be tried.

    Returns:
        The estimate, 0 to 1.

    Raises:
        ValueError: Unless 0 <= c <= n and 1 <= k <= n.
    """
    if not 0 <= c <= n:
        raise ValueError(f"c must lie between 0 and n: got c={c}, n={n}")
    if not 1 <= k <= n:
        raise ValueError(f"k must lie between 1 and n: got k={k}, n={n}; draw more samples")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)
