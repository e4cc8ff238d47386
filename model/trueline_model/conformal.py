"""Conformal p-values: how often a row of normal running scores at least as high as this one.

Promises: with scores exchangeable with those of calibration, P(p <= a) <= a for every a (Vovk, Gammerman and Shafer,
Algorithmic Learning in a Random World; Bates et al., Ann. Statist. 51 (2023)): p = (1 + how many of n are at least as
high) / (n + 1). Beyond the highest scores of calibration, where that says only "below 1 / (n + 1)", a Pareto tail goes
on (`tail`): an extrapolation, used for order and for rare alarms, and said to be one.

Refuses to know time: rows of one recording follow one another, so p-values of neighbours go together. How many alarms
come of them is counted, not computed: `alarm`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trueline_model.arrays import array
from trueline_model.tail import EXCEEDANCES_MIN, Tail, fit_tail
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Calibration", "beyond_counting", "calibrate"]

KEPT_MAX = 1000
"""Scores kept of a calibration: its highest exactly, and as many quantiles of the others as fit."""

_CALIBRATION_MIN = 20
_LN10 = float(np.log(10.0))


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What normal scores look like.

    Attributes:
        level: (m,) rising scores of calibration.
        above: (m,) how many of calibration's scores are at least as high as each.
        beyond: (m,) how many are higher.
        rows: scores in calibration.
        tail: beyond the highest; None where there is no tail to see.
    """

    level: NDArray[np.float64]
    above: NDArray[np.float64]
    beyond: NDArray[np.float64]
    rows: int
    tail: Tail | None

    def p(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Conformal p-values (n,), at least 1 / (rows + 1); NaN where the score is."""
        place = np.searchsorted(self.level, score, side="left")
        equal = self.level[np.minimum(place, len(self.level) - 1)] == score
        # Between two kept levels at most as many as lie above the lower one: never too small a p.
        between = np.concatenate([[float(self.rows)], self.beyond])[place]
        count = np.where(equal, self.above[np.minimum(place, len(self.level) - 1)], between)
        return np.where(np.isfinite(score), (1.0 + count) / (self.rows + 1.0), np.nan)

    def surprise(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """-log10 p (n,), with the tail where calibration ends; NaN where the score is."""
        return beyond_counting(self.p(score), score, np.float64(self.rows), self.tail)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What to keep of it in a package."""
        tail = np.array(self.tail if self.tail is not None else (), np.float64)
        rows = np.array(float(self.rows))
        above, beyond = self.above.astype(np.int32), self.beyond.astype(np.int32)  # counts: half the size, nothing lost
        return {"level": self.level, "above": above, "beyond": beyond, "rows": rows, "tail": tail}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Calibration:
        """The calibration whose `arrays()` these are.

        Raises:
            ConfigError: one is missing, or of another shape.
        """
        level, tail = array(arrays, "level", 1), array(arrays, "tail", 1)
        above = array(arrays, "above", 1, level.shape)
        beyond = array(arrays, "beyond", 1, level.shape)
        if len(tail) not in (0, 4) or not len(level) or np.any(np.diff(level) < 0.0) or np.any(np.diff(above) > 0.0):
            raise ConfigError("the calibration is no calibration: make the package again")
        return cls(level, above, beyond, int(array(arrays, "rows", 0)), Tail(*map(float, tail)) if len(tail) else None)


def beyond_counting(
    p: NDArray[np.float64], score: NDArray[np.float64], rows: NDArray[np.float64] | np.float64, tail: Tail | None
) -> NDArray[np.float64]:
    """-log10 p (n,), with the tail where fewer than `EXCEEDANCES_MIN` of so many rows are left to count."""
    decades = -np.log10(p)
    if tail is None:
        return np.asarray(decades)
    few = -np.log10((1.0 + EXCEEDANCES_MIN) / (rows + 1.0))
    extended = np.maximum(few, -tail.log_survival(score) / _LN10)
    return np.where(decades >= few, np.where(np.isfinite(score), extended, np.nan), decades)


def calibrate(score: NDArray[np.float64], *, kept_max: int = KEPT_MAX) -> Calibration:
    """A calibration from scores (n,) of normal running that the detector was not fitted to; NaN is left out.

    Args:
        score: see there.
        kept_max: scores kept at most; between two of them p is never too small.

    Raises:
        ConfigError: fewer than 20 scores.
    """
    ordered = np.sort(score[np.isfinite(score)])
    if len(ordered) < _CALIBRATION_MIN:
        raise ConfigError(
            f"{len(ordered)} scores to calibrate with: at least {_CALIBRATION_MIN} of normal running are wanted, "
            "and more for every rarer alarm"
        )
    level, first, ties = np.unique(ordered, return_index=True, return_counts=True)
    above = (len(ordered) - first).astype(np.float64)
    beyond = above - ties
    if len(level) > kept_max:
        half = kept_max // 2
        rest = np.unique(np.linspace(0, len(level) - half - 1, kept_max - half).astype(int))
        kept = np.concatenate([rest, np.arange(len(level) - half, len(level))])
        level, above, beyond = level[kept], above[kept], beyond[kept]
    return Calibration(level, above, beyond, len(ordered), fit_tail(ordered))
