"""Plausibility of one frame: what no honest agent sends is refused, what a wrong clock does is counted.

Promises: readings that pass have only flags this version knows, a `u` that is a size, and the time range their header
claimed. Refuses to judge values: that is what flags and `u` are for, and the device has set them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trueline_wire.errors import NeverRetry
from trueline_wire.readings import Flag

if TYPE_CHECKING:
    from trueline_wire.frame import Data
    from trueline_wire.readings import Readings

__all__ = ["FUTURE_NS", "check_frame", "in_the_future"]

FUTURE_NS: Final = 24 * 3600 * 1_000_000_000
"""An event time so far ahead of the cloud's clock is a wrong clock, ns. It is stored all the same, and counted."""

_KNOWN: Final = bytes(Flag)

_least, _most = np.minimum.reduce, np.maximum.reduce
"""As `min` and `max`, without what these do for every kind of argument: frames are many and small."""


def check_frame(record: Data, readings: Readings) -> None:
    """Return if the columns of a frame are what its header says, and nothing in them is nonsense.

    Raises:
        NeverRetry: they are not; no honest agent sends this.
    """
    if readings.schema.device != record.device:
        raise NeverRetry(f"its schema is that of {readings.schema.device!r}")
    first, last = int(_least(readings.time_ns)), int(_most(readings.time_ns))
    if (first, last) != (record.time_first, record.time_last):
        raise NeverRetry(f"times {first} to {last} where the header says {record.time_first} to {record.time_last}")
    if unknown := readings.flag.tobytes("A").translate(None, _KNOWN):
        raise NeverRetry(f"flag {unknown[0]} does not exist")
    smallest, largest = _least(readings.u, axis=None), _most(readings.u, axis=None)  # NaN if any is unknown
    if smallest != smallest:  # noqa: PLR0124 - the cheapest question whether it is NaN
        known = readings.u[~np.isnan(readings.u)]
        if not len(known):
            return
        smallest, largest = known.min(), known.max()
    if smallest < 0 or largest == np.inf:
        raise NeverRetry(f"u between {smallest} and {largest}: a standard uncertainty is finite and not negative")


def in_the_future(record: Data, now_ns: int) -> bool:
    """Whether a frame claims event times its device cannot have seen yet."""
    return record.time_last > now_ns + FUTURE_NS
