"""Recipes and recordings the tests of detectors share."""

from __future__ import annotations

from functools import cache

import numpy as np

from trueline_model.detectors import Deviation, Pca
from trueline_model.series import Series, make_series

CASES = {
    "deviation": Deviation(),
    "deviation, mean of 5 squares": Deviation(power=2, mean_rows=5, scaling="standard"),
    "pca spe": Pca(variance_kept=0.8),
    "pca t2": Pca(variance_kept=0.8, statistic="t2"),
    "pca both, mean of 10": Pca(variance_kept=0.8, statistic="both", mean_rows=10, scaling="standard"),
}
"""A recipe of every kind, some more than once."""


@cache
def normal(seed: int, rows: int = 200) -> Series:
    """Four channels, two of them driven by one slow cycle."""
    rng = np.random.default_rng(seed)
    cycle = np.sin(np.arange(rows) / 9.0 + rng.uniform(0.0, 6.0))
    value = np.column_stack([20.0 + 5.0 * cycle, 3.0 - cycle, np.full(rows, 7.0), np.full(rows, -1.0)])
    return make_series(value + rng.normal(0.0, 0.3, value.shape))


@cache
def faulty() -> Series:
    """Rows with cells and whole rows missing, and a fault."""
    series = normal(9)
    valid = np.random.default_rng(1).random(series.valid.shape) > 0.1
    valid[:20, 1] = False
    valid[60:64] = False
    value = series.value.copy()
    value[100:110, 0] += 12.0
    return make_series(value, valid=valid)
