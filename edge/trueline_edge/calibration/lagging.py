"""A sensor's time constant from readings beside a reference: the lag that explains most once it is undone.

Readings are unlagged with one time constant after the other (`lag.py`), averaged over the intervals of the reference,
and held against it in a straight line with all other inputs. The profile of the residuals' variance is the likelihood's
(profile likelihood: Pawitan, "In All Likelihood", 2001, ch. 3), counted in as many residuals as are independent.
To the first order a lag is a delay: an offset of the clocks that was found before is given back as far as the lag
explains it. Refuses to say a time constant where no lag does nearly as well, or one below the readings' interval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_edge.calibration.lag import LagState, undo_lag
from trueline_edge.calibration.pairing import average_onto, interval_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F64 = NDArray[np.float64]
    I64 = NDArray[np.int64]

__all__ = ["LagFound", "estimate_lag", "rate_max_of", "unlagged"]

_TRIALS = 16
_REFINED = 4
_STEP_SHARE = 0.3
"""Of the readings' interval: where the search begins."""
_GAIN_MIN = 5.4
"""Of the log likelihood: one in a thousand by chance (chi-squared of one degree of freedom, halved)."""
_PAIRS_MIN = 48
_END = 6
"""Part of an interval that its end is averaged over."""


class LagFound(NamedTuple):
    """What the data say.

    Attributes:
        time_constant_s: 0 where they do not say.
        u_s: its standard uncertainty.
        offset_s: of the raw clock, beside the lag.
        gain: of the log likelihood over no lag at all.
    """

    time_constant_s: float
    u_s: float
    offset_s: float
    gain: float


def rate_max_of(time_ns: I64, value: F64) -> float:
    """Units per second beyond which a reading did not lag behind the one before: a few times the fastest.

    Of a thousand moves one may be a spike, and is left out.
    """
    there = np.isfinite(value)
    elapsed_s = np.diff(time_ns[there]) * 1e-9
    moves = np.abs(np.diff(value[there]))[elapsed_s > 0.0] / elapsed_s[elapsed_s > 0.0]
    fastest = float(np.quantile(moves, _COUNTED)) if len(moves) else 0.0
    return _FASTER * fastest if fastest > 0.0 else float("inf")


_FASTER, _COUNTED = 5.0, 0.999


def unlagged(time_ns: I64, value: F64, column: int, time_constant_s: float) -> F64:
    """(n, k) readings, in order of time, with the lag of one column undone."""
    if time_constant_s <= 0.0:
        return value
    out = value.copy()
    own = value[:, column]
    out[:, column] = undo_lag(LagState(), time_ns, own, np.isfinite(own), time_constant_s)[0].value
    return out


def estimate_lag(
    start_ns: I64,
    width_ns: int,
    reference: F64,
    time_ns: I64,
    value: F64,
    column: int,
    *,
    max_s: float,
    offset_s: float,
) -> LagFound:
    """Look for a first-order lag.

    Args:
        start_ns: (m,) where each interval of the reference begins, rising.
        width_ns: of the intervals.
        reference: (m,)
        time_ns: (n,) of the raw readings, rising.
        value: (n, k) raw readings.
        column: of the sensor; the others are its conditions.
        max_s: longest time constant to look for.
        offset_s: by which the raw clock was found to be ahead; 0 where it is trusted.
    """
    step_s = interval_of(time_ns) * 1e-9
    least_s = _STEP_SHARE * step_s
    nothing = LagFound(0.0, 0.0, offset_s, 0.0)
    if max_s <= least_s:
        return nothing
    pairs = _Pairs(start_ns, width_ns, reference, time_ns, value, column)

    def left(lag_s: float) -> tuple[float, float]:
        return pairs.left(lag_s, step_s, _ahead_s(offset_s, lag_s))

    none, _ = left(0.0)
    trials = np.geomspace(least_s, max_s, _TRIALS)
    for _ in range(_REFINED):
        each = [left(lag_s) for lag_s in trials]
        best = int(np.argmin([variance for variance, _ in each]))
        around = trials[max(best - 1, 0)], trials[min(best + 1, len(trials) - 1)]
        found_s, (lowest, independent) = float(trials[best]), each[best]
        trials = np.linspace(*around, _TRIALS)
    gain = 0.5 * independent * (none - lowest)
    if not np.isfinite(gain) or gain < _GAIN_MIN or found_s < step_s:
        return nothing  # a shorter one is no more than where in its interval a reading was taken
    aside_s = 0.1 * found_s
    bend = (left(found_s + aside_s)[0] + left(found_s - aside_s)[0] - 2.0 * lowest) / aside_s**2
    u_s = 1.0 / np.sqrt(max(0.5 * independent * bend, 1.0 / max_s**2))
    if offset_s:  # which was found on a grid of readings
        u_s = np.hypot(u_s, step_s)
    return LagFound(float(f"{found_s:.4g}"), float(f"{u_s:.2g}"), _ahead_s(offset_s, found_s), gain)


def _ahead_s(offset_s: float, lag_s: float) -> float:
    """What is left of an offset of the clocks beside a lag, which is a delay of the readings: they seem ahead."""
    return offset_s - min(lag_s, offset_s) if offset_s > 0.0 else offset_s


class _Pairs:
    """Means over the intervals of a reference, and how far the sensor moved from one end of each to the other.

    Undone, a lag adds to a mean in proportion to that move alone (the sum telescopes); so its ends are averaged over a
    part of the interval, for their noise would speak against every lag.
    """

    def __init__(self, start_ns: I64, width_ns: int, reference: F64, time_ns: I64, value: F64, column: int) -> None:
        self._start_ns, self._width_ns, self._reference = start_ns, width_ns, reference
        self._time_ns, self._value, self._column = time_ns, value, column
        second = np.diff(value[:, column], 2)
        second = second[np.isfinite(second)]
        self._noise_2 = (1.4826 * float(np.median(np.abs(second))) if len(second) else 0.0) ** 2 / 6.0
        self._end_ns = max(width_ns // _END, 2)

    def left(self, lag_s: float, step_s: float, ahead_s: float) -> tuple[float, float]:
        """Log of the residuals' variance, and how many of them are independent."""
        start_ns = self._start_ns + int(ahead_s * 1e9)
        mean, _ = average_onto(start_ns, self._width_ns, self._time_ns, self._value)
        ends, counts = zip(*(self._ends(start_ns + at) for at in (0, self._width_ns)), strict=True)
        remembered = np.exp(-step_s / lag_s) if lag_s > 0.0 else 0.0
        times = remembered / (1.0 - remembered) * step_s / (self._width_ns * 1e-9)
        if times:
            mean[:, self._column] += times * (ends[1] - ends[0])
        good = np.isfinite(self._reference) & np.isfinite(mean).all(axis=1) & np.isfinite(ends[1] - ends[0])
        if good.sum() < _PAIRS_MIN:
            return np.inf, 1.0
        x = np.concatenate([np.ones((int(good.sum()), 1)), mean[good] - mean[good].mean(axis=0)], axis=1)
        y = self._reference[good]
        line = np.linalg.lstsq(x, y, rcond=None)[0]
        residual = y - x @ line
        limit = 6.0 * 1.4826 * float(np.median(np.abs(residual)))
        residual = np.clip(residual, -limit, limit)
        squares = float(residual @ residual)
        own = 2.0 * self._noise_2 / float(np.mean(counts)) * (times * line[1 + self._column]) ** 2
        variance = max(squares / len(y) - own, 1e-3 * squares / len(y) + 1e-300)
        alike = min(max(float(residual[1:] @ residual[:-1]) / max(squares, 1e-300), 0.0), 0.99)
        return float(np.log(variance)), len(y) * (1.0 - alike) / (1.0 + alike)

    def _ends(self, at_ns: I64) -> tuple[F64, float]:
        """(m,) the sensor about moments, and how many readings that is."""
        own = self._value[:, [self._column]]
        mean, count = average_onto(at_ns - self._end_ns // 2, self._end_ns, self._time_ns, own)
        return mean[:, 0], max(float(np.median(count)), 1.0)
