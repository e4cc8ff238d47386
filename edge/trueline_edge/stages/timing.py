"""Timing test (QARTOD test 1, timing and gap): is the time of a row one that can be, and one that should come next?

Put it first: a row whose time cannot be right FAILs, and is then left out by the tests that need order.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_edge.estimation.sequences import paces
from trueline_edge.stages.stage import (
    StageSettings,
    apply_verdict,
    channel_mask,
    evaluated,
    pack_arrays,
    unpack_arrays,
    usable,
)
from trueline_wire.readings import Flag, Readings, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trueline_wire.readings import Schema

__all__ = ["Timing"]


class Timing(StageSettings, frozen=True, kw_only=True, tag="timing"):
    """A row later than all before it passes. What is said of a row is said of all its channels.

    Attributes:
        interval_s: the nominal time from row to row; without it neither gap nor jitter are known unless given.
        gap_s: a row more than so long after the newest before it is SUSPECT (gap); 1.5 intervals where left out.
        jitter_s: a row, after no gap, that is so far from one interval after the newest is SUSPECT; left out: any goes.
        late_max_s: a row older than the newest by up to this is late (out of order): SUSPECT. Further back the clock
            was set: the row FAILs (clock), and time goes on from there.
        earliest: before it the clock had not been set: the row FAILs (clock). UTC where no offset is given.
        channels: the channels marked; all where left out.
    """

    interval_s: float | None = None
    gap_s: float | None = None
    jitter_s: float | None = None
    late_max_s: float = 86_400.0
    earliest: datetime = datetime(2000, 1, 1, tzinfo=UTC)

    def __post_init__(self) -> None:
        for name in ("interval_s", "gap_s", "late_max_s"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < inf:
                raise ValueError(f"{name} {value} must be above 0")
        if self.jitter_s is not None and not 0.0 <= self.jitter_s < inf:
            raise ValueError(f"jitter_s {self.jitter_s} must be a number that is not negative")
        if self.jitter_s is not None and self.interval_s is None:
            raise ValueError("jitter_s wants an interval_s")

    def stage(self, schema: Schema) -> FlagTiming:
        """The stage for readings of this schema."""
        return FlagTiming(self, schema)


class _Past(NamedTuple):
    """(3,) the newest time so far, the time of the last row, and whether there was one."""

    seen: NDArray[np.int64]


class FlagTiming:
    """Compares each time with the newest before it. The first row is not judged but for `earliest`.

    A row with the time of the newest, or of the row before it, is a duplicate and FAILs (timing).
    """

    delay = 0

    def __init__(self, config: Timing, schema: Schema) -> None:
        self.schema = schema
        self._judged = channel_mask(schema, config.channels)
        interval_s, gap_s = config.interval_s, config.gap_s
        if gap_s is None and interval_s is not None:
            gap_s = 1.5 * interval_s
        self._gap_ns = None if gap_s is None else round(gap_s * 1e9)
        self._interval_ns = None if interval_s is None else round(interval_s * 1e9)
        self._jitter_ns = None if config.jitter_s is None else round(config.jitter_s * 1e9)
        self._late_max_ns = round(config.late_max_s * 1e9)
        earliest = config.earliest if config.earliest.tzinfo else config.earliest.replace(tzinfo=UTC)
        self._earliest_ns = round(earliest.timestamp()) * 10**9
        self._past = _Past(np.zeros(3, np.int64))

    def __call__(self, readings: Readings, /) -> Readings:
        if not len(readings):
            return readings
        if (plain := self._plain(readings)) is not None:
            return plain
        unset = readings.time_ns < self._earliest_ns
        if not unset.any():
            ahead, since, evaluated = self._steps(readings.time_ns)
        else:
            ahead, since = np.zeros((2, len(unset)), np.int64)
            evaluated = np.zeros(len(unset), np.bool_)
            if not unset.all():
                ahead[~unset], since[~unset], evaluated[~unset] = self._steps(readings.time_ns[~unset])
        cells = usable(readings)
        cells &= self._judged
        judged = readings.passed(cells if evaluated.all() else cells & evaluated[:, None])
        for rows, flag, reason in self._verdicts(ahead, since):
            said = rows & evaluated
            if said.any():
                judged = judged.flagged(cells & said[:, None], flag, reason)
        return judged.flagged(cells & unset[:, None], Flag.FAIL, Reason.CLOCK) if unset.any() else judged

    def _plain(self, readings: Readings) -> Readings | None:
        """All rows pass: each is newer than all before it, by no more than a gap. None where one is to be looked at."""
        newest, last, known = self._past.seen.tolist()
        if not known or newest != last or last < self._earliest_ns or self._jitter_ns is not None:
            return None
        _, least, most = paces(last, readings.time_ns)
        if least <= 0 or (self._gap_ns is not None and most > self._gap_ns):
            return None
        final = readings.time_ns[-1]
        self._past = _Past(np.array([final, final, 1]))
        return apply_verdict(readings, evaluated(readings, self._judged), Reason.NONE)

    def flush(self) -> Readings:
        """Nothing is held back."""
        return Readings.empty(self.schema)

    def state(self) -> bytes:
        """The newest time."""
        return pack_arrays(*self._past)

    def restore(self, state: bytes) -> None:
        """Go on from the newest time of another life."""
        self._past = _Past(*unpack_arrays(state, *self._past))

    def _verdicts(
        self, ahead: NDArray[np.int64], since: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.bool_], Flag, Reason]]:
        """(n,) which rows each flag and reason are for."""
        if self._gap_ns is not None:
            yield ahead > self._gap_ns, Flag.SUSPECT, Reason.GAP
        if self._interval_ns is not None and self._jitter_ns is not None:
            near = ahead > 0 if self._gap_ns is None else (ahead > 0) & (ahead <= self._gap_ns)
            yield near & (np.abs(ahead - self._interval_ns) > self._jitter_ns), Flag.SUSPECT, Reason.TIMING
        if ahead.min() <= 0 or since.min() <= 0:
            duplicate = (ahead == 0) | (since == 0)
            yield ~duplicate & (ahead < 0), Flag.SUSPECT, Reason.TIMING
            yield duplicate, Flag.FAIL, Reason.TIMING
            yield ahead < -self._late_max_ns, Flag.FAIL, Reason.CLOCK

    def _steps(self, time_ns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """(n,) how far each row is ahead of the newest before it, and of the row before it; (n,) was there one?"""
        newest, last, known = (int(number) for number in self._past.seen)
        if not known:
            newest = last = int(time_ns[0])
        since = _since(last, time_ns)
        evaluated = np.ones(len(time_ns), np.bool_)
        evaluated[0] = known
        final = int(time_ns[-1])
        if newest == last and (since[1:] > 0).all() and since[0] >= 0:  # each is newer than all before it
            self._past = _Past(np.array([final, final, 1]))
            return since, since, evaluated
        before = _newest_before(newest, time_ns, self._late_max_ns)
        highest = int(before[-1])
        newest = final if final < highest - self._late_max_ns else max(final, highest)
        self._past = _Past(np.array([newest, final, 1]))
        return time_ns - before, since, evaluated


def _since(last: int, time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) nanoseconds since the row before."""
    since = np.empty_like(time_ns)
    since[0] = time_ns[0] - last
    np.subtract(time_ns[1:], time_ns[:-1], out=since[1:])
    return since


def _newest_before(newest: int, time_ns: NDArray[np.int64], late_max_ns: int) -> NDArray[np.int64]:
    """(n,) the newest time before each row; it starts anew behind a row that is further back than late."""
    before = np.empty_like(time_ns)
    start = 0
    while start < len(time_ns):
        rest = time_ns[start:]
        before[start] = newest
        before[start + 1 :] = np.maximum(np.maximum.accumulate(rest[:-1]), newest)
        back = np.flatnonzero(rest < before[start:] - late_max_ns)
        if not len(back):
            break
        start += int(back[0]) + 1
        newest = int(time_ns[start - 1])
    return before
