"""Arithmetic on rows that does not depend on how many rows come at once.

A BLAS product picks its kernel by the shape of the whole batch, so its last bits depend on where a recording was cut.
Here every sum has one order, written out: a row's result is the same bits alone and among a million.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trueline_model.detector import State

__all__ = ["patterns", "product", "row_sum", "running_mean"]

_BLOCK_ROWS = 512  # fits the cache; elementwise work does not see it


def product(rows: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, k) times (k, m): (n, m), each sum in the order of k."""
    out = np.zeros((len(rows), matrix.shape[1]))
    for start in range(0, len(rows), _BLOCK_ROWS):
        part = out[start : start + _BLOCK_ROWS]
        block = rows[start : start + _BLOCK_ROWS]
        for j, weights in enumerate(matrix):
            part += block[:, j : j + 1] * weights
    return out


def row_sum(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, k): the sums of the rows, (n,), each in the order of k."""
    out = np.zeros(len(rows))
    for j in range(rows.shape[1]):
        out += rows[:, j]
    return out


def running_mean(
    rows: NDArray[np.float64], size: int, state: State | None, name: str = "mean"
) -> tuple[NDArray[np.float64], State]:
    """Mean of each row with the `size` - 1 rows before it, per column.

    Args:
        rows: (n, k); a row of NaN is a row with nothing to say, and is left out of the means.
        size: at least 1.
        state: from the call before, with `name` and its count; None at a start.
        name: of what is kept, so that one state serves several means.

    Returns:
        (n, k), NaN before `size` rows came, and where none of the `size` said anything; and what to keep.
    """
    if size == 1:
        return rows, {}
    before = np.full((size - 1, rows.shape[1]), np.nan) if state is None else state[name]
    seen = 0 if state is None else int(state[f"{name}_seen"])
    together = np.concatenate([before, rows])
    said = np.isfinite(together[:, 0]) if rows.shape[1] else np.zeros(len(together), bool)
    filled = np.where(said[:, None], together, 0.0)
    total, count = np.zeros(rows.shape), np.zeros(len(rows))
    for shift in range(size):
        total += filled[shift : shift + len(rows)]
        count += said[shift : shift + len(rows)]
    count[: max(0, min(len(rows), size - 1 - seen))] = 0.0
    mean = np.full(rows.shape, np.nan)
    np.divide(total, count[:, None], out=mean, where=count[:, None] > 0)
    kept = {name: together[len(together) - size + 1 :].copy()}
    return mean, {**kept, f"{name}_seen": np.array(min(seen + len(rows), size))}


def patterns(valid: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Which cells are there, (k,), and the rows, (n,), it is so in; rows with nothing valid are in none."""
    if valid.all():
        if valid.size:
            yield valid[0], np.ones(len(valid), bool)
        return
    found, which = np.unique(valid, axis=0, return_inverse=True)
    for number, pattern in enumerate(found):
        if pattern.any():
            yield pattern, which.reshape(-1) == number
