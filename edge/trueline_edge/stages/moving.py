"""Moving statistics: mean, extremes, spread and median of a window of rows or seconds, as channels of their own.

Promises: each statistic is one of the readings in its window and of nothing else, the same wherever batches are cut; it
has a standard uncertainty, and the worst flag and all reasons of the readings it was made of. Refuses to call it the
present value of what is measured: a mean over a window is that, and lags.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf, pi
from typing import TYPE_CHECKING, ClassVar, Final, Literal, NamedTuple

import msgspec
import numpy as np

from trueline_edge.stages.stage import Objection, StageSettings, channel_mask, pack_arrays, unpack_arrays, usable
from trueline_wire.readings import Flag, Readings, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trueline_wire.readings import Channel, Schema

__all__ = ["Moving"]

_ROWS_MAX: Final = 10_000  # the state saved with each frame holds so many rows
_CELLS: Final = 1 << 20  # of all windows looked at in one go
_SUSPECT_WIDENING: Final = 3.0
_STD_COUNT_MIN: Final = 2
_LONG_AGO: Final = -(1 << 62)

Statistic = Literal["mean", "min", "max", "std", "median"]


class Moving(StageSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="moving"):
    """Each statistic of each channel becomes a channel "<name>_<statistic><suffix>", in the same unit.

    FAIL and MISSING readings do not count. A SUSPECT one counts with its `u` three times as large. A row whose time
    does not go forward is not added to the window.

    Attributes:
        channels: of which channels; of all where left out.
        statistics: which.
        window_rows: the window is so many rows, this one included; or
        window_s: so many seconds up to this row.
        rows_max: of a window of seconds no more than the last so many rows are kept.
        count_min: of fewer readings than this there is no statistic, and its value is MISSING.
        systematic_u: by channel, in its unit: the part of `u` that successive readings have in common. It does not
            average out. Where left out nothing does: all of `u` is taken to be common.
        suffix: at the end of the names, where there are two windows.
    """

    kind: ClassVar[Literal["judge", "mender", "adder"]] = "adder"

    statistics: tuple[Statistic, ...]
    window_rows: int | None = None
    window_s: float | None = None
    rows_max: int = 1000
    count_min: int = 1
    systematic_u: dict[str, float] = msgspec.field(default_factory=dict)
    suffix: str = ""

    def __post_init__(self) -> None:
        if not self.statistics or len(set(self.statistics)) != len(self.statistics):
            raise ValueError("statistics must name some, each once")
        if (self.window_rows is None) == (self.window_s is None):
            raise ValueError("window_rows or window_s is wanted: one of them")
        if self.window_s is not None and not 0.0 < self.window_s < _LONGEST_S:
            raise ValueError(f"window_s {self.window_s} must be above 0 and below {_LONGEST_S:.0f}")
        if not 1 <= self.rows <= _ROWS_MAX:
            raise ValueError(f"a window holds 1 to {_ROWS_MAX} rows, not {self.rows}")
        if not 1 <= self.count_min <= self.rows:
            raise ValueError(f"count_min {self.count_min} must be between 1 and the rows of a window, {self.rows}")
        if not all(0.0 <= u < inf for u in self.systematic_u.values()):
            raise ValueError("systematic_u must be numbers that are not negative")

    @property
    def rows(self) -> int:
        """Of a window, at most."""
        return self.rows_max if self.window_rows is None else self.window_rows

    def named(self, channel: str, statistic: Statistic) -> str:
        """The new channel."""
        return f"{channel}_{statistic}{self.suffix}"

    def objections(self, schema: Schema) -> Iterator[Objection]:
        """Channels that are not there, and names that are taken."""
        yield from super().objections(schema)
        names = [channel.name for channel in schema.channels]
        for name in self.systematic_u:
            if name not in names or not (self.channels is None or name in self.channels):
                yield Objection(("systematic_u",), f"{name!r} is no channel of this stage")
        for name in self.channels or names:
            for new in (self.named(name, statistic) for statistic in self.statistics):
                if new in names:
                    yield Objection(("suffix",), f"stream {schema.stream!r} has a channel {new!r} already")

    def stage(self, schema: Schema) -> AddMoving:
        """The stage for readings of this schema."""
        return AddMoving(self, schema)


_LONGEST_S: Final = 1e8


class _Window(NamedTuple):
    """The last rows of the m channels looked at, oldest first; where there are fewer, the first are not to be used."""

    age_ns: NDArray[np.int64]
    """(w,) time, counted from the last row; not above 0."""
    value: NDArray[np.float64]
    """(w, m) 0 where not to be used."""
    u: NDArray[np.float32]
    flag: NDArray[np.uint8]
    """(w, m) 0 where not to be used."""
    reason: NDArray[np.uint32]
    last_ns: NDArray[np.int64]
    """() the time of the last row of all."""
    begun: NDArray[np.int64]
    """() 1 where there has been one."""


class AddMoving:
    """Adds the statistics behind the channels that came in."""

    delay = 0

    def __init__(self, config: Moving, schema: Schema) -> None:
        self._config = config
        self._in = schema
        self._which = np.flatnonzero(channel_mask(schema, config.channels))
        looked_at = [schema.channels[k] for k in self._which]
        new = [_derived(c, config.named(c.name, statistic)) for c in looked_at for statistic in config.statistics]
        self.schema = replace(schema, channels=(*schema.channels, *new))
        self._resolution = [channel.resolution for channel in looked_at]
        self._systematic = [config.systematic_u.get(channel.name) for channel in looked_at]
        self._span_ns = None if config.window_s is None else round(config.window_s * 1e9)
        w, m = config.rows, len(self._which)
        self._window = _Window(
            np.full(w, _LONG_AGO, np.int64),
            np.zeros((w, m)),
            np.zeros((w, m), np.float32),
            np.zeros((w, m), np.uint8),
            np.zeros((w, m), np.uint32),
            np.array(0, np.int64),
            np.array(0, np.int64),
        )

    def __call__(self, readings: Readings, /) -> Readings:
        if not len(readings):
            return Readings.empty(self.schema)
        window, w = self._window, self._config.rows
        before = window.last_ns if window.begun else readings.time_ns[0] - 1
        steps_ns = np.clip(np.diff(readings.time_ns, prepend=before), 0, int(_LONGEST_S * 1e9))
        enters, clock_ns = steps_ns > 0, np.cumsum(steps_ns)
        rows = _joined(window, readings, enters, clock_ns, self._which)
        ends = np.cumsum(enters, dtype=np.int64)
        new = _Columns.of(len(readings), len(self._which) * len(self._config.statistics))
        for start in range(0, len(readings), max(1, _CELLS // w)):
            part = slice(start, start + max(1, _CELLS // w))
            for position in range(len(self._which)):
                self._fill(new, part, position, rows, ends[part], clock_ns[part])
        last = slice(len(rows.age_ns) - w, None)
        age_ns = np.maximum(rows.age_ns[last] - clock_ns[-1], _LONG_AGO)
        self._window = _Window(
            age_ns,
            rows.value[last].copy(),
            rows.u[last].copy(),
            rows.flag[last].copy(),
            rows.reason[last].copy(),
            np.array(readings.time_ns[-1]),
            np.array(1, np.int64),
        )
        return Readings(
            self.schema,
            readings.time_ns,
            np.concatenate([readings.value, new.value], axis=1),
            np.concatenate([readings.u, new.u], axis=1),
            np.concatenate([readings.flag, new.flag], axis=1),
            np.concatenate([readings.reason, new.reason], axis=1),
        )

    def _fill(
        self,
        new: _Columns,
        part: slice,
        position: int,
        rows: _Window,
        ends: NDArray[np.int64],
        clock_ns: NDArray[np.int64],
    ) -> None:
        """Put the statistics of one channel into its columns, for some rows."""
        view = np.lib.stride_tricks.sliding_window_view
        w, many = self._config.rows, len(self._config.statistics)
        flag = view(rows.flag[:, position], w)[ends]
        if self._span_ns is not None:
            flag[view(rows.age_ns, w)[ends] <= clock_ns[:, None] - self._span_ns] = 0
        use = flag > 0
        value = np.where(use, view(rows.value[:, position], w)[ends], 0.0)
        u = np.where(use, view(rows.u[:, position], w)[ends], np.float32(0.0)).astype(np.float64)
        u *= np.where(flag == Flag.SUSPECT, _SUSPECT_WIDENING, 1.0)
        count = np.count_nonzero(use, axis=1)
        said = _worst(flag, use)
        reason = np.bitwise_or.reduce(np.where(use, view(rows.reason[:, position], w)[ends], np.uint32(0)), axis=1)
        for offset, statistic in enumerate(self._config.statistics):
            enough = count >= max(self._config.count_min, _STD_COUNT_MIN if statistic == "std" else 1)
            with np.errstate(all="ignore"):
                estimate = _statistic(
                    statistic, value, u, use, count, self._systematic[position], self._resolution[position]
                )
            column = position * many + offset
            new.value[part, column] = np.where(enough, estimate.value, np.nan)
            new.u[part, column] = np.where(enough, estimate.u, np.nan)
            new.flag[part, column] = np.where(enough, said, np.uint8(Flag.MISSING))
            new.reason[part, column] = np.where(enough, reason, reason | np.uint32(Reason.MISSING))

    def flush(self) -> Readings:
        """Nothing is held back."""
        return Readings.empty(self.schema)

    def state(self) -> bytes:
        """The window."""
        return pack_arrays(*self._window)

    def restore(self, state: bytes) -> None:
        """Go on with the window of another life."""
        self._window = _Window(*unpack_arrays(state, *self._window))


class _Columns(NamedTuple):
    value: NDArray[np.float64]
    u: NDArray[np.float32]
    flag: NDArray[np.uint8]
    reason: NDArray[np.uint32]

    @classmethod
    def of(cls, n: int, k: int) -> _Columns:
        shape = (n, k)
        return cls(np.empty(shape), np.empty(shape, np.float32), np.empty(shape, np.uint8), np.empty(shape, np.uint32))


class _Estimate(NamedTuple):
    value: NDArray[np.float64]
    u: NDArray[np.float64]


def _statistic(
    statistic: Statistic,
    value: NDArray[np.float64],
    u: NDArray[np.float64],
    use: NDArray[np.bool_],
    count: NDArray[np.int64],
    systematic: float | None,
    resolution: float,
) -> _Estimate:
    """Of each of n windows, with its standard uncertainty.

    Args:
        statistic: which.
        value: (n, w) 0 where not used.
        u: (n, w) 0 where not used.
        use: (n, w).
        count: (n,) how many are used.
        systematic: what all readings have in common; None: everything.
        resolution: of the channel; 0 where unknown.
    """
    mean = value.sum(axis=1) / count
    if statistic == "mean":
        return _Estimate(mean, _u_averaged(u, count, systematic, 1.0 / count))
    if statistic == "median":
        ordered = np.sort(np.where(use, value, inf), axis=1)
        middle = [
            np.take_along_axis(ordered, np.maximum(at, 0)[:, None], axis=1)[:, 0]
            for at in ((count - 1) // 2, count // 2)
        ]
        # Of normal readings the median is sqrt(pi / 2) times less certain than the mean (asymptotic).
        share = np.where(count > 2, pi / 2, 1.0) / count  # noqa: PLR2004 - of one or two it is their mean
        return _Estimate((middle[0] + middle[1]) / 2.0, _u_averaged(u, count, systematic, share))
    if statistic == "std":
        squares = np.where(use, value - mean[:, None], 0.0) ** 2
        deviation = np.sqrt(squares.sum(axis=1) / (count - 1))
        # The spread of the spread, of normal readings (GUM E.4.3); a display of steps hides that much at least.
        return _Estimate(deviation, np.sqrt((deviation**2 + resolution**2 / 12.0) / (2.0 * (count - 1))))
    extreme = np.where(use, value, inf if statistic == "min" else -inf)
    at = (extreme.argmin(axis=1) if statistic == "min" else extreme.argmax(axis=1))[:, None]
    return _Estimate(np.take_along_axis(value, at, axis=1)[:, 0], np.take_along_axis(u, at, axis=1)[:, 0])


def _u_averaged(
    u: NDArray[np.float64], count: NDArray[np.int64], systematic: float | None, share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n,) noise averages down to `share` of its mean variance, what is common stays (GUM 5.1.2 and 5.2.2)."""
    if systematic is None:
        averaged: NDArray[np.float64] = u.sum(axis=1) / count
        return averaged
    noise = np.where(u > 0.0, np.maximum(u**2 - systematic**2, 0.0), u)  # NaN stays: unknown is unknown
    combined: NDArray[np.float64] = np.sqrt(noise.sum(axis=1) / count * share + systematic**2)
    return combined


def _worst(flag: NDArray[np.uint8], use: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(n,) SUSPECT where one is, else NOT_EVALUATED where one is, else PASS."""
    worst: NDArray[np.uint8] = np.where(use, flag, np.uint8(Flag.PASS)).max(axis=1)
    return worst


def _joined(
    window: _Window, readings: Readings, enters: NDArray[np.bool_], clock_ns: NDArray[np.int64], which: NDArray[np.intp]
) -> _Window:
    """The window and behind it the rows that enter it; their times are counted from the window's last row."""
    use = usable(readings)[enters][:, which]
    return window._replace(
        age_ns=np.concatenate([window.age_ns, clock_ns[enters]]),
        value=np.concatenate([window.value, np.where(use, readings.value[enters][:, which], 0.0)]),
        u=np.concatenate([window.u, readings.u[enters][:, which]]),
        flag=np.concatenate([window.flag, np.where(use, readings.flag[enters][:, which], np.uint8(0))]),
        reason=np.concatenate([window.reason, readings.reason[enters][:, which]]),
    )


def _derived(channel: Channel, name: str) -> Channel:
    """A statistic of a channel: a number of its own, on no grid."""
    return replace(channel, name=name, resolution=0.0)
