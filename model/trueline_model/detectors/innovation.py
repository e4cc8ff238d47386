"""Innovations: how far each row is from what the rows before it led to expect (EWMA, Holt), judged as NIS.

The one-step forecast is that of the steady-state Kalman filter of a local level (Muth, JASA 55 (1960): an EWMA) or of a
local linear trend (Holt's method). Its innovation, squared over its variance in the training part, is the normalised
innovation squared (Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 5.4);
jointly over channels by their covariance, or channel by channel. Where a stream has innovations of a filter of its own
(stage `estimate`), `smoothing` 0 takes the rows themselves as innovations: NIS for free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trueline_model.arrays import array
from trueline_model.detectors.settings import DetectorSettings, ScaledDetector, judged, training
from trueline_model.rows import patterns, product, running_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_model.detector import Parts, Scored, State
    from trueline_model.series import Series

__all__ = ["Innovation", "InnovationDetector"]


class Innovation(DetectorSettings, frozen=True, kw_only=True, tag="innovation"):
    """Settings of the forecast.

    Attributes:
        smoothing: weight of the newest row in the level, between 0 and 1; 0: rows are innovations already.
        trend: weight of the newest step in the trend; 0 for none (EWMA), above 0 Holt's method.
        joint: whether channels are judged together, by the covariance of their innovations.
        mean_rows: the score is the mean of that many rows.
    """

    smoothing: float = 0.3
    trend: float = 0.0
    joint: bool = False
    mean_rows: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.smoothing <= 1.0 or not 0.0 <= self.trend <= 1.0:
            raise ValueError(f"smoothing {self.smoothing} and trend {self.trend} must be between 0 and 1")
        if self.mean_rows < 1:
            raise ValueError(f"mean_rows {self.mean_rows} must be at least 1")

    def fit(self, series: Sequence[Series], seed: int = 0) -> InnovationDetector:  # noqa: ARG002 - nothing is drawn
        """Covariance of the innovations of the training part; a channel not there counts as forecast rightly."""
        scale, z, _ = training(self, series)
        found = [self.innovations(scale(each.value, each.valid), each.valid)[0] for each in series]
        covariance = sum(each.T @ each for each in found) / len(z)
        # A channel that never surprised in training is given the floor of its scale, not certainty.
        return InnovationDetector(self, scale, np.asarray(covariance) + 1e-6 * np.eye(z.shape[1]))

    def detector(self, arrays: Mapping[str, NDArray[Any]]) -> InnovationDetector:
        """As `Recipe`."""
        scale = self.scale(arrays)
        k = len(scale.centre)
        covariance = array(arrays, "covariance", 2, (k, k))
        return InnovationDetector(self, scale, covariance)

    def innovations(
        self, z: NDArray[np.float64], valid: NDArray[np.bool_], state: State | None = None
    ) -> tuple[NDArray[np.float64], State]:
        """Row less forecast, (n, k), 0 where not valid; level, trend and whether there is a level go on."""
        if self.smoothing == 0.0:
            return np.where(valid, z, 0.0), {}
        level = np.zeros(z.shape[1]) if state is None else state["level"]
        slope = np.zeros(z.shape[1]) if state is None else state["slope"]
        begun = np.zeros(z.shape[1], bool) if state is None else state["begun"]
        out = np.zeros(z.shape)
        for i in range(len(z)):
            expected = level + slope
            surprise = np.where(valid[i] & begun, z[i] - expected, 0.0)
            out[i] = surprise
            first = valid[i] & ~begun
            moved = np.where(first, z[i], expected + self.smoothing * surprise)
            slope = slope + self.trend * self.smoothing * surprise
            level, begun = moved, begun | valid[i]
        return out, {"level": level, "slope": slope, "begun": begun}


@dataclass(frozen=True, slots=True, eq=False)
class InnovationDetector(ScaledDetector[Innovation]):
    """Fitted scale and the covariance (k, k) of innovations, in scales."""

    covariance: NDArray[np.float64]

    @property
    def warm_up(self) -> int:
        """As `Detector`."""
        return self.recipe.mean_rows - 1

    def score(self, value: NDArray[np.float64], valid: NDArray[np.bool_], state: State | None = None) -> Scored:
        """As `Detector`."""
        surprise, left = self.recipe.innovations(self.scale(value, valid), valid, state)
        raw = np.full(value.shape, np.nan)
        for pattern, rows in patterns(valid):
            raw[rows] = product(surprise[rows], self._root(pattern)) ** 2 / pattern.sum()
        mean, kept = running_mean(raw, self.recipe.mean_rows, state)
        return judged(mean, {**left, **kept})

    def _root(self, there: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Inverse square root of the covariance of the channels there; (k, k), 0 at the others."""
        whole = np.zeros_like(self.covariance)
        if self.recipe.joint:
            value, vector = np.linalg.eigh(self.covariance[np.ix_(there, there)])
            whole[np.ix_(there, there)] = (vector / np.sqrt(np.maximum(value, 1e-9))) @ vector.T
        else:
            whole[there, there] = 1.0 / np.sqrt(np.diag(self.covariance)[there])
        return whole

    def parts(self) -> Parts:
        """As `Detector`."""
        return self.kept(covariance=self.covariance)
