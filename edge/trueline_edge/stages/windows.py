"""Sliding windows over columns, in O(n log width) whole-array steps. Knows no flag and no channel.

A window's outcome depends on the values in it and on nothing before, to the last bit: so it does not matter where a
stream was cut into batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["sliding_extreme", "sliding_std", "sliding_sum"]


def sliding_extreme(values: NDArray[np.float64], width: int, extreme: np.ufunc) -> NDArray[np.float64]:
    """(n - width + 1, ...) the extreme of each window of rows.

    Args:
        values: (n, ...) with n at least `width`. NaN goes where the extreme takes it.
        width: of the window, in rows.
        extreme: `np.maximum`, `np.minimum`, `np.fmax` or `np.fmin`.
    """
    result, covered = values, 1
    while covered < width:
        step = min(covered, width - covered)
        result = extreme(result[:-step], result[step:])
        covered += step
    return result


def sliding_sum(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """(n - width + 1, ...) the sum of each window of rows; n at least `width`."""
    n = len(values) - width + 1
    power, block, covered = 1, values, 0
    total: NDArray[np.float64] | None = None
    while power <= width:
        if width & power:
            part = block[covered : covered + n]
            total = part if total is None else total + part
            covered += power
        if 2 * power <= width:
            block = block[:-power] + block[power:]
        power *= 2
    assert total is not None  # noqa: S101 - width is at least 1
    return total


def sliding_std(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """(n - width + 1, ...) the standard deviation (of the population) of each window of rows; n at least `width`.

    Means and sums of squares of halves are put together, so that nothing cancels (Chan, Golub and LeVeque 1983).
    """
    n = len(values) - width + 1
    power, mean, squares = 1, values, np.zeros_like(values)
    total: tuple[int, NDArray[np.float64], NDArray[np.float64]] | None = None
    while power <= width:
        if width & power:
            covered = 0 if total is None else total[0]
            here = (power, mean[covered : covered + n], squares[covered : covered + n])
            total = here if total is None else _together(*total, *here)
        if 2 * power <= width:
            _, mean, squares = _together(power, mean[:-power], squares[:-power], power, mean[power:], squares[power:])
        power *= 2
    assert total is not None  # noqa: S101 - width is at least 1
    return np.sqrt(total[2] / width)


def _together(
    n: int,
    mean: NDArray[np.float64],
    squares: NDArray[np.float64],
    m: int,
    other_mean: NDArray[np.float64],
    other_squares: NDArray[np.float64],
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Count, mean and sum of squared deviations of two samples as one."""
    apart = other_mean - mean
    joint = apart * (m / (n + m))
    joint += mean
    apart *= apart
    apart *= n * m / (n + m)
    apart += squares
    apart += other_squares
    return n + m, joint, apart
