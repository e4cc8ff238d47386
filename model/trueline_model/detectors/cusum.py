"""Cumulative sums: small shifts that last, which no single row shows.

Two-sided per channel, on deviations in scales. "cusum": S = max(0, S + |z| in its direction - slack) (Page,
Biometrika 41 (1954)); "page_hinkley": the same against a running mean instead of the training centre, which forgives
slow drift (Hinkley, Biometrika 58 (1971)). Sums are bounded (`ceiling`), so an alarm ends when its cause does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trueline_model.detectors.settings import DetectorSettings, ScaledDetector, judged, training

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_model.detector import Scored, State
    from trueline_model.series import Series

__all__ = ["Cusum", "CusumDetector"]


class Cusum(DetectorSettings, frozen=True, kw_only=True, tag="cusum"):
    """Settings of the sums.

    Attributes:
        slack: deviation forgiven in every row, in scales; half of the shift worth finding.
        ceiling: largest sum, in scales.
        against: the training "centre" (CUSUM), or a running "mean" (Page-Hinkley).
        memory_rows: time constant of the running mean.
        clip: largest deviation of one row: one spike is no shift.
    """

    slack: float = 0.5
    ceiling: float = 100.0
    against: Literal["centre", "mean"] = "centre"
    memory_rows: int = 1000
    clip: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.slack < 0.0 or not self.ceiling > 0.0 or self.memory_rows < 1:
            raise ValueError(
                f"slack {self.slack} must not be negative, ceiling {self.ceiling} above 0, "
                f"memory_rows {self.memory_rows} at least 1"
            )

    def fit(self, series: Sequence[Series], seed: int = 0) -> CusumDetector:  # noqa: ARG002 - nothing is drawn
        """Centre and scale of the training part."""
        return CusumDetector(self, training(self, series)[0])

    def detector(self, arrays: Mapping[str, NDArray[Any]]) -> CusumDetector:
        """As `Recipe`."""
        return CusumDetector(self, self.scale(arrays))


@dataclass(frozen=True, slots=True, eq=False)
class CusumDetector(ScaledDetector[Cusum]):
    """Fitted centre and scale."""

    @property
    def warm_up(self) -> int:
        """As `Detector`."""
        return 0

    def score(self, value: NDArray[np.float64], valid: NDArray[np.bool_], state: State | None = None) -> Scored:
        """As `Detector`; a channel not there keeps its sums."""
        z = self.scale(value, valid)
        nothing = np.zeros(self.width)
        up, down, mean = (nothing, nothing, nothing) if state is None else (state["up"], state["down"], state["mean"])
        weight = 1.0 / self.recipe.memory_rows if self.recipe.against == "mean" else 0.0
        slack, ceiling = self.recipe.slack, self.recipe.ceiling
        sums = np.zeros(z.shape)
        for i in range(len(z)):
            deviation = z[i] - mean
            up = np.where(valid[i], np.minimum(np.maximum(up + deviation - slack, 0.0), ceiling), up)
            down = np.where(valid[i], np.minimum(np.maximum(down - deviation - slack, 0.0), ceiling), down)
            mean = np.where(valid[i], mean + weight * deviation, mean)
            np.maximum(up, down, out=sums[i])
        said = valid.any(axis=1, keepdims=True)
        contribution = np.where(
            said, np.where(valid, sums, 0.0) / np.maximum(valid.sum(axis=1, keepdims=True), 1), np.nan
        )
        return judged(contribution, {"up": up, "down": down, "mean": mean})
