"""Recipes and recordings the tests of detectors share."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from trueline_model.detector import score_series
from trueline_model.detectors import (
    Chart,
    Cusum,
    Deviation,
    Ensemble,
    Forest,
    Innovation,
    Network,
    Novelty,
    Patches,
    Pca,
)
from trueline_model.detectors.bank import make_bank
from trueline_model.detectors.ensemble import together
from trueline_model.scale import fit_scale
from trueline_model.series import Series, make_series
from trueline_model.windows import Windower

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_model.detector import Detector, Recipe

CASES = {
    "deviation": Deviation(),
    "deviation, mean of 5 squares": Deviation(power=2, mean_rows=5, scaling="standard"),
    "pca spe": Pca(variance_kept=0.8),
    "pca t2": Pca(variance_kept=0.8, statistic="t2"),
    "network reconstructs": Network(rows=6, clip=1e3),
    "network reconstructs the last": Network(rows=6, stride=3, judged="last", clip=1e3),
    "network forecasts": Network(rows=5, output="forecast", clip=1e3),
    "network marks": Network(rows=6, output="marks"),
    "network marks the last": Network(rows=6, output="marks", judged="last", stride=2),
    "network embeds": Network(rows=5, output="embedding", embedded=9),
    "innovation, EWMA": Innovation(),
    "innovation, Holt, joint": Innovation(trend=0.1, joint=True, mean_rows=3),
    "innovation, given": Innovation(smoothing=0.0, joint=True),
    "chart": Chart(),
    "chart, fixed": Chart(smoothing=0.1, memory_rows=0, power=1, scaling="standard"),
    "cusum": Cusum(),
    "page-hinkley": Cusum(against="mean", memory_rows=50),
    "novelty of rows": Novelty(rows=1, memory_rows=300),
    "novelty, memory not full": Novelty(rows=7, memory_rows=600, stride=2, neighbours=2),
    "novelty of windows": Novelty(rows=4, memory_rows=100, stride=3, neighbours=2, scaling="standard"),
    "patches": Patches(rows=4, bank=40, clip=1e3),
    "patches, shape": Patches(rows=4, bank=40, level=False, mean_rows=3, clip=1e3),
    "ensemble, Fisher": Ensemble(members=(Pca(), Innovation()), mean_rows=2),
    "ensemble, Tippett": Ensemble(members=(Deviation(), Patches(rows=4, bank=40, clip=1e3)), combine="highest"),
    "ensemble with a memory": Ensemble(
        members=(Novelty(rows=1, memory_rows=100), Novelty(rows=4, memory_rows=100, clip=100.0)),
        combine="highest",
        memory_rows=120,
    ),
    "ensemble with a network": Ensemble(members=(Deviation(), Network(rows=6, clip=1e3)), folds=2),
    "forest": Forest(sample=64),
    "pca both, mean of 10": Pca(variance_kept=0.8, statistic="both", mean_rows=10, scaling="standard"),
}
"""A recipe of every kind, some more than once."""


def fit(recipe: Recipe | Network, series: Sequence[Series], seed: int = 0) -> Detector:
    """A detector of any recipe; a network is one of `NETWORKS`."""
    if isinstance(recipe, Network):
        scale, network = fit_scale(series), NETWORKS[recipe.output]
        arrays = {"centre": scale.centre, "scale": scale.scale}
        if recipe.output == "embedding":
            cut = Windower(recipe.rows, 3).push(scale(series[0].value, series[0].valid), series[0].valid)
            arrays |= make_bank(network(cut.value.astype(np.float32)), cut.value, cut.valid).arrays()
        return recipe.detector(arrays, network)
    if isinstance(recipe, Ensemble) and recipe.network:
        members = [fit(member, series, seed) for member in recipe.members]
        return together([(member, score_series(member, normal(7)).score) for member in members])
    return recipe.fit(series, seed)


def mean_of_window(window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reconstructs every row as the mean of its window."""
    return np.broadcast_to(window[:, :1] * np.float32(0.5) + window[:, -1:] * np.float32(0.5), window.shape)


def last_row(window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Forecasts that the next row is as the last."""
    return window[:, -1]


def odds(window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Marks what is far from the centre."""
    return np.abs(window) - np.float32(4.0)


def ends(window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Embeds a window as its first and last row, and a number that keeps them from being nought."""
    return np.concatenate([window[:, 0], window[:, -1], np.ones((len(window), 1), np.float32)], axis=1)


NETWORKS = {"reconstruction": mean_of_window, "forecast": last_row, "marks": odds, "embedding": ends}
"""Stand-ins for networks."""


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
