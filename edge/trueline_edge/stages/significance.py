"""Send only what matters: a row goes out when leaving it out would mislead by more than a stated bound.

Promises: whoever sees only the rows that went out and fills the time between them as the schema says (holding the
previous value, or on a straight line) is nowhere further than the bound from the value of a row that was left out; a
flag or reason that changes, a value that comes or goes, and a `u` that grows by more than a quarter go out at once. The
bound is added to `u` as a rectangular error (GUM 4.3.7: bound / sqrt 3). Around an event all rows go out. What is left
out is counted. Refuses to change a value.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, ClassVar, Final, Literal, NamedTuple

import msgspec
import numpy as np

from trueline_edge.stages.corridor import Corridor, linear_holds, previous_holds
from trueline_edge.stages.stage import (
    Objection,
    pack_arrays,
    pack_readings,
    unknown_channels,
    unpack_arrays,
    unpack_readings,
    usable,
)
from trueline_wire.readings import Flag, Readings, Thinning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trueline_wire.readings import Schema

__all__ = ["Event", "Significance"]

_HELD_MAX: Final = 1000  # the state saved with each frame holds so many rows
_U_GROWTH: Final = np.float32(1.25)
_SCAN_MIN: Final = 16
_SCAN_MAX: Final = 4096


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When every row matters.

    Attributes:
        above: by channel: above this value, in the channel's unit, there is an event.
        below: by channel: below this value there is one.
        flags: a value that becomes SUSPECT, FAIL or MISSING is an event.
        rows_before: so many rows before an event go out too; every row waits for so many more.
        rows_after: and so many after it.
    """

    above: dict[str, float] = {}
    below: dict[str, float] = {}
    flags: bool = True
    rows_before: int = 10
    rows_after: int = 10

    def __post_init__(self) -> None:
        for name in ("rows_before", "rows_after"):
            if not 0 <= getattr(self, name) <= _HELD_MAX:
                raise ValueError(f"{name} {getattr(self, name)} must be between 0 and {_HELD_MAX}")


class Significance(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="significance"
):
    """Leaves rows out. The last stage of a stream.

    Attributes:
        method: "send_on_delta": a row goes out when a value has moved by more than its bound since the last row that
            went out; hold the previous value between them. "deadband": the same, the bound given as `percent` of each
            channel's span (OPC UA part 8, PercentDeadband). "swinging_door": a row goes out where a straight line
            could not go on; draw lines between them.
        bounds: by channel, in its unit: what the error of the filled-in value never exceeds.
        percent: deadband: of the span.
        spans: deadband: by channel, highest less lowest value of its range, in its unit.
        along: channels that come along with each row that goes out and decide nothing: between rows nothing is
            promised of them.
        interval_max_s: a row goes out at the latest so long after the one before, so that silence means a fault.
        event: when every row matters; without this table no row does for an event.
    """

    kind: ClassVar[Literal["thinner"]] = "thinner"

    method: Literal["send_on_delta", "deadband", "swinging_door"]
    bounds: dict[str, float] = {}
    percent: float | None = None
    spans: dict[str, float] = {}
    along: tuple[str, ...] = ()
    interval_max_s: float = 600.0
    event: Event | None = None

    def __post_init__(self) -> None:
        deadband = self.method == "deadband"
        if deadband != (self.percent is not None) or deadband != bool(self.spans) or deadband == bool(self.bounds):
            raise ValueError(f"method {self.method!r} wants {'percent and spans' if deadband else 'bounds alone'}")
        if self.percent is not None and not 0.0 < self.percent <= 100.0:  # noqa: PLR2004 - the whole span
            raise ValueError(f"percent {self.percent} must be above 0 and at most 100")
        for name, numbers in (("bounds", self.bounds), ("spans", self.spans)):
            if not all(0.0 <= number < inf for number in numbers.values()):
                raise ValueError(f"{name} must be numbers that are not negative: {numbers}")
        if not 0.0 < self.interval_max_s <= _INTERVAL_MAX_S:
            raise ValueError(f"interval_max_s {self.interval_max_s} must be above 0 and at most {_INTERVAL_MAX_S:.0f}")

    def bound(self, name: str) -> float:
        """Of a channel, in its unit; infinite where nothing is promised."""
        if self.percent is not None and name in self.spans:
            return self.percent / 100.0 * self.spans[name]
        return self.bounds.get(name, inf)

    def objections(self, schema: Schema) -> Iterator[Objection]:
        """Channels that are not there, or of which nothing is said."""
        key = "bounds" if self.percent is None else "spans"
        yield from unknown_channels(schema, tuple(getattr(self, key)), key)
        yield from unknown_channels(schema, self.along, "along")
        for limits in ("above", "below") if self.event else ():
            for objection in unknown_channels(schema, tuple(getattr(self.event, limits)), limits):
                yield objection._replace(path=("event", *objection.path))
        for name in (channel.name for channel in schema.channels):
            if (self.bound(name) < inf) == (name in self.along):
                told = "nothing is said of" if name not in self.along else "two things are said of"
                yield Objection((key,), f"{told} channel {name!r}", f"name it under {key} or under along")

    def stage(self, schema: Schema) -> KeepSignificant:
        """The stage for readings of this schema."""
        return KeepSignificant(self, schema)


_INTERVAL_MAX_S: Final = 7 * 86_400.0


class _Anchor(NamedTuple):
    """The row a stretch began with, and where the stretch may still go. Judged channels alone."""

    time_ns: int
    value: NDArray[np.float64]
    u: NDArray[np.float32]
    corridor: Corridor


class _Past(NamedTuple):
    """All that is remembered."""

    held: Readings
    """Rows held back."""
    sent: NDArray[np.bool_]
    """(rows held,) which of them go out."""
    before: Readings
    """The last row of all; none before the first."""
    anchor: _Anchor
    quiet: int
    """Rows since the last event, as far as it matters."""


class _Rows(NamedTuple):
    """Rows held and new. Judged channels alone."""

    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    u: NDArray[np.float32]
    live: NDArray[np.bool_]
    """(n, k) cells with something in them."""
    breaks: NDArray[np.bool_]
    """(n,) rows that go out whatever their values: the clock, a flag or an event says so."""


class _End(NamedTuple):
    """Where a stretch ends."""

    row: int
    """The first that cannot be added to it."""
    why: Literal["said", "outside", "due"]
    corridor: Corridor


class KeepSignificant:
    """Gives out the rows that matter, each as it came but for a wider `u`.

    A stretch is what lies behind one row that went out, its anchor. Rows are added to it while nothing is lost by
    leaving them out; the first that cannot be added ends it. A cell that is FAIL, MISSING or not finite decides nothing
    while it stays so. A clock that stands or steps back ends a stretch on both its sides.

    Attributes:
        insignificant: rows left out since the stage was made.
    """

    def __init__(self, config: Significance, schema: Schema) -> None:
        bounds = np.array([config.bound(channel.name) for channel in schema.channels])
        names = [channel.name for channel in schema.channels]
        event = config.event or Event(flags=False, rows_before=0, rows_after=0)
        self._linear = config.method == "swinging_door"
        self._interval_s = config.interval_max_s
        self._event = event
        self._above = np.array([event.above.get(name, inf) for name in names])
        self._below = np.array([event.below.get(name, -inf) for name in names])
        self._judged = np.flatnonzero(np.isfinite(bounds))
        self._bound = bounds[self._judged]
        self._widening = np.where(np.isfinite(bounds), bounds, 0.0) ** 2 / 3.0
        self._open = Corridor.open(len(self._judged))
        self._in = schema
        between: Literal["linear", "previous"] = "linear" if self._linear else "previous"
        self.schema = replace(schema, thinning=Thinning(between=between, bounds=tuple(bounds.tolist())))
        self.delay = max(1, event.rows_before)
        self.insignificant = 0
        none, k = Readings.empty(schema), len(self._judged)
        nowhere = _Anchor(0, np.zeros(k), np.zeros(k, np.float32), self._open)
        self._past = _Past(none, np.empty(0, np.bool_), none, nowhere, _HELD_MAX)

    def __call__(self, readings: Readings, /) -> Readings:
        if not len(readings):
            return Readings.empty(self.schema)
        past, k = self._past, self._judged
        first = len(past.held)
        rows = Readings.concatenate([past.held, readings])
        sent = np.concatenate([past.sent, np.zeros(len(readings), np.bool_)])
        event, changed = self._look(readings, past.before)
        forced, quiet = self._around(event, past.quiet)
        for row in (first + np.flatnonzero(event)).tolist():
            sent[max(0, row - self._event.rows_before) : row] = True
        breaks = np.concatenate([np.zeros(first, np.bool_), changed | forced])
        looked = _Rows(rows.time_ns, rows.value[:, k], rows.u[:, k], usable(rows)[:, k], breaks)
        anchor = self._mark(looked, sent, past.anchor, first)
        gone = max(0, len(rows) - self.delay)
        self._past = _Past(_own(rows[gone:]), sent[gone:].copy(), _own(readings[-1:]), anchor, quiet)
        return self._give(rows[:gone], sent[:gone])

    def _look(self, readings: Readings, before: Readings) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(n,) which new rows are events, and which differ from the row before in more than values."""
        rows = Readings.concatenate([before, readings])
        new, live, k = slice(len(before), None), usable(rows), self._judged
        event = _in_any(live & ((rows.value > self._above) | (rows.value < self._below)))
        flag = rows.flag[:, k]
        if self._event.flags:
            event[1:] |= _in_any((flag[1:] > flag[:-1]) & (flag[1:] >= Flag.SUSPECT))
        said = np.concatenate([flag, rows.reason[:, k], live[:, k], np.isnan(rows.u[:, k])], axis=1)
        changed = np.ones(len(rows), np.bool_)
        changed[1:] = _in_any(said[1:] != said[:-1]) | (np.diff(rows.time_ns) <= 0)
        return event[new], changed[new]

    def _around(self, event: NDArray[np.bool_], quiet: int) -> tuple[NDArray[np.bool_], int]:
        """(n,) rows of an event or shortly behind one; and for how long it has been quiet at the end."""
        row = np.arange(len(event))
        since = row - np.maximum.accumulate(np.where(event, row, -1 - quiet))
        return since <= self._event.rows_after, min(int(since[-1]), _HELD_MAX)

    def _mark(self, rows: _Rows, sent: NDArray[np.bool_], anchor: _Anchor, row: int) -> _Anchor:
        """Mark in `sent` what has to go out from a row on, stretch by stretch. Returns where the last one stands."""
        while (end := self._scan(rows, anchor, row)).row < len(sent):
            last = end.row - 1
            stepped = last >= 0 and rows.time_ns[end.row] <= rows.time_ns[last]
            if stepped or (self._linear and end.why != "due" and last >= 0):
                sent[last] = True
            began = end.row
            if self._linear and end.why == "outside" and last >= 0 and rows.time_ns[last] != anchor.time_ns:
                began = last
            sent[began] = True
            anchor = _Anchor(int(rows.time_ns[began]), rows.value[began], rows.u[began], self._open)
            row = began + 1
        return anchor._replace(corridor=end.corridor)

    def _scan(self, rows: _Rows, anchor: _Anchor, row: int) -> _End:
        """The first row from `row` on that cannot be added to the stretch, and why; behind the last where all can."""
        corridor, width = anchor.corridor, _SCAN_MIN
        following = np.flatnonzero(rows.breaks[row:])
        stop = row + int(following[0]) if len(following) else len(rows.breaks)
        while row < stop:
            part = slice(row, min(row + width, stop))
            live, elapsed_s = rows.live[part], (rows.time_ns[part] - anchor.time_ns) / 1e9
            with np.errstate(over="ignore", invalid="ignore"):
                rise = rows.value[part] - anchor.value
                if self._linear:
                    holds, corridor = linear_holds(rise, elapsed_s, self._bound, corridor)
                else:
                    holds = previous_holds(rise, self._bound)
            outside = _in_any(live & ~holds)
            due = (elapsed_s >= self._interval_s) | _in_any(live & (rows.u[part] > _U_GROWTH * anchor.u))
            if (outside | due).any():
                found = int(np.argmax(outside | due))
                return _End(row + found, "outside" if outside[found] else "due", self._open)
            row, width = part.stop, min(2 * width, _SCAN_MAX)
        return _End(stop, "said", corridor)

    def _give(self, rows: Readings, sent: NDArray[np.bool_]) -> Readings:
        """Those that go out; the others are counted."""
        self.insignificant += len(rows) - int(np.count_nonzero(sent))
        u = np.sqrt(rows.u[sent].astype(np.float64) ** 2 + self._widening).astype(np.float32)
        u[:, self._widening == 0.0] = rows.u[sent][:, self._widening == 0.0]  # bit for bit
        return Readings(self.schema, rows.time_ns[sent], rows.value[sent], u, rows.flag[sent], rows.reason[sent])

    def flush(self) -> Readings:
        """What is held back; the last row of all goes out, so that the promise holds up to it."""
        held, sent, before, _, _ = self._past
        if not len(held):
            return Readings.empty(self.schema)
        sent = sent.copy()
        sent[-1] = True
        k = self._judged
        anchor = _Anchor(int(before.time_ns[0]), before.value[0, k], before.u[0, k], self._open)
        self._past = self._past._replace(held=Readings.empty(self._in), sent=sent[:0], anchor=anchor)
        return self._give(held, sent)

    def state(self) -> bytes:
        """Rows held back, the last row, and the stretch."""
        past = self._past
        anchor = past.anchor
        stretch = pack_arrays(anchor.value, anchor.u, anchor.corridor.lowest, anchor.corridor.highest)
        return msgspec.msgpack.encode(
            _Saved(
                pack_readings(past.held),
                past.sent.tolist(),
                pack_readings(past.before),
                anchor.time_ns,
                stretch,
                past.quiet,
            )
        )

    def restore(self, state: bytes) -> None:
        """Go on with the stretch of another life."""
        saved = msgspec.msgpack.decode(state, type=_Saved)
        held = unpack_readings(saved.held, self._in, self.delay)
        before = unpack_readings(saved.before, self._in, 1)
        if len(saved.sent) != len(held):
            raise ValueError("a state that does not say which of the rows held back go out")
        now = self._past.anchor
        value, u, lowest, highest = unpack_arrays(saved.stretch, now.value, now.u, *now.corridor)
        anchor = _Anchor(saved.time_ns, value, u, Corridor(lowest, highest))
        self._past = _Past(held, np.array(saved.sent, np.bool_), before, anchor, saved.quiet)


class _Saved(msgspec.Struct, frozen=True, array_like=True):
    held: bytes
    sent: list[bool]
    before: bytes
    time_ns: int
    stretch: bytes
    quiet: int


def _own(readings: Readings) -> Readings:
    """A copy, so that a few rows do not keep a whole batch in memory."""
    r = readings
    return Readings(r.schema, r.time_ns.copy(), r.value.copy(), r.u.copy(), r.flag.copy(), r.reason.copy())


def _in_any(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n,) true where any channel of the row is."""
    rows: NDArray[np.bool_] = np.logical_or.reduce(cells, axis=1)
    return rows
