"""Intervals that hold the truth as often as they say: conformal, around the quantiles a model predicts.

Promises: with units (engines, machines, greenhouses, days) exchangeable with those of calibration, the interval of a
row of a new unit holds its truth with at least the coverage asked for (hierarchical conformal prediction: Lee, Barber
and Willett, "Distribution-free inference with hierarchical data", 2023; every unit weighs the same, however many rows
it has). The model's own quantiles give the shape: a row's score is how far the truth lies from the predicted mean, in
units of the predicted distance to the quantile on that side (conformalised quantile regression: Romano, Patterson and
Candes, 2019; scaled as in Kivaranovic, Johnson and Leeb, 2020). One stretch for all rows gives the coverage over all;
where the truth scatters more at some predictions than the model says, stretches by prediction (Mondrian conformal
prediction: Vovk, Gammerman and Shafer, 2005) give it there, too.

Refuses a coverage that the units cannot support: n of them allow n / (n + 1) at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_model.arrays import array
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

__all__ = ["STANDARD", "Intervals", "fit_intervals"]

STANDARD: Final = 0.6827
"""Coverage of a normal distribution's mean plus and minus its standard deviation: half that interval stands as `u`."""

_KEPT_MAX: Final = 400
_UNITS_MIN: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """How far to stretch predicted quantiles.

    Attributes:
        edge: (b - 1,) rising means at which one bin ends and the next begins; none where there is one bin.
        score: (b, m) rising scores of calibration in each bin.
        mass: (b, m) share of the units' weight with a score at most as high, of 1; the rest is beyond what was seen.
        floor: least distance from the mean to a quantile, the target's unit.
    """

    edge: NDArray[np.float64]
    score: NDArray[np.float64]
    mass: NDArray[np.float64]
    floor: float

    @property
    def coverage_max(self) -> float:
        """Highest coverage that can be promised."""
        return float(self.mass[:, -1].min())

    def stretch(self, coverage: float) -> NDArray[np.float64]:
        """(b,) of each bin: times the predicted distances, for this coverage.

        Raises:
            ConfigError: it is no share, or more than the units of calibration support.
        """
        if not 0.0 < coverage < 1.0:
            raise ConfigError(f"coverage {coverage} must be above 0 and below 1")
        if coverage > self.coverage_max:
            raise ConfigError(
                f"a coverage of {coverage:g} cannot be promised: calibration supports {self.coverage_max:.3f}; "
                "ask for less, or train on more units"
            )
        return np.array([s[np.searchsorted(m, coverage)] for s, m in zip(self.score, self.mass, strict=True)])

    def __call__(self, spread: NDArray[np.float64], coverage: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The interval of each row, its ends included.

        Args:
            spread: (n, 3) predicted: lower quantile, mean, upper quantile; rising.
            coverage: share of truths they shall hold.

        Returns:
            Lower and upper ends, (n,) each.
        """
        stretch = self.stretch(coverage)[self.bins(spread[:, 1])]
        below, above = _distances(spread, self.floor)
        return spread[:, 1] - stretch * below, spread[:, 1] + stretch * above

    def bins(self, mean: NDArray[np.float64]) -> NDArray[np.int64]:
        """(n,) the bin of each row."""
        return np.searchsorted(self.edge, mean, side="right")

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """What to keep of it in a package."""
        return {"edge": self.edge, "score": self.score, "mass": self.mass, "floor": np.array(self.floor)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Intervals:
        """The intervals whose `arrays()` these are.

        Raises:
            ConfigError: one is missing, of another shape, or does not rise.
        """
        score, edge, floor = array(arrays, "score", 2), array(arrays, "edge", 1), float(array(arrays, "floor", 0))
        mass = array(arrays, "mass", 2, score.shape)
        rising = all(np.all(np.diff(each) >= 0.0) for each in (score, mass, edge))
        if score.shape[0] != len(edge) + 1 or not score.shape[1] or not rising or score.min() < 0.0 or floor <= 0.0:
            raise ConfigError("the intervals are no intervals: make the package again")
        return cls(edge, score, mass, floor)


def fit_intervals(
    spread: NDArray[np.float64], truth: ArrayLike, unit: ArrayLike, *, floor: float, bins: int = 1
) -> Intervals:
    """Intervals from predictions for units the model was not trained on.

    Args:
        spread: (n, 3) predicted: lower quantile, mean, upper quantile; rising.
        truth: (n,).
        unit: (n,) which unit each row is of, any labels.
        floor: see `Intervals`.
        bins: of predictions, each with the same weight in calibration.

    Raises:
        ConfigError: fewer than ten units, or in a bin.
    """
    truths, units = np.asarray(truth, np.float64), np.unique(np.asarray(unit), return_inverse=True)[1]
    below, above = _distances(spread, floor)
    away = truths - spread[:, 1]
    scores = np.where(away < 0.0, -away / below, away / above)
    weight = 1.0 / np.bincount(units)[units] if len(units) else np.empty(0)
    edge = _edges(spread[:, 1], weight, bins)
    which = np.searchsorted(edge, spread[:, 1], side="right")
    found = [_one(scores[which == b], units[which == b]) for b in range(bins)]
    return Intervals(edge, np.stack([f[0] for f in found]), np.stack([f[1] for f in found]), floor)


def _distances(spread: NDArray[np.float64], floor: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, middle, high = spread.T
    return np.maximum(middle - low, floor), np.maximum(high - middle, floor)


def _edges(mean: NDArray[np.float64], weight: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    order = np.argsort(mean, kind="stable")
    passed = np.cumsum(weight[order])
    places = np.searchsorted(passed, passed[-1] * np.arange(1, bins) / bins) if bins > 1 else np.empty(0, np.int64)
    return np.asarray(mean[order][places])


def _one(score: NDArray[np.float64], unit: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores and masses of one bin; the mass of one unit more, that to come, lies beyond all scores."""
    present, rows = np.unique(unit, return_counts=True)
    if len(present) < _UNITS_MIN:
        raise ConfigError(f"{len(present)} units to calibrate intervals with: at least {_UNITS_MIN} are wanted")
    weight = 1.0 / (rows[np.searchsorted(present, unit)] * (len(present) + 1.0))
    order = np.argsort(score, kind="stable")
    mass = np.minimum(np.cumsum(weight[order]), len(present) / (len(present) + 1.0))
    # The highest score of each of so many equal masses: never less than the exact quantile.
    grid = mass[-1] * np.arange(1, _KEPT_MAX + 1) / _KEPT_MAX
    place = np.minimum(np.searchsorted(mass, grid * (1.0 - 1e-12)), len(mass) - 1)
    return score[order][place], grid
