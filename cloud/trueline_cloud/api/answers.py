"""What the API answers: plain types with their meaning, and the columns that become JSON.

Promises: nothing is said here that the store did not say; null where nothing was measured or nothing is known; times
are whole nanoseconds. Refuses to know HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from trueline_cloud.event_log import Happening
from trueline_cloud.storage.store import DeviceInfo, LaneLedger, Rollup
from trueline_model.event import is_event
from trueline_wire.readings import Flag, worst_flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_cloud.api.query import Range
    from trueline_wire.readings import Readings, Schema

__all__ = [
    "ChannelAnswer",
    "Devices",
    "Events",
    "Ledger",
    "Problem",
    "ReadingsAnswer",
    "SeriesAnswer",
    "StreamAnswer",
    "Streams",
    "condense",
    "readings_answer",
    "series_of",
    "stream_answer",
]

_U_DIGITS: Final = 4
"""Significant digits of `u` in an answer: it travels on a grid of 1 %, more digits would be noise."""


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a request, and what to do about it."""

    error: str
    hint: str


class ChannelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A channel: name, UCUM unit, smallest step the sensor shows (0 where unknown), sensor and calibration id."""

    name: str
    unit: str
    resolution: float
    sensor: str
    calibration: str


class StreamAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A stream, its channels, and the time of its first and last stored reading (null where there is none).

    `is_events` where its readings tell of events: /api/v1/events reads them.
    """

    stream: str
    is_events: bool
    channels: list[ChannelAnswer]
    first_ns: int | None
    last_ns: int | None


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """The streams of a device."""

    device: str
    streams: list[StreamAnswer]


class Devices(msgspec.Struct, frozen=True, kw_only=True):
    """All devices; `now_ns` is the cloud's clock, by which `last_heard_ns` is to be judged."""

    now_ns: int
    devices: list[DeviceInfo]


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """The lanes asked for, and the worst of their verdicts."""

    verdict: str
    lanes: list[LaneLedger]


class Events(msgspec.Struct, frozen=True, kw_only=True):
    """Events, the newest first; `more` where older ones in the range were left out."""

    now_ns: int
    more: bool
    events: list[Happening]


class SeriesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One channel over the steps; all lists are as long as `time_ns`.

    `mean`, `min`, `max` are in `unit` and null where `count`, the readings behind them, is 0. `u` is the standard
    uncertainty of a single reading (GUM, k = 1; root mean square over the step), null where unknown: 95 % of readings
    are expected within mean ± 1.96 u. `flag` is the worst in the step (QARTOD: 1 pass, 2 not evaluated, 3 suspect,
    4 fail, 9 missing); failed and missing readings are flagged and do not count.
    """

    channel: str
    unit: str
    count: list[int]
    mean: list[float | None]
    min: list[float | None]
    max: list[float | None]
    u: list[float | None]
    flag: list[int]


class ReadingsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A stream in steps of `step_ns` that start at `time_ns`; steps in which nothing was sampled are left out."""

    device: str
    stream: str
    from_ns: int
    to_ns: int
    step_ns: int
    time_ns: list[int]
    series: list[SeriesAnswer]


def stream_answer(schema: Schema, span_ns: tuple[int, int] | None) -> StreamAnswer:
    """A stream as it is answered."""
    channels = [
        ChannelAnswer(name=c.name, unit=c.unit, resolution=c.resolution, sensor=c.sensor, calibration=c.calibration)
        for c in schema.channels
    ]
    first_ns, last_ns = span_ns or (None, None)
    return StreamAnswer(
        stream=schema.stream, is_events=is_event(schema), channels=channels, first_ns=first_ns, last_ns=last_ns
    )


def _rounded(u: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = u.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        decimals = np.nan_to_num(_U_DIGITS - 1 - np.floor(np.log10(wide)), nan=0.0, posinf=0.0, neginf=0.0)
        scale = 10.0 ** np.clip(decimals, -300, 300)
        rounded: NDArray[np.float64] = np.rint(wide * scale) / scale
    return rounded


def _column(values: NDArray[Any]) -> list[Any]:
    # A list for one column; msgspec writes a NaN in it as null.
    column: list[Any] = values.tolist()
    return column


def series_of(rollup: Rollup, channels: Sequence[int]) -> list[SeriesAnswer]:
    """The chosen channels of a rollup as columns of plain numbers."""
    u = _rounded(rollup.u)
    described = rollup.schema.channels
    return [
        SeriesAnswer(
            channel=described[j].name,
            unit=described[j].unit,
            count=_column(rollup.count[:, j]),
            mean=_column(rollup.mean[:, j]),
            min=_column(rollup.minimum[:, j]),
            max=_column(rollup.maximum[:, j]),
            u=_column(u[:, j]),
            flag=_column(rollup.flag[:, j]),
        )
        for j in channels
    ]


def readings_answer(rollup: Rollup, channels: Sequence[int], asked: Range) -> ReadingsAnswer:
    """The chosen channels of a rollup as they are answered."""
    return ReadingsAnswer(
        device=rollup.schema.device,
        stream=rollup.schema.stream,
        from_ns=asked.start_ns,
        to_ns=asked.end_ns,
        step_ns=asked.step_ns,
        time_ns=_column(rollup.time_ns),
        series=series_of(rollup, channels),
    )


def condense(readings: Readings, rows_max: int) -> Rollup:
    """A batch in at most `rows_max` steps of equally many rows, each at the time of its first row.

    The flags mean what they mean in the store's rollups: what failed, is missing or not finite does not count.

    Args:
        readings: at least one row.
        rows_max: 1 or more.
    """
    n = len(readings)
    starts = np.arange(0, n, -(-n // rows_max))
    counts = np.isfinite(readings.value) & (readings.flag != Flag.FAIL) & (readings.flag != Flag.MISSING)
    states_u = counts & np.isfinite(readings.u)
    count = np.add.reduceat(counts, starts, axis=0, dtype=np.int64)
    stated = np.add.reduceat(states_u, starts, axis=0, dtype=np.int64)
    total = np.add.reduceat(np.where(counts, readings.value, 0.0), starts, axis=0)
    squares = np.add.reduceat(np.where(states_u, readings.u.astype(np.float64) ** 2, 0.0), starts, axis=0)
    lowest = np.minimum.reduceat(np.where(counts, readings.value, np.inf), starts, axis=0)
    highest = np.maximum.reduceat(np.where(counts, readings.value, -np.inf), starts, axis=0)
    with np.errstate(invalid="ignore"):
        return Rollup(
            time_ns=readings.time_ns[starts],
            count=count,
            mean=total / count,
            minimum=np.where(count > 0, lowest, np.nan),
            maximum=np.where(count > 0, highest, np.nan),
            u=np.sqrt(squares / stated).astype(np.float32),
            flag=np.stack(
                [worst_flag(part, axis=0) for part in np.split(readings.flag, starts[1:])],
            ),
            schema=readings.schema,
        )
