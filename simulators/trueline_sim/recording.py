"""A recording of a room with known faults, as a CSV file an agent replays: cells left empty, and a sensor that sticks.

Promises: the same seed and the same numbers give the same values; `Faults` says exactly what is wrong. Refuses to know
how an agent finds out: an oracle that shares code shares bugs.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["COLUMNS", "Faults", "write_recording"]

COLUMNS: Final = ("temperature", "humidity")

_EMPTY_SHARE: Final = 0.03
_STUCK_EVERY_S: Final = 30.0
_STUCK_FOR_S: Final = 6.0


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong in a recording.

    Attributes:
        empty: cells without a value, number of.
        stuck: humidity values that repeat the one before only because the sensor stuck, number of.
    """

    empty: int
    stuck: int


def write_recording(path: Path, *, start_ns: int, rows: int, rate_hz: float, seed: int) -> Faults:
    """Write a recording.

    Args:
        path: of the CSV file: `time` in whole nanoseconds since 1970, then `COLUMNS`.
        start_ns: time of the first row, UTC, ns since 1970.
        rows: how many.
        rate_hz: rows a second.
        seed: of values and faults.
    """
    rng = np.random.default_rng(seed)
    seconds = np.arange(rows) / rate_hz
    temperature = 21.0 + 1.5 * np.sin(2 * np.pi * seconds / 90.0) + rng.normal(0.0, 0.05, rows)
    humidity = 48.0 + 6.0 * np.sin(2 * np.pi * seconds / 140.0) + rng.normal(0.0, 0.4, rows)
    phase = (seconds + _STUCK_EVERY_S / 2) % _STUCK_EVERY_S
    stuck = (phase < _STUCK_FOR_S) & (np.arange(rows) > 0)
    for frozen in np.flatnonzero(stuck):
        humidity[frozen] = humidity[frozen - 1]
    empty = rng.random((rows, len(COLUMNS))) < _EMPTY_SHARE
    step_ns = round(1e9 / rate_hz)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *COLUMNS])
        for row in range(rows):
            values = (f"{temperature[row]:.2f}", f"{humidity[row]:.1f}")
            cells = ["" if gone else value for value, gone in zip(values, empty[row], strict=True)]
            writer.writerow([start_ns + row * step_ns, *cells])
    return Faults(empty=int(empty.sum()), stuck=int(stuck.sum()))
