"""A fitted prediction as a package, to be signed, and what was measured of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from trueline_cloud.learning.manifest import inputs_of, interval_s_of, trained_on
from trueline_model.interval import fit_intervals
from trueline_model.load import golden_of
from trueline_model.package import Manifest, Package
from trueline_model.prediction import KIND, Rehearsal
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_cloud.learning.prediction.fit import Foretold
    from trueline_cloud.learning.prediction.history import History

__all__ = ["measured", "pack_prediction"]

_COVERAGES: Final = (0.9, 0.95)
_GOLDEN_ROWS: Final = 32
_TOLERANCE: Final = 0.05
"""Of golden predictions: int8 kernels of another processor may round the last step of a sum the other way."""


def pack_prediction(
    foretold: Foretold, histories: Sequence[History], units: Sequence[str], name: str, version: int, source: str
) -> Package:
    """The package.

    Args:
        foretold: from `fit_prediction`.
        histories: it was fitted to.
        units: of their channels, UCUM.
        name: of the model.
        version: of it.
        source: where the histories came from, in words.
    """
    series = [each.series for each in histories]
    parts = foretold.predictor.parts()
    rehearsal = Rehearsal(foretold.predictor, interval_s_of(series))
    longest = max(series, key=len)
    stepped = foretold.predictor.recipe.steps.push(longest.time_ns, longest.value, longest.valid)
    rows = slice(0, foretold.predictor.recipe.rows + _GOLDEN_ROWS)
    return Package(
        manifest=Manifest(
            name=name,
            version=version,
            created=datetime.now(UTC),
            kind=KIND,
            settings=parts.settings,
            inputs=inputs_of(series, units),
            interval_s=rehearsal.interval_s,
            trained=trained_on(series, source),
            metrics=measured(foretold),
            golden_tolerance=_TOLERANCE,
        ),
        arrays=parts.arrays,
        golden=golden_of(rehearsal, stepped.value[rows], stepped.valid[rows]),
        network=foretold.tflite,
        calibration=foretold.intervals.arrays(),
    )


def measured(foretold: Foretold) -> dict[str, float]:
    """What it costs, and how well units are predicted that were not learnt from, each unit weighing the same.

    `rmse`, `rmse_float` and `always_the_mean_rmse` are in the target's unit; `coverage_90` is the share of truths that
    intervals for 90 % held, made from the units of the other folds, and `width_90` how wide they were.
    """
    asked, clipped = foretold.asked, foretold.predictor.recipe.clipped
    weight = 1.0 / np.bincount(asked.unit)[asked.unit]
    mean = float(np.average(asked.target, weights=weight))

    def rms(said: NDArray[np.float64] | float) -> float:
        return float(np.sqrt(np.average((said - asked.target) ** 2, weights=weight)))

    metrics = {
        "size_bytes": float(len(foretold.tflite)),
        "latency_us": foretold.latency_us,
        "operations": float(foretold.operations),
        "epochs": float(len(foretold.history)),
        "units": float(len(np.unique(asked.unit))),
        "rmse": rms(clipped(foretold.said[:, 1])),
        "rmse_float": rms(clipped(foretold.reference[:, 1])),
        "always_the_mean_rmse": rms(mean),
    }
    for coverage in _COVERAGES:
        try:
            held, width = _held_back(foretold, coverage)
        except ConfigError:
            continue  # too few units for that
        metrics[f"coverage_{coverage:.0%}".rstrip("%")] = float(np.average(held, weights=weight))
        metrics[f"width_{coverage:.0%}".rstrip("%")] = float(np.average(width, weights=weight))
    return metrics


def _held_back(foretold: Foretold, coverage: float) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """(m,) whether the interval of each window held its truth, made from other folds; and how wide it was."""
    asked, said, recipe = foretold.asked, foretold.said, foretold.predictor.recipe
    held, width = np.zeros(len(said), np.bool_), np.zeros(len(said))
    for number in np.unique(foretold.fold):
        out = foretold.fold == number
        floor, bins = foretold.intervals.floor, len(foretold.intervals.edge) + 1
        others = fit_intervals(said[~out], asked.target[~out], asked.unit[~out], floor=floor, bins=bins)
        low, high = (recipe.clipped(end) for end in others(said[out], coverage))
        held[out], width[out] = (low <= asked.target[out]) & (asked.target[out] <= high), high - low
    return held, width
