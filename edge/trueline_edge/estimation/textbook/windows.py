"""Hampel's identifier: median and median absolute deviation of a window that never holds the value it judges.

Source: Hampel 1974; Pearson et al. 2016, "Generalized Hampel Filters".
"""

from __future__ import annotations

from math import inf, isinf, isnan, nan
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["hampel", "hampel_centred"]

MAD_TO_SIGMA = 1.4826
_GOOD = 1


def hampel(
    state: Array,
    value: Array,
    width: int,
    threshold: float,
    far: float,
    floor: Array,
    step_samples: int,
    judges: int,
    medians: Array,
    mads: Array,
    verdict: NDArray[np.uint8],
) -> None:
    """Causal. State (k, 2 + width + step_samples): how many are in the window, how many wait; both, oldest first.

    A rejected value waits outside. `step_samples` of them in a row are a step: the window is what waited.
    """
    for k in range(value.shape[1]):
        here, waits = int(state[k, 0]), int(state[k, 1])
        window = state[k, 2 : 2 + here].tolist()
        waiting = state[k, 2 + width : 2 + width + waits].tolist()
        for i, z in enumerate(value[:, k].tolist()):
            middle, deviation, said = _judge(window, judges, z, threshold, far, float(floor[k]))
            if not isnan(z) and not isinf(z):
                if said > _GOOD:
                    waiting.append(z)
                    if len(waiting) >= step_samples:
                        window, waiting = waiting[-width:], []
                else:
                    window, waiting = [*window, z][-width:], []
            medians[i, k], mads[i, k], verdict[i, k] = middle, deviation, said
        state[k] = 0.0
        state[k, :2] = len(window), len(waiting)
        state[k, 2 : 2 + len(window)] = window
        state[k, 2 + width : 2 + width + len(waiting)] = waiting


def hampel_centred(
    state: Array,
    value: Array,
    width: int,
    threshold: float,
    far: float,
    floor: Array,
    judges: int,
    medians: Array,
    mads: Array,
    verdict: NDArray[np.uint8],
) -> None:
    """Centred. State (k, 2 h), h = width // 2: the rows that are still looked at, what was rejected being NaN.

    Row i of the outcome speaks of the row h before row i of `value`; its window is the h rows before and after it.
    """
    half = width // 2
    for k in range(value.shape[1]):
        rows = state[k].tolist()
        for i, z in enumerate(value[:, k].tolist()):
            rows.append(z)
            window = [v for v in rows[:half] + rows[half + 1 :] if not isnan(v) and not isinf(v)]
            middle, deviation, said = _judge(window, judges, rows[half], threshold, far, float(floor[k]))
            if said > _GOOD:
                rows[half] = nan
            rows.pop(0)
            medians[i, k], mads[i, k], verdict[i, k] = middle, deviation, said
        state[k] = rows


def _judge(
    window: list[float], judges: int, z: float, threshold: float, far: float, floor: float
) -> tuple[float, float, int]:
    if len(window) < judges:
        return nan, nan, 0
    middle = median(window)
    deviation = median(abs(v - middle) for v in window)
    off, sigma = abs(z - middle), MAD_TO_SIGMA * deviation
    if not -inf < z < inf:
        return middle, deviation, 0
    if not off > max(threshold * sigma, floor):
        return middle, deviation, _GOOD
    return middle, deviation, _GOOD + 1 + (off > far * sigma)
