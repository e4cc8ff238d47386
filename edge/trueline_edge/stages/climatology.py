"""Climatology test (QARTOD test 5): is the value one that is expected in this month and at this time of day?

What is expected may come from a climate record, from the process (a machine that rests at night), or from last year.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf, nan
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import numpy as np

from trueline_edge.stages.stage import StageSettings, Stateless, channel_mask, usable
from trueline_wire.readings import Flag, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_wire.readings import Readings, Schema

__all__ = ["Band", "Climatology"]

_HOUR_NS: Final = 3600 * 10**9
_QUARTER_NS: Final = _HOUR_NS // 4  # offsets of zones change at quarters of an hour
_MONTHS: Final = 12
_HOURS: Final = 24


class Band(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is expected in some months and hours, in the channel's unit, inclusive. Leave out what has no limit.

    Attributes:
        months: 1 to 12; all where left out.
        hours: from the first, to before the second, 0 to 24: [6, 20] is from 06:00 to 19:59; [22, 5] goes over
            midnight.
        minimum: below it a value is SUSPECT.
        maximum: above it a value is SUSPECT.
        fail_minimum: below it a value FAILs.
        fail_maximum: above it a value FAILs.
    """

    months: tuple[int, ...] = tuple(range(1, _MONTHS + 1))
    hours: tuple[int, int] = (0, _HOURS)
    minimum: float = -inf
    maximum: float = inf
    fail_minimum: float = -inf
    fail_maximum: float = inf

    def __post_init__(self) -> None:
        if not self.months or not all(1 <= month <= _MONTHS for month in self.months):
            raise ValueError(f"months {list(self.months)} must be some of 1 to {_MONTHS}")
        if not all(0 <= hour <= _HOURS for hour in self.hours) or self.hours[0] == self.hours[1]:
            raise ValueError(f"hours {list(self.hours)} must be two of 0 to {_HOURS} that differ")
        if not self.minimum < self.maximum:
            raise ValueError(f"minimum {self.minimum} must be below maximum {self.maximum}")
        if not self.fail_minimum < self.fail_maximum:
            raise ValueError(f"fail_minimum {self.fail_minimum} must be below fail_maximum {self.fail_maximum}")

    def covers(self) -> NDArray[np.bool_]:
        """(12, 24) bool: the months and hours of this band."""
        start, end = self.hours
        hour = np.arange(_HOURS)
        inside = (hour >= start) & (hour < end) if start < end else (hour >= start) | (hour < end)
        month: NDArray[np.bool_] = np.isin(np.arange(1, _MONTHS + 1), self.months)
        return month[:, None] & inside


class Climatology(StageSettings, frozen=True, kw_only=True, tag="climatology"):
    """Bands, written `[[stream.stage.band]]`. Where two bands cover a moment, the later one holds.

    Attributes:
        bands: see `Band`. At a moment that none covers, nothing is said.
        zone: IANA name of the zone of months and hours, such as "Europe/Rome".
        channels: the channels judged; all where left out.
    """

    bands: tuple[Band, ...] = msgspec.field(name="band")
    zone: str = "UTC"

    def __post_init__(self) -> None:
        if not self.bands:
            raise ValueError("band: at least one is wanted")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"zone {self.zone!r} is not known") from error

    @property
    def has_unit(self) -> bool:
        """Limits are in it."""
        return True

    def stage(self, schema: Schema) -> FlagClimatology:
        """The stage for readings of this schema."""
        return FlagClimatology(self, schema)


class FlagClimatology(Stateless):
    """Looks up what is expected at each row's month and hour; NaN in the table is where nothing is."""

    def __init__(self, config: Climatology, schema: Schema) -> None:
        super().__init__(schema)
        self._judged = channel_mask(schema, config.channels)
        self._zone = None if config.zone == "UTC" else ZoneInfo(config.zone)
        self._expected = np.full((_MONTHS, _HOURS, 4), nan)
        for band in config.bands:
            limits = (band.minimum, band.maximum, band.fail_minimum, band.fail_maximum)
            self._expected[band.covers()] = limits

    def __call__(self, readings: Readings, /) -> Readings:
        if not len(readings):
            return readings
        local = readings.time_ns + self._offset_ns(readings.time_ns)
        hours = local // _HOUR_NS
        if hours.min() == hours.max():
            hours = hours[:1]
        month = (hours * _HOUR_NS).view("datetime64[ns]").astype("datetime64[M]").astype(np.int64) % _MONTHS
        minimum, maximum, fail_minimum, fail_maximum = self._expected[month, hours % _HOURS].T[:, :, None]
        value, cells = readings.value, usable(readings)
        cells &= self._judged
        cells &= ~np.isnan(minimum)
        readings = readings.passed(cells)
        for low, high, flag in ((minimum, maximum, Flag.SUSPECT), (fail_minimum, fail_maximum, Flag.FAIL)):
            outside = (value < low) | (value > high)
            if outside.any():
                readings = readings.flagged(outside & cells, flag, Reason.CLIMATOLOGY)
        return readings

    def _offset_ns(self, time_ns: NDArray[np.int64]) -> NDArray[np.int64] | int:
        """(n,) what the zone's clocks are ahead of UTC."""
        if self._zone is None:
            return 0
        quarters, which = np.unique(time_ns // _QUARTER_NS, return_inverse=True)
        ahead = [self._ahead_ns(int(quarter) * _QUARTER_NS) for quarter in quarters]
        return np.array(ahead, np.int64)[which]

    def _ahead_ns(self, time_ns: int) -> int:
        offset = datetime.fromtimestamp(time_ns // 10**9, tz=UTC).astimezone(self._zone).utcoffset()
        return 0 if offset is None else round(offset.total_seconds()) * 10**9
