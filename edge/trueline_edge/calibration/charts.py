"""Control charts: has a process that was in control left it? Shewhart, EWMA and CUSUM, for arrays.

Sources: Shewhart 1931; Roberts 1959 (EWMA); Page 1954 (CUSUM); limits as in ISO 7870-2, -4, -6 and in Montgomery,
Introduction to Statistical Quality Control, chapters 6 and 9. `first` says since when
a chart is out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F64 = NDArray[np.float64]

__all__ = ["Chart", "cusum", "ewma", "shewhart"]

EWMA_WEIGHT: Final = 0.2
EWMA_LIMIT: Final = 3.0
CUSUM_SLACK: Final = 0.5
CUSUM_LIMIT: Final = 5.0
SHEWHART_LIMIT: Final = 3.0


class Chart(NamedTuple):
    """A chart of n points, in standard deviations of the points.

    Attributes:
        name: "shewhart", "ewma" or "cusum".
        statistic: (n,) what is plotted; NaN where nothing was measured.
        limit: (n,) it is out beyond +- this.
        out: (n,) bool.
    """

    name: str
    statistic: F64
    limit: F64
    out: NDArray[np.bool_]

    @property
    def first(self) -> int | None:
        """The first point that is out."""
        return int(np.argmax(self.out)) if self.out.any() else None


def shewhart(z: F64) -> Chart:
    """Single points beyond three standard deviations: sees a large shift at once, a small one late.

    Args:
        z: (n,) standardised points: (x - mean) / standard deviation of the time in control.
    """
    return Chart("shewhart", z, np.full(len(z), SHEWHART_LIMIT), np.abs(z) > SHEWHART_LIMIT)


def ewma(z: F64) -> Chart:
    """Exponentially weighted mean (weight 0.2, limit 3): sees a shift of one standard deviation in about ten points."""
    weight, level = EWMA_WEIGHT, 0.0
    statistic, limit = np.full(len(z), np.nan), np.zeros(len(z))
    kept = 1.0
    for i, point in enumerate(z):
        if np.isfinite(point):
            level += weight * (point - level)
            kept *= (1.0 - weight) ** 2
            statistic[i] = level
        limit[i] = EWMA_LIMIT * np.sqrt(weight / (2.0 - weight) * (1.0 - kept))
    return Chart("ewma", statistic, limit, np.abs(statistic) > limit)


def cusum(z: F64) -> Chart:
    """Two-sided tabular CUSUM (slack 0.5, limit 5): the larger side, with its sign."""
    high = low = 0.0
    statistic = np.full(len(z), np.nan)
    for i, point in enumerate(z):
        if np.isfinite(point):
            high = max(0.0, high + point - CUSUM_SLACK)
            low = max(0.0, low - point - CUSUM_SLACK)
            statistic[i] = high if high >= low else -low
    return Chart("cusum", statistic, np.full(len(z), CUSUM_LIMIT), np.abs(statistic) > CUSUM_LIMIT)
