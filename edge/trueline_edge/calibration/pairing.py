"""Two clocks and two rates -> pairs: raw readings averaged over the intervals of a reference.

Promises: an interval counts only where enough of it was measured; an unknown offset between the clocks is estimated
from the data, with what speaks for it. Refuses to interpolate: a reference that is an average is compared with one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F64 = NDArray[np.float64]
    I64 = NDArray[np.int64]

__all__ = ["ClockOffset", "average_onto", "estimate_offset", "interval_of"]

_LAGS: Final = 121
_PAIRS_MIN: Final = 24
_GROSS: Final = 4.0
"""Robust standard deviations beyond which a step counts no more."""
_FOLLOWS: Final = 0.3
"""Correlation of steps below which the sensor hardly follows its reference, and nothing can be said of clocks."""


class ClockOffset(NamedTuple):
    """How far the raw clock is ahead of the reference's.

    Attributes:
        offset_s: subtract it from raw times; 0 where the data do not say.
        correlation: of steps from interval to interval, with the offset.
        correlation_as_is: without.
        certain: the correlation with the offset stands out against that without, and against chance.
    """

    offset_s: float
    correlation: float
    correlation_as_is: float
    certain: bool


def interval_of(time_ns: I64) -> int:
    """The usual step of a clock, nanoseconds.

    Raises:
        ValueError: fewer than two times, or a clock that stands still.
    """
    steps = np.diff(np.sort(time_ns))
    steps = steps[steps > 0]
    if not len(steps):
        raise ValueError("two different times at least are needed")
    return int(np.median(steps))


def average_onto(
    start_ns: I64, width_ns: int, time_ns: I64, value: F64, share_min: float = 0.75
) -> tuple[F64, NDArray[np.int64]]:
    """Means of raw readings over intervals [start, start + width).

    Args:
        start_ns: (m,) rising, where each interval begins.
        width_ns: of all of them.
        time_ns: (n,) of the raw readings, in any order.
        value: (n, k) NaN where nothing was measured.
        share_min: a mean counts where so much of the readings that fit are there.

    Returns:
        (m, k) means, NaN where too little was measured, and (m, k) how many readings each has.
    """
    order = np.argsort(time_ns, kind="stable")
    time_ns, value = time_ns[order], value[order]
    measured = np.isfinite(value)
    sums = np.concatenate([np.zeros((1, value.shape[1])), np.cumsum(np.where(measured, value, 0.0), axis=0)])
    counts = np.concatenate([np.zeros((1, value.shape[1]), np.int64), np.cumsum(measured, axis=0)])
    first = np.searchsorted(time_ns, start_ns, side="left")
    last = np.searchsorted(time_ns, start_ns + width_ns, side="left")
    count = counts[last] - counts[first]
    expected = max(1.0, width_ns / interval_of(time_ns)) if len(time_ns) > 1 else 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (sums[last] - sums[first]) / count
    mean[count < max(1.0, share_min * expected)] = np.nan
    return mean, count


def estimate_offset(
    start_ns: I64, width_ns: int, reference: F64, time_ns: I64, raw: F64, offset_max_s: float
) -> ClockOffset:
    """How far the raw clock is ahead, from the correlation of steps (levels share daily cycles, steps hardly do).

    Args:
        start_ns: (m,) where each interval of the reference begins.
        width_ns: of the intervals.
        reference: (m,)
        time_ns: (n,) of the raw readings.
        raw: (n,)
        offset_max_s: looked for within so much to either side.
    """
    column = _tamed(raw)[:, None]
    grain_ns = max(interval_of(time_ns), width_ns // 60)

    def correlation(offset_ns: int) -> float:
        mean, _ = average_onto(start_ns + offset_ns, width_ns, time_ns, column)
        return _step_correlation(start_ns, width_ns, reference, mean[:, 0])

    as_is = correlation(0)
    reach = int(offset_max_s * 1e9)
    step = max(grain_ns, 2 * reach // (_LAGS - 1), 1)
    best, peak = 0, as_is
    while True:
        trials = {best + i * step for i in range(-(reach // step), reach // step + 1)}
        found = {trial: abs(correlation(trial)) for trial in sorted(trials, key=abs)}
        top = max(found, key=lambda trial: (found[trial], -abs(trial)))
        if found[top] > abs(peak):
            best, peak = top, correlation(top)
        if step <= grain_ns:
            break
        reach, step = step, max(grain_ns, step // 8)
    pairs = int(np.isfinite(reference).sum())
    chance = 4.0 / np.sqrt(max(pairs, 1))
    gain = np.arctanh(min(abs(peak), 0.9999)) - np.arctanh(min(abs(as_is), 0.9999))
    certain = pairs >= _PAIRS_MIN and abs(peak) > max(chance, _FOLLOWS) and gain > chance
    if not certain:
        return ClockOffset(0.0, as_is, as_is, certain=False)
    return ClockOffset(best * 1e-9, peak, as_is, certain=True)


def _step_correlation(start_ns: I64, width_ns: int, one: F64, other: F64) -> float:
    """Correlation of steps between intervals that follow each other, the largest clipped; 0 where there are too few."""
    neighbours = np.diff(start_ns) == width_ns
    a, b = np.diff(one)[neighbours], np.diff(other)[neighbours]
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < _PAIRS_MIN or not a[both].std() or not b[both].std():
        return 0.0
    return float(np.corrcoef(_clipped(a[both]), _clipped(b[both]))[0, 1])


def _tamed(raw: F64) -> F64:
    """Readings that are no measurement, back where the others are: means are not to be made of them."""
    middle = float(np.nanmedian(raw))
    reach = _GROSS * 2.0 * 1.4826 * float(np.nanmedian(np.abs(raw - middle)))
    return np.clip(raw, middle - reach, middle + reach) if reach > 0.0 else raw


def _clipped(steps: F64) -> F64:
    """A few gross readings would say where the clocks stand, and they are alike in nothing."""
    limit = _GROSS * 1.4826 * float(np.median(np.abs(steps)))
    return np.clip(steps, -limit, limit) if limit > 0.0 else steps
