"""What a fault is: its kind, where, from when to when, and how bad.

Promises: the words of label files. Process anomalies (a leak, a door left open) are not faults: the sensor tells the
truth about them, and they are `truth.scenario.ProcessAnomaly`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["ALL_CHANNELS", "ROW_KINDS", "VALUE_KINDS", "Fault"]

ALL_CHANNELS: Final = -1
"""Instead of a channel's number: the fault is one of rows (time, presence), not of values."""

VALUE_KINDS: Final = {
    "stuck": "every reading repeats the one at `start`; magnitude is 0",
    "spike": "one reading is off by magnitude u",
    "burst": "about every other reading is off by magnitude u times a normal random number",
    "bias_step": "all readings are off by magnitude u",
    "drift": "the error grows evenly from 0 at `start` to magnitude u at `end`",
    "gain_change": "the distance from the reading at `start` is multiplied by magnitude",
    "noise_increase": "normal noise of standard deviation magnitude u is added",
    "saturation": "no reading goes above the one at `start` minus magnitude u",
    "nan_run": "readings are NaN; magnitude is 0",
    "unit_flip": "readings in another unit of the same quantity (Fahrenheit for Celsius); magnitude is the factor",
    "swapped_channels": "readings of the channel whose number is magnitude; which has a label too",
}
"""Kinds that change values of one channel; u is the channel's declared standard uncertainty."""

ROW_KINDS: Final = {
    "drop_out": "rows are missing; magnitude is 0",
    "duplicate": "each row comes magnitude + 1 times",
    "reorder": "the rows of each pair (2i, 2i + 1) come in the wrong order; magnitude is 1",
    "clock_step": "stamps are off by magnitude seconds",
    "clock_skew": "the clock runs fast by magnitude parts per million from `start`, and is set right at `end`",
    "jitter": "a normal random number of standard deviation magnitude seconds is added to each stamp",
    "boot_1970": "stamps count from 1970-01-01T00:00:00Z, magnitude seconds after it at `start`; right again at `end`",
}
"""Kinds that change rows of a device: which come, how often, in which order, with which stamp."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a sensor, of a device's clock, or of its way of reporting.

    Attributes:
        kind: one of `VALUE_KINDS` or `ROW_KINDS`.
        device: its number.
        channel: number of the channel; `ALL_CHANNELS` for `ROW_KINDS`.
        start_ns: true time of its first effect, UTC, ns since 1970.
        end_ns: true time when it is over (not included).
        magnitude: how bad, in the terms of the kind.
    """

    kind: str
    device: int
    channel: int
    start_ns: int
    end_ns: int
    magnitude: float
