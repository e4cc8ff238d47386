"""Undoing a sensor's first-order lag, one reading after the other.

A sensor with the time constant tau shows y, where the measurand is x: tau dy/dt = x - y. With x steady between two
readings, y_i = a y_(i-1) + (1 - a) x_i, a = exp(-dt / tau), and therefore x_i = (y_i - a y_(i-1)) / (1 - a), exactly.
The price is noise: (1 + a^2) / (1 - a)^2 times its variance. The first reading, and one whose clock has not moved, are
taken as settled; so is one that went from the last faster than the quantity can: a sensor that comes back from a fault
does not remember what it said in it, and undoing would throw the first good reading as far as the fault was wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    F64 = NDArray[np.float64]
    Mask = NDArray[np.bool_]

__all__ = ["LagState", "Settled", "undo_lag"]

_FRESH_MAX = 0.999
"""dt of a thousandth of tau multiplies noise by more than a thousand: nothing is left to undo."""


class LagState(NamedTuple):
    """The last usable reading."""

    time_ns: int = 0
    value: float = float("nan")


class Settled(NamedTuple):
    """(n,) each."""

    value: F64
    gain: F64
    """By which the standard uncertainty of a single reading grows."""
    slope: F64
    """Derivative of the value by tau, per second."""
    left: F64
    """What undoing would have added where a reading went too fast, and nothing was undone; 0 elsewhere."""


def undo_lag(
    state: LagState,
    time_ns: NDArray[np.int64],
    value: F64,
    usable: Mask,
    tau_s: float,
    rate_max: float = float("inf"),
) -> tuple[Settled, LagState]:
    """Undo the lag of one channel.

    Args:
        state: of the readings before.
        time_ns: (n,) UTC.
        value: (n,) as the sensor shows it.
        usable: (n,) false where a reading must not be the past of another.
        tau_s: time constant.
        rate_max: beyond it, in units of the value per second, a reading is taken as settled.
    """
    times = np.concatenate([[state.time_ns], time_ns])
    shown = np.concatenate([[state.value], value])
    kept = np.concatenate([[True], usable & np.isfinite(value)])
    kept[1:] &= _rises(times, kept)[1:]
    last = np.maximum.accumulate(np.where(kept, np.arange(len(kept)), 0))
    before = last[:-1]
    elapsed_s = (times[1:] - times[before]) * 1e-9
    past = shown[before]
    known = np.isfinite(past) & (elapsed_s > 0)
    a = np.exp(np.where(known, -elapsed_s, -np.inf) / tau_s)
    a[a > _FRESH_MAX] = 0.0
    step = np.where(known, value - past, 0.0)
    fast = np.abs(step) > rate_max * np.where(known, elapsed_s, 1.0)
    left = np.where(fast, np.abs(step) * a / (1.0 - a), 0.0)
    a[fast] = 0.0
    rest = 1.0 - a
    slope = a * np.where(known, elapsed_s, 0.0) / tau_s**2 * step / rest**2
    settled = Settled(value + step * a / rest, np.sqrt(1.0 + a * a) / rest, slope, left)
    end = int(last[-1])
    return settled, LagState(int(times[end]), float(shown[end]))


def _rises(times: NDArray[np.int64], kept: Mask) -> Mask:
    """(n,) bool: is each time later than every kept one before it? A clock that stepped back is not learnt from."""
    highest = np.maximum.accumulate(np.where(kept, times, np.iinfo(np.int64).min))
    rises = np.ones(len(times), np.bool_)
    rises[1:] = times[1:] > highest[:-1]
    return rises
