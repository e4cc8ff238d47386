"""Extreme-value tail: how rare a score is that lies beyond what calibration saw (peaks over threshold).

Promises: above the threshold, exceedances follow a generalised Pareto distribution (Pickands, Ann. Statist. 3 (1975)),
fitted as Zhang and Stephens do (Technometrics 51 (2009)): no optimiser, no failure, the same answer for the same data.
The shape is never below 0: a fitted end point beyond which nothing is possible is a claim no short recording supports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EXCEEDANCES_MIN", "Tail", "fit_tail"]

EXCEEDANCES_MIN = 10
"""Fewer say nothing of a tail."""


class Tail(NamedTuple):
    """A generalised Pareto tail.

    Attributes:
        threshold: where it begins.
        share: of scores above the threshold.
        shape: xi, at least 0.
        scale: sigma, above 0, in the score's terms.
    """

    threshold: float
    share: float
    shape: float
    scale: float

    def log_survival(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Natural logarithm of the probability that a normal score is at least as high; for scores above threshold."""
        excess = np.maximum(score - self.threshold, 0.0) / self.scale
        with np.errstate(over="ignore"):
            fall = np.log1p(self.shape * excess) / self.shape if self.shape > 0.0 else excess
        return np.asarray(np.log(self.share) - fall)


def fit_tail(score: NDArray[np.float64]) -> Tail | None:
    """The tail of scores (n,): their highest tenth, and at most 3 sqrt(n), as Vehtari et al. take.

    Returns:
        None where fewer than `EXCEEDANCES_MIN` scores differ from the threshold: there is no tail to see.
    """
    ordered = np.sort(score)
    count = int(min(0.1 * len(ordered), 3.0 * np.sqrt(len(ordered))))
    if count < EXCEEDANCES_MIN:
        return None
    threshold = float(ordered[-count - 1])
    excess = ordered[ordered > threshold] - threshold
    if len(excess) < EXCEEDANCES_MIN:
        return None
    shape, scale = _zhang_stephens(excess)
    if shape < 0.0:
        shape, scale = 0.0, float(excess.mean())
    return Tail(threshold, len(excess) / len(ordered), shape, max(scale, 1e-12 * max(abs(threshold), 1e-300)))


def _zhang_stephens(excess: NDArray[np.float64]) -> tuple[float, float]:
    """Shape and scale of sorted excesses: posterior mean over a grid, pulled weakly to 0.5 (Vehtari et al., 2024)."""
    n = len(excess)
    grid = 30 + int(np.sqrt(n))
    quartile = excess[max(int(n / 4 + 0.5) - 1, 0)]
    theta = 1.0 / excess[-1] + (1.0 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3.0 * quartile)
    k = np.mean(np.log1p(-theta[:, None] * excess), axis=1)
    kept = (theta != 0.0) & (k != 0.0)  # theta 0 is the exponential, a grid point among others
    theta, k = theta[kept], k[kept]
    likelihood = n * (np.log(-theta / k) - k - 1.0)
    with np.errstate(over="ignore"):
        weight = 1.0 / np.sum(np.exp(likelihood - likelihood[:, None]), axis=1)
    best = float(np.sum(theta * weight) / weight.sum())
    shape = float(np.mean(np.log1p(-best * excess)))
    scale = -shape / best
    return (n * shape + 10 * 0.5) / (n + 10), scale
