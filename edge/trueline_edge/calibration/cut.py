"""Readings at the end of a sensor's range: what was cut off lies between there and the limit of the quantity.

    value = (c + q) / 2    u^2 = u_c^2 + (q - c)^2 / 12    c: the corrected end of the range, q: the quantity's limit

a rectangle (JCGM 100:2008, 4.3.7). A sensor with play shows the quantity's limit short by the half-width: so far
goes what it shows. Promises: readings within the range come out as they came in. Refuses to know files and flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_edge.calibration.task import Task

    F64 = NDArray[np.float64]
    F32 = NDArray[np.float32]

__all__ = ["CutOff", "Uncut"]


class Uncut(NamedTuple):
    """What may have been cut off, allowed for; (n, k) each."""

    value: F64
    u: F32
    var: F64
    """What of the square of `u` is because of it."""
    end: F64
    """Where it was cut off, corrected; NaN where nothing was."""
    limit: F64
    """How far the quantity goes there; NaN likewise."""


class CutOff:
    """The ends of the ranges of some channels.

    Args:
        tasks: of the channels; each calibration has limits.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._columns = np.array([task.column for task in tasks])
        limits = [task.calibration.limits for task in tasks if task.calibration.limits]
        half = np.array([task.calibration.play.half_width if task.calibration.play else 0.0 for task in tasks])
        self._raw = np.array([each.raw for each in limits]).T
        value = np.array([each.value for each in limits]).T
        self._sign = np.sign(value[1] - value[0])
        self._limit = value
        self._value = np.stack([value[0] + self._sign * half, value[1] - self._sign * half])

    def __call__(self, raw: F64, value: F64, u: F32) -> Uncut | None:
        """Allow for what was cut off; None where nothing was.

        Args:
            raw: (n, k) as the sensors gave it.
            value: (n, k) corrected.
            u: (n, k) standard uncertainty of `value`.
        """
        at = self._columns
        low, high = raw[:, at] <= self._raw[0], raw[:, at] >= self._raw[1]
        if not (low.any() or high.any()):
            return None
        shown = value[:, at]
        ahead = np.where(high, self._value[1] - shown, np.where(low, shown - self._value[0], 0.0)) * self._sign
        hidden = np.maximum(ahead, 0.0) * np.where(high, self._sign, -self._sign)
        var, end, limit = np.zeros(value.shape), np.full(value.shape, np.nan), np.full(value.shape, np.nan)
        var[:, at] = hidden**2 / 12.0
        end[:, at] = np.where(low | high, shown, np.nan)
        limit[:, at] = np.where(high, self._limit[1], np.where(low, self._limit[0], np.nan))
        value, u = value.copy(), u.copy()
        value[:, at] = shown + hidden / 2.0
        u[:, at] = np.sqrt(np.square(u[:, at]) + var[:, at].astype(np.float32))
        return Uncut(value, u, var, end, limit)
