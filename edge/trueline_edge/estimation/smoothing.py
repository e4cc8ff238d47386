"""Fixed-lag smoothing of a local level: what the next rows say about this one.

Source: Rauch, Tung and Striebel 1965, backwards over a fixed number of rows (Anderson and Moore 1979, section 7.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["smooth_level"]


def smooth_level(mean: Array, var: Array, gained: Array, linked: NDArray[np.bool_], lag: int) -> tuple[Array, Array]:
    """Smooth each row by up to `lag` rows behind it, or as many as there are.

    Args:
        mean: (n, k) filtered.
        var: (n, k) its variance.
        gained: (n, k) variance the walk gained between the row before and this one.
        linked: (n, k) bool: this row goes on from the one before; a followed step, or a start, does not.
        lag: rows.

    Returns:
        (n, k) means and variances.
    """
    n, k = mean.shape
    if not n:
        return mean, var
    predicted = var[:-1] + gained[1:]
    usable = linked[1:] & np.isfinite(mean[:-1]) & np.isfinite(mean[1:]) & np.isfinite(predicted) & (predicted > 0.0)
    # No row behind the last one: there, and where rows are not linked, a row keeps what was filtered.
    end = np.zeros((lag + 1, k))
    gain = np.concatenate([np.where(usable, var[:-1] / np.where(usable, predicted, 1.0), 0.0), end])
    predicted = np.concatenate([np.where(usable, predicted, 0.0), end])
    means, variances = np.concatenate([mean, end[1:]]), np.concatenate([var, end[1:]])
    smoothed, spread = means[lag : lag + n], variances[lag : lag + n]
    for ahead in range(lag - 1, -1, -1):
        rows = slice(ahead, ahead + n)
        m, p, g = means[rows], variances[rows], gain[rows]
        smoothed = np.where(g > 0.0, m + g * (np.where(g > 0.0, smoothed, 0.0) - m), m)
        spread = np.where(g > 0.0, p + g * g * (np.where(g > 0.0, spread, 0.0) - predicted[rows]), p)
    return smoothed, spread
