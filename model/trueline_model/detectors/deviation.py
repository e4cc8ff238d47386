"""Mean squared or absolute deviation from the centre: the simplest detector, and the one to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trueline_model.detectors.settings import DetectorSettings, ScaledDetector, judged, training
from trueline_model.rows import running_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_model.detector import Scored, State
    from trueline_model.series import Series

__all__ = ["Deviation", "DeviationDetector"]


class Deviation(DetectorSettings, frozen=True, kw_only=True, tag="deviation"):
    """Settings of the deviation.

    Attributes:
        power: 1 for mean |z|, 2 for mean z squared.
        mean_rows: the score is the mean of that many rows.
    """

    power: Literal[1, 2] = 1
    mean_rows: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mean_rows < 1:
            raise ValueError(f"mean_rows {self.mean_rows} must be at least 1")

    def fit(self, series: Sequence[Series], seed: int = 0) -> DeviationDetector:  # noqa: ARG002 - nothing is drawn
        """Centre and scale of the training part."""
        return DeviationDetector(self, training(self, series)[0])

    def detector(self, arrays: Mapping[str, NDArray[Any]]) -> DeviationDetector:
        """As `Recipe`."""
        return DeviationDetector(self, self.scale(arrays))


@dataclass(frozen=True, slots=True, eq=False)
class DeviationDetector(ScaledDetector[Deviation]):
    """Fitted centre and scale."""

    @property
    def warm_up(self) -> int:
        """As `Detector`."""
        return self.recipe.mean_rows - 1

    def score(self, value: NDArray[np.float64], valid: NDArray[np.bool_], state: State | None = None) -> Scored:
        """As `Detector`."""
        count = valid.sum(axis=1, keepdims=True)
        raw = np.full(value.shape, np.nan)
        np.divide(np.abs(self.scale(value, valid)) ** self.recipe.power, count, out=raw, where=count > 0)
        mean, left = running_mean(raw, self.recipe.mean_rows, state)
        return judged(mean, left)
