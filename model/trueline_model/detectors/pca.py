"""PCA residual: what does not fit the correlations of normal running (SPE), or goes too far along them (T2).

Sources: Jackson and Mudholkar, Technometrics 21 (1979) for SPE and T2; Yue and Qin, Ind. Eng. Chem. Res. 40 (2001) for
their sum; complete decomposition contributions after Qin, J. Chemometrics 17 (2003): an index z' F z is split over the
channels as the squares of F^(1/2) z, which are at least 0 and sum to it. Missing channels: projection to the model
plane of those that are there (Nelson, Taylor and MacGregor, Chemometrics Intell. Lab. Syst. 35 (1996)).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trueline_model.arrays import array
from trueline_model.detectors.settings import DetectorSettings, ScaledDetector, judged, training
from trueline_model.rows import patterns, product, running_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_model.detector import Parts, Scored, State
    from trueline_model.series import Series

__all__ = ["Pca", "PcaDetector"]

_PATTERNS_MAX = 256


class Pca(DetectorSettings, frozen=True, kw_only=True, tag="pca"):
    """Settings of the PCA residual.

    Attributes:
        variance_kept: share of variance the model plane explains, between 0 and 1.
        statistic: "spe" (residual), "t2" (within the plane), or "both": Mahalanobis' distance under the model.
        mean_rows: the score is the mean of that many rows.
    """

    variance_kept: float = 0.9
    statistic: Literal["spe", "t2", "both"] = "spe"
    mean_rows: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.variance_kept < 1.0:
            raise ValueError(f"variance_kept {self.variance_kept} must be between 0 and 1")
        if self.mean_rows < 1:
            raise ValueError(f"mean_rows {self.mean_rows} must be at least 1")

    def fit(self, series: Sequence[Series], seed: int = 0) -> PcaDetector:  # noqa: ARG002 - nothing is drawn
        """Directions and variances of the training part; a cell that is not valid counts as its channel's centre."""
        scale, z, _ = training(self, series)
        covariance = z.T @ z / len(z)
        variance, direction = np.linalg.eigh(covariance)
        variance, direction = variance[::-1].clip(0.0), direction[:, ::-1]
        total = variance.sum()
        kept = int(np.searchsorted(np.cumsum(variance), self.variance_kept * total)) + 1 if total > 0.0 else 0
        kept = min(kept, z.shape[1] - 1)
        rest = variance[kept:].mean() if kept < len(variance) else 0.0
        return PcaDetector(self, scale, direction[:, :kept], variance[:kept], max(float(rest), 1e-9 * max(total, 1e-9)))

    def detector(self, arrays: Mapping[str, NDArray[Any]]) -> PcaDetector:
        """As `Recipe`."""
        scale = self.scale(arrays)
        k = len(scale.centre)
        direction = array(arrays, "direction", 2, (k, None))
        return PcaDetector(
            self,
            scale,
            direction,
            array(arrays, "variance", 1, (direction.shape[1],)),
            float(array(arrays, "rest", 0)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class PcaDetector(ScaledDetector[Pca]):
    """A fitted model plane: `direction` (k, m) with variances `variance` (m,), and `rest` in each direction outside."""

    direction: NDArray[np.float64]
    variance: NDArray[np.float64]
    rest: float
    _roots: dict[bytes, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def warm_up(self) -> int:
        """As `Detector`."""
        return self.recipe.mean_rows - 1

    def score(self, value: NDArray[np.float64], valid: NDArray[np.bool_], state: State | None = None) -> Scored:
        """As `Detector`."""
        z = self.scale(value, valid)
        raw = np.full(z.shape, np.nan)
        for pattern, rows in patterns(valid):
            raw[rows] = product(z[rows], self._root(pattern)) ** 2
        mean, left = running_mean(raw, self.recipe.mean_rows, state)
        return judged(mean, left)

    def _root(self, pattern: NDArray[np.bool_]) -> NDArray[np.float64]:
        """F^(1/2) for the channels there, scaled up for those that are not; (k, k), 0 at the others."""
        key = pattern.tobytes()
        if key not in self._roots:
            if len(self._roots) >= _PATTERNS_MAX:
                self._roots.clear()
            there = self.direction[pattern]
            if self.recipe.statistic == "spe":
                root = np.eye(len(there)) - there @ np.linalg.pinv(there)
            else:
                covariance = (there * self.variance) @ there.T
                if self.recipe.statistic == "both":
                    covariance += self.rest * (np.eye(len(there)) - there @ there.T)
                value, vector = np.linalg.eigh(covariance)
                seen = value > 1e-9 * max(float(value[-1]), 1e-300)
                root = (vector[:, seen] / np.sqrt(value[seen])) @ vector[:, seen].T
            whole = np.zeros((len(pattern), len(pattern)))
            whole[np.ix_(pattern, pattern)] = root * np.sqrt(len(pattern) / len(there))
            self._roots[key] = whole
        return self._roots[key]

    def parts(self) -> Parts:
        """As `Detector`."""
        return self.kept(
            direction=self.direction,
            variance=self.variance,
            rest=np.array(self.rest),
        )
