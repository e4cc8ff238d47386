"""Centre and scale of each channel: what makes channels of different units comparable.

Promises: robust by default (median and interquartile range over 1.349, which is the standard deviation of normal
numbers), so a few outliers in the training part do not hide others; a cell that is not valid comes out 0.

A channel that never moved in training gives no scale. Any move of it is strange, but how strange is not known: its
scale is `FLOOR` of its magnitude, and `clip` bounds what one channel can say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_model.series import Series

__all__ = ["FLOOR", "Scale", "fit_scale"]

FLOOR: Final = 1e-3
"""Smallest scale, relative to the largest magnitude of the channel (1 where it is always 0)."""

_IQR_OF_NORMAL: Final = 1.349


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """How to make numbers without unit.

    Attributes:
        centre: (k,), the channels' units.
        scale: (k,), the channels' units, above 0.
        clip: largest magnitude that comes out; infinity for none.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    clip: float = float("inf")

    def __call__(self, value: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(n, k) deviations in scales, 0 where not valid."""
        with np.errstate(over="ignore"):
            moved = np.clip((np.where(valid, value, self.centre) - self.centre) / self.scale, -self.clip, self.clip)
        return np.clip(moved, -1e150, 1e150)  # whose square is still a number


def fit_scale(
    series: Sequence[Series], *, clip: float = float("inf"), method: Literal["robust", "standard"] = "robust"
) -> Scale:
    """Centre and scale of recordings of normal running.

    Raises:
        ConfigError: there is no row, or a channel has no valid value.
    """
    if not series:
        raise ConfigError("no recording to fit: give at least one of normal running")
    value = np.concatenate([each.value for each in series])
    valid = np.concatenate([each.valid for each in series])
    centre, scale = np.empty(value.shape[1]), np.empty(value.shape[1])
    for j, name in enumerate(series[0].channels):
        cells = value[valid[:, j], j]
        if not len(cells):
            raise ConfigError(
                f"channel {name} has no valid value in the training part: leave it out, or mend its flags"
            )
        centre[j], scale[j] = _robust(cells) if method == "robust" else (cells.mean(), cells.std())
        scale[j] = max(scale[j], FLOOR * (float(np.abs(cells).max()) or 1.0))
    return Scale(centre, scale, clip)


def _robust(cells: NDArray[np.float64]) -> tuple[float, float]:
    """Median and robust deviation; a channel at rest more than half of the time is judged by its standard deviation."""
    low, middle, high = np.quantile(cells, [0.25, 0.5, 0.75])
    spread = (high - low) / _IQR_OF_NORMAL
    return float(middle), float(spread if spread > 0.0 else cells.std())
