"""Calibration tables: knots joined by straight lines or by a monotone cubic, evaluated with their uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trueline_edge.calibration.task import Curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_edge.calibration.models import Table

    F64 = NDArray[np.float64]
    F32 = NDArray[np.float32]

__all__ = ["TableCurve", "monotone_slopes"]


class TableCurve:
    """One table."""

    def __init__(self, table: Table) -> None:
        self._raw, self._value = np.array(table.raw), np.array(table.value)
        self._covariance = table.knots_covariance
        self._chords = np.diff(self._value) / np.diff(self._raw)
        self._slopes = monotone_slopes(self._raw, self._value) if table.smooth else None

    def constant_slope(self) -> None:
        """A table has no slope that is the same everywhere."""

    def __call__(self, own: F64, *_: object) -> Curve:
        """Evaluate (n, 1) raw values."""
        x = own[:, 0]
        i = np.clip(np.searchsorted(self._raw, x, side="right") - 1, 0, len(self._chords) - 1)
        width = self._raw[i + 1] - self._raw[i]
        s = (x - self._raw[i]) / width
        if self._slopes is None:
            value, slope = self._value[i] + s * width * self._chords[i], self._chords[i]
        else:
            value, slope = self._hermite(x, i, s, width)
        c = self._covariance
        variance = (1 - s) ** 2 * c[i, i] + 2 * s * (1 - s) * c[i, i + 1] + s**2 * c[i + 1, i + 1]
        narrow = np.float32
        return Curve(value[:, None], slope.astype(narrow)[:, None], np.maximum(variance, 0).astype(narrow)[:, None])

    def _hermite(self, x: F64, i: NDArray[np.intp], s: F64, width: F64) -> tuple[F64, F64]:
        slopes = self._slopes
        assert slopes is not None  # noqa: S101 - the caller has looked
        left, right = slopes[i], slopes[i + 1]
        a, b = self._value[i], self._value[i + 1]
        t = np.clip(s, 0.0, 1.0)
        value = (
            a * (1 + 2 * t) * (1 - t) ** 2
            + left * width * t * (1 - t) ** 2
            + b * t**2 * (3 - 2 * t)
            + right * width * t**2 * (t - 1)
        )
        slope = (6 * t * (1 - t)) * (b - a) / width + left * (1 - t) * (1 - 3 * t) + right * t * (3 * t - 2)
        beyond = np.minimum(x - self._raw[0], 0.0) * slopes[0] + np.maximum(x - self._raw[-1], 0.0) * slopes[-1]
        return value + beyond, slope


def monotone_slopes(raw: F64, value: F64) -> F64:
    """(m,) slopes at the knots that keep the cubic monotone (Fritsch and Butland, SIAM J. Sci. Comput. 5, 1984)."""
    width = np.diff(raw)
    chord = np.diff(value) / width
    slopes = np.concatenate([chord[:1], np.zeros(len(raw) - 2), chord[-1:]])
    left, right = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    slopes[1:-1] = (left + right) / (left / chord[:-1] + right / chord[1:])
    return slopes
