"""What is said of values that were each filtered by themselves: their whole variance, and whether they counted."""

from __future__ import annotations

from math import inf, isnan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["credit"]


def credit(
    value: Array,
    stated: Array,
    r: Array,
    widening: Array,
    dt_s: Array,
    mean: Array,
    var: Array,
    innovation: Array,
    nis: Array,
    gate: float,
    share: float,
    declared: Array,
    common: Array,
    last: Array,
    total: Array,
    weight: Array,
    refused: NDArray[np.uint8],
) -> int:
    """Fills the last three; how many values were refused. See `trueline_edge.estimation.credit`."""
    count = 0
    for i, dt in enumerate(dt_s.tolist()):
        for k in range(value.shape[1]):
            z, e = float(value[i, k]), float(innovation[i, k])
            rest = float(stated[i, k]) - (0.0 if isnan(r[i, k]) else float(r[i, k]))
            if not isnan(declared[k]):
                last[k] = declared[k]
            elif not isnan(z):
                last[k] = max(0.0, rest)  # and zero where one of them is not known
            first = var[i, k] == inf
            total[i, k] = stated[i, k] * widening[i, k] if first else var[i, k] + last[k] + common[k]
            stayed = nis[i, k] > gate * gate and abs(mean[i, k] - (z - e)) < share * abs(e)
            refused[i, k] = stayed
            count += bool(stayed)
            weight[i, k] = 1.0 if z - z == 0.0 and not dt <= 0.0 and not stayed else 0.0
    return count
