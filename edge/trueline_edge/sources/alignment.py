"""One input of a join: readings at times of their own -> values at the times of a clock, with what that costs in `u`.

Promises: a value is what the declared interpolation says and nothing else; its `u` holds how far the quantity may have
wandered between readings, declared or learnt from the readings themselves; the same readings give the same values,
however they were cut into batches. Refuses to know where readings come from, and when to stop waiting for more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec
import numpy as np

from trueline_wire.readings import Flag, Readings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_wire.readings import Schema

__all__ = ["Interpolation", "Pushed", "Series"]

Interpolation = Literal["none", "previous", "linear"]

_MEMORY: Final = 64
"""Errors that the learnt wander remembers."""
_KNOWN_FROM: Final = 3
"""Errors it needs before it says anything."""
_CLIP: Final = 25.0
"""One error counts at most so many times the square expected: an outlier is not how a quantity wanders."""
_NAN: Final = float("nan")


class Pushed(NamedTuple):
    """Rows of a batch that could not be taken as they came."""

    out_of_order: int
    """Not later than the row before: dropped."""
    late: int
    """Behind what has been given out: of use only for times to come."""


class _Sample(NamedTuple):
    """A reading of one channel."""

    time_ns: int
    value: float
    u: float
    flag: int
    reason: int


class _Wander:
    """How fast a quantity wanders, as the variance of a random walk, unit^2 a second.

    Learnt from how wrong the interpolation is about readings it has not used: the last one for "previous", the one
    between two neighbours for "linear". The noise of the readings themselves, where `u` is known, is taken off.
    """

    def __init__(self, interpolation: Interpolation, declared: float | None) -> None:
        self._linear = interpolation == "linear"
        self._rate = None if declared is None else declared**2
        self.means = (0.0, 0.0, 0.0)
        """Of squared errors, of the part that is noise, and of the time they stand for."""
        self.count = 0

    @property
    def rate(self) -> float:
        """unit^2 / s; NaN while it is not known."""
        if self._rate is not None:
            return self._rate
        error, noise, time_s = self.means
        return max(0.0, error - noise) / time_s if self.count >= _KNOWN_FROM else _NAN

    def learn(self, before: _Sample | None, last: _Sample | None, new: _Sample) -> None:
        """Look at a new sample, after the last one and the one before it."""
        if self._rate is not None or last is None:
            return
        if self._linear:
            if before is None:
                return
            span_s, step_s = (new.time_ns - before.time_ns) / 1e9, (last.time_ns - before.time_ns) / 1e9
            share = step_s / span_s
            error = last.value - before.value - share * (new.value - before.value)
            time_s = step_s * (1.0 - share)
            noise = last.u**2 + ((1.0 - share) * before.u) ** 2 + (share * new.u) ** 2
        else:
            error, time_s = new.value - last.value, (new.time_ns - last.time_ns) / 1e9
            noise = last.u**2 + new.u**2
        square = error * error
        if self.count >= _KNOWN_FROM and self.means[0] > 0.0:
            square = min(square, _CLIP * self.means[0] / self.means[2] * time_s)
        self.count = min(self.count + 1, _MEMORY)
        news = (square, noise if noise == noise else 0.0, time_s)  # noqa: PLR0124 - unknown noise is not taken off
        self.means = tuple(old + (now - old) / self.count for old, now in zip(self.means, news, strict=True))  # type: ignore[assignment]


class _Channel:
    """What one channel of an input remembers: its last two samples, and how it wanders."""

    def __init__(self, interpolation: Interpolation, declared: float | None) -> None:
        self.before: _Sample | None = None
        self.last: _Sample | None = None
        self.wander = _Wander(interpolation, declared)

    def take(self, sample: _Sample) -> None:
        """The next sample, in order."""
        self.wander.learn(self.before, self.last, sample)
        self.before, self.last = self.last, sample


class _SavedChannel(msgspec.Struct, frozen=True, array_like=True):
    before: _Sample | None
    last: _Sample | None
    means: tuple[float, float, float]
    count: int


class _Saved(msgspec.Struct, frozen=True, array_like=True):
    time_ns: bytes
    value: bytes
    u: bytes
    flag: bytes
    reason: bytes
    newest_ns: int | None
    channels: list[_SavedChannel]


class Series:
    """The readings of one input that are still needed.

    Args:
        schema: of the input: its k channels.
        interpolation: how a value comes about at a time without a reading.
        age_max_s: how long a reading holds ("previous"), or how far two may be apart ("linear").
        wander: by channel, declared: unit / sqrt(s); where a channel is not named, it is learnt.

    Attributes:
        newest_ns: time of the newest row seen; None before the first.
        waiting: rows not yet given out.
    """

    def __init__(
        self, schema: Schema, interpolation: Interpolation, age_max_s: float, wander: dict[str, float]
    ) -> None:
        self._schema = schema
        self._interpolation = interpolation
        self._age_max_ns = round(age_max_s * 1e9)
        self._channels = [_Channel(interpolation, wander.get(channel.name)) for channel in schema.channels]
        self.newest_ns: int | None = None
        self.waiting = Readings.empty(schema)

    def push(self, readings: Readings, given_ns: int | None) -> Pushed:
        """Take the next batch.

        Args:
            readings: of the input's schema.
            given_ns: up to this time values have been given out.
        """
        if not len(readings):
            return Pushed(0, 0)
        floor = readings.time_ns[0] - 1 if self.newest_ns is None else self.newest_ns
        highest = np.maximum.accumulate(np.concatenate([[floor], readings.time_ns]))
        forward = readings.time_ns > highest[:-1]
        late = 0 if given_ns is None else int(np.count_nonzero(forward & (readings.time_ns <= given_ns)))
        self.newest_ns = int(highest[-1])
        r = readings
        taken = Readings(
            self._schema, r.time_ns[forward], r.value[forward], r.u[forward], r.flag[forward], r.reason[forward]
        )
        self.waiting = Readings.concatenate([self.waiting, taken])
        return Pushed(len(readings) - len(taken), late)

    def settle(self, before_ns: int) -> None:
        """No value will be wanted before this time: keep of the rows before it what later ones need."""
        split = int(np.searchsorted(self.waiting.time_ns, before_ns, side="left"))
        if split:
            for k, channel in enumerate(self._channels):
                for sample in self._samples(k, split):
                    channel.take(sample)
            self.waiting = self.waiting[split:]

    def complete_ns(self, rows_max: int) -> int | None:
        """Up to this time no reading to come changes a value; None before the first.

        A line wants the next reading of each channel, and a row may lack one: then the time of the last one counts,
        until the gap is too long for a line, or `rows_max` rows wait.
        """
        if self.newest_ns is None or self._interpolation != "linear" or len(self.waiting) >= rows_max:
            return self.newest_ns
        last = [self._last_ns(k, channel) for k, channel in enumerate(self._channels)]
        open_ = [at for at in last if at is not None and self.newest_ns - at <= self._age_max_ns]
        return min(open_, default=self.newest_ns)

    def _last_ns(self, k: int, channel: _Channel) -> int | None:
        """Time of the last reading of a channel that says something."""
        good = np.flatnonzero(_speaks(self.waiting, k))
        if len(good):
            return int(self.waiting.time_ns[good[-1]])
        return None if channel.last is None else channel.last.time_ns

    def first_useful_ns(self, from_ns: int) -> int | None:
        """The first time, not before `from_ns`, at which there may be a value; None where nothing is known of one."""
        if self._interpolation != "none":
            for channel in self._channels:
                if channel.last is not None and channel.last.time_ns + self._age_max_ns >= from_ns:
                    return from_ns
        return max(from_ns, int(self.waiting.time_ns[0])) if len(self.waiting) else None

    def at(self, time_ns: NDArray[np.int64]) -> Readings:
        """The values at these times (ascending), and forget what no later time needs."""
        split = int(np.searchsorted(self.waiting.time_ns, time_ns[-1], side="right"))
        columns = [self._column(k, channel, time_ns) for k, channel in enumerate(self._channels)]
        value, u, flag, reason = (np.column_stack(part) for part in zip(*columns, strict=True))
        self.waiting = self.waiting[split:]
        return Readings(self._schema, time_ns, value, u, flag, reason)

    def _column(self, k: int, channel: _Channel, time_ns: NDArray[np.int64]) -> _Column:
        samples, rates = ([] if channel.last is None else [channel.last]), [channel.wander.rate]
        first = len(samples)
        samples += self._samples(k, len(self.waiting))
        for sample in samples[first:]:
            if sample.time_ns <= time_ns[-1]:
                channel.take(sample)
                rates.append(channel.wander.rate)
        known, rate = _Known.of(samples), np.array(rates[1 - first :])
        at = np.searchsorted(known.time_ns, time_ns, side="right") - 1
        there = at >= 0
        if not there.any():
            return _nothing(len(time_ns))
        at = np.maximum(at, 0)
        match self._interpolation:
            case "none":
                return _pick(known, at, there & (known.time_ns[at] == time_ns), 0.0)
            case "previous":
                age_ns = np.where(there, time_ns - known.time_ns[at], 0)
                grown = np.where(age_ns > 0, rate[at] * age_ns / 1e9, 0.0)
                return _pick(known, at, there & (age_ns <= self._age_max_ns), grown)
            case "linear":
                return _between(known, at, there, time_ns, rate, self._age_max_ns)

    def _samples(self, k: int, rows: int) -> list[_Sample]:
        """Of the first waiting rows, the readings of a channel that say something; with "none", all of them."""
        r = self.waiting[:rows]
        columns = (r.time_ns, r.value[:, k], r.u[:, k], r.flag[:, k], r.reason[:, k])
        good = _speaks(r, k) | (self._interpolation == "none")
        return [_Sample(*cells) for cells in zip(*(column[good].tolist() for column in columns), strict=True)]

    def state(self) -> bytes:
        """All it remembers: the rows that wait, and for each channel two samples and how it wanders."""
        r = self.waiting
        channels = [_SavedChannel(c.before, c.last, c.wander.means, c.wander.count) for c in self._channels]
        t, v, u, f, why = (column.tobytes() for column in (r.time_ns, r.value, r.u, r.flag, r.reason))
        return msgspec.msgpack.encode(_Saved(t, v, u, f, why, self.newest_ns, channels))

    def restore(self, state: bytes) -> None:
        """Go on where another one of the same input stood.

        Raises:
            ValueError: the bytes are no such state.
        """
        saved = msgspec.msgpack.decode(state, type=_Saved)
        if len(saved.channels) != len(self._channels):
            raise ValueError("a state of other channels")
        shape = (-1, len(self._channels))
        self.waiting = Readings(
            self._schema,
            np.frombuffer(saved.time_ns, np.int64),
            np.frombuffer(saved.value, np.float64).reshape(shape),
            np.frombuffer(saved.u, np.float32).reshape(shape),
            np.frombuffer(saved.flag, np.uint8).reshape(shape),
            np.frombuffer(saved.reason, np.uint32).reshape(shape),
        )
        self.newest_ns = saved.newest_ns
        for channel, was in zip(self._channels, saved.channels, strict=True):
            channel.before, channel.last = was.before, was.last
            channel.wander.means, channel.wander.count = was.means, was.count


def _speaks(readings: Readings, k: int) -> NDArray[np.bool_]:
    """(n,) true where a channel was measured."""
    good: NDArray[np.bool_] = np.isfinite(readings.value[:, k]) & (readings.flag[:, k] < Flag.FAIL)
    return good


class _Column(NamedTuple):
    """A channel at the times of the clock."""

    value: NDArray[np.float64]
    u: NDArray[np.float32]
    flag: NDArray[np.uint8]
    reason: NDArray[np.uint32]


class _Known(NamedTuple):
    """The samples of a channel as columns."""

    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    u: NDArray[np.float64]
    flag: NDArray[np.uint8]
    reason: NDArray[np.uint32]

    @classmethod
    def of(cls, samples: Sequence[_Sample]) -> _Known:
        times, values, u, flags, reasons = zip(*samples, strict=True) if samples else ((), (), (), (), ())
        return cls(
            np.array(times, np.int64),
            np.array(values, np.float64),
            np.array(u, np.float64),
            np.array(flags, np.uint8),
            np.array(reasons, np.uint32),
        )


def _nothing(n: int) -> _Column:
    """Not measured, and not judged."""
    return _Column(
        np.full(n, _NAN),
        np.full(n, _NAN, np.float32),
        np.full(n, Flag.NOT_EVALUATED, np.uint8),
        np.zeros(n, np.uint32),
    )


def _pick(
    known: _Known, at: NDArray[np.intp], where: NDArray[np.bool_], variance: NDArray[np.float64] | float
) -> _Column:
    """Sample `at` for each time where there is one, its u^2 grown by `variance`."""
    nothing = _nothing(len(at))
    u = np.sqrt(known.u[at] ** 2 + variance)
    return _Column(
        np.where(where, known.value[at], nothing.value),
        np.where(where, u, nothing.u).astype(np.float32),
        np.where(where, known.flag[at], nothing.flag),
        np.where(where, known.reason[at], nothing.reason),
    )


def _between(
    known: _Known,
    at: NDArray[np.intp],
    there: NDArray[np.bool_],
    time_ns: NDArray[np.int64],
    rate: NDArray[np.float64],
    age_max_ns: int,
) -> _Column:
    """On the line from sample `at` to the next.

    u = (1 - w) u0 + w u1, as if the errors of the two were one (the most they can add up to), and the variance of a
    Brownian bridge between them: rate (t - t0)(t1 - t) / (t1 - t0).
    """
    exact = there & (known.time_ns[at] == time_ns)
    after = np.minimum(at + 1, len(known.time_ns) - 1)
    gap_ns = known.time_ns[after] - known.time_ns[at]
    inside = there & (at + 1 < len(known.time_ns)) & (gap_ns <= age_max_ns) & ~exact
    passed_s = np.where(inside, time_ns - known.time_ns[at], 0) / 1e9
    gap_s = np.where(inside, gap_ns, 1) / 1e9
    share = passed_s / gap_s
    bridge = rate[at] * passed_s * (1.0 - share)
    u = np.sqrt(((1.0 - share) * known.u[at] + share * known.u[after]) ** 2 + bridge)
    line = _Column(
        known.value[at] + share * (known.value[after] - known.value[at]),
        u.astype(np.float32),
        np.maximum(known.flag[at], known.flag[after]),
        known.reason[at] | known.reason[after],
    )
    exactly, nothing = _pick(known, at, exact, 0.0), _nothing(len(at))
    return _Column(
        np.where(exact, exactly.value, np.where(inside, line.value, nothing.value)),
        np.where(exact, exactly.u, np.where(inside, line.u, nothing.u)),
        np.where(exact, exactly.flag, np.where(inside, line.flag, nothing.flag)),
        np.where(exact, exactly.reason, np.where(inside, line.reason, nothing.reason)),
    )
