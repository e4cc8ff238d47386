"""Several sources as one stream on one clock: each reading where the clock stands, by a declared interpolation.

Promises: rows stand on whole multiples of the period since 1970; a row waits until every input has come so far, or
until an input in real time has been waited for long enough ("late" readings are counted); memory is bounded; the offset
of a batch holds the offsets of all inputs and what is read of them and not yet given out, so a kill changes nothing. A
time at which nothing at all was measured has no row. Refuses to know what the values mean.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np

from trueline_edge.sources.alignment import Interpolation, Series
from trueline_edge.sources.mqtt import MqttSourceConfig
from trueline_edge.sources.replay import ReplayConfig
from trueline_edge.sources.simulated import SimulatedConfig
from trueline_edge.sources.source import SYSTEM_CLOCK, Batch, ChannelConfig, Clock
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Readings, Schema
from trueline_wire.settings import Objection

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from numpy.typing import NDArray

    from trueline_edge.sources.source import Source

__all__ = ["JoinConfig", "JoinInput", "JoinSource"]

_PERIOD_MAX_S: Final = 86_400.0
_WAITING_MAX: Final = 100_000
_INPUT_ROWS: Final = 64
"""Rows read from an input at once: what is read and not given out is saved with each frame."""
_NOTES_MAX: Final = 64

SingleSource = ReplayConfig | SimulatedConfig | MqttSourceConfig


class JoinInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the sources.

    Attributes:
        channels: of the stream, those this input gives.
        source: as of a stream.
        interpolation: "none": a reading counts at its own time alone. "previous": it holds until the next. "linear": a
            line leads to the next, which has to be waited for.
        age_max_s: "previous": a reading holds so long at most; "linear": no line is drawn over a gap longer than this.
        wander: by channel, how far the quantity wanders between readings, in its unit per square root of a second: the
            standard deviation of its change within one second. Where a channel is not named, it is learnt.
    """

    channels: tuple[str, ...]
    source: SingleSource
    interpolation: Interpolation = "linear"
    age_max_s: float | None = None
    wander: dict[str, float] = {}

    def __post_init__(self) -> None:
        if not self.channels:
            raise ValueError("channels must name a channel")
        if (self.interpolation == "none") != (self.age_max_s is None):
            raise ValueError(f"age_max_s belongs to 'previous' and 'linear', and is wanted there; not {self.age_max_s}")
        if self.age_max_s is not None and not 0.0 < self.age_max_s < _AGE_MAX_S:
            raise ValueError(f"age_max_s {self.age_max_s} must be above 0 and below {_AGE_MAX_S:.0f}")
        if not all(0.0 <= number < inf for number in self.wander.values()):
            raise ValueError("wander must be numbers that are not negative")
        for name in self.wander:
            if name not in self.channels or self.interpolation == "none":
                raise ValueError(f"wander names {name!r}, which is not interpolated here")

    @property
    def prompt(self) -> bool:
        """It comes as fast as it is read, and is always waited for."""
        match self.source:
            case ReplayConfig(speed=speed):
                return speed == "flat_out"
            case SimulatedConfig(flat_out=flat_out):
                return flat_out
        return False


_AGE_MAX_S: Final = 1e8


class JoinConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="join"):
    """Every channel of the stream comes from one of the inputs.

    Attributes:
        inputs: the table `[[stream.source.input]]`.
        period_s: from row to row, 0.000001 s to a day.
        lateness_s: a row waits so long for inputs in real time; a replay or simulation "flat_out" is always waited for.
        rows_waiting_max: rows read of an input and not given out, at most; then it is not read on.
    """

    inputs: tuple[JoinInput, ...] = msgspec.field(name="input")
    period_s: float
    lateness_s: float = 10.0
    rows_waiting_max: int = 1000

    def __post_init__(self) -> None:
        if not 1e-6 <= self.period_s <= _PERIOD_MAX_S:  # noqa: PLR2004 - a microsecond
            raise ValueError(f"period_s {self.period_s} must be between 0.000001 and {_PERIOD_MAX_S:.0f}")
        if not 0.0 <= self.lateness_s <= _PERIOD_MAX_S:
            raise ValueError(f"lateness_s {self.lateness_s} must be between 0 and {_PERIOD_MAX_S:.0f}")
        if not 1 <= self.rows_waiting_max <= _WAITING_MAX:
            raise ValueError(f"rows_waiting_max {self.rows_waiting_max} must be between 1 and {_WAITING_MAX}")
        if not self.inputs:
            raise ValueError("input must be a table at least")

    @property
    def channel_keys(self) -> tuple[str, ...]:
        """Channel keys that mean something to one of the inputs."""
        return tuple({key for each in self.inputs for key in each.source.channel_keys})

    def misfits(self, names: Sequence[str]) -> Iterator[Objection]:
        """Channels that come from nowhere, from two inputs, or are none of the stream's."""
        taken: dict[str, int] = {}
        for position, each in enumerate(self.inputs):
            for name in each.channels:
                if name not in names:
                    hint = f"channels here: {', '.join(names)}"
                    yield Objection(("input", position, "channels"), f"this stream has no channel {name!r}", hint)
                elif name in taken:
                    yield Objection(("input", position, "channels"), f"{name!r} comes from two inputs")
                taken[name] = position
        for name in names:
            if name not in taken:
                yield Objection(("input",), f"channel {name!r} comes from no input", "name it under channels of one")

    def flat_out(self) -> JoinConfig:
        """The same, read as fast as it can be; inputs in real time are left as they are."""
        return msgspec.structs.replace(self, inputs=tuple(map(_flat_out, self.inputs)))

    def open(
        self, schema: Schema, channels: Sequence[ChannelConfig], *, rows_max: int, clock: Clock = SYSTEM_CLOCK
    ) -> JoinSource:
        """The source for a stream. Batches have at most `rows_max` rows."""
        for misfit in self.misfits([channel.name for channel in channels]):
            raise ConfigError(f"stream {schema.stream!r}: {misfit.message}")
        return JoinSource(self, schema, channels, rows_max=rows_max, clock=clock)


def _flat_out(each: JoinInput) -> JoinInput:
    match each.source:
        case ReplayConfig() as source:
            return msgspec.structs.replace(each, source=msgspec.structs.replace(source, speed="flat_out"))
        case SimulatedConfig() as source:
            return msgspec.structs.replace(each, source=msgspec.structs.replace(source, flat_out=True))
    return each


class _SavedFeed(msgspec.Struct, frozen=True, array_like=True):
    offset: bytes
    series: bytes


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a join stands: the offset of a batch."""

    next_ns: int | None
    feeds: list[_SavedFeed]


class _Feed:
    """One input at work."""

    def __init__(
        self, config: JoinInput, schema: Schema, channels: Sequence[ChannelConfig], rows_max: int, clock: Clock
    ) -> None:
        names = [channel.name for channel in schema.channels]
        self.columns = [names.index(name) for name in config.channels]
        inner = Schema(
            device=schema.device, stream=schema.stream, channels=tuple(schema.channels[k] for k in self.columns)
        )
        chosen = [channels[k] for k in self.columns]
        self.prompt = config.prompt
        self.source: Source = config.source.open(inner, chosen, rows_max=min(rows_max, _INPUT_ROWS), clock=clock)
        self.series = Series(inner, config.interpolation, config.age_max_s or 0.0, config.wander)
        self.offset = b""
        self.ended = False
        self.batches: AsyncGenerator[Batch, None] | None = None
        self.coming: asyncio.Task[Batch | None] | None = None

    async def next(self) -> Batch | None:
        """The next batch; None at the end."""
        if self.batches is None:
            self.batches = self.source.batches()
        return await anext(self.batches, None)

    async def close(self) -> None:
        """Read no more."""
        if self.coming is not None:
            self.coming.cancel()
            await asyncio.gather(self.coming, return_exceptions=True)
        if self.batches is not None:
            await self.batches.aclose()


class _Note(NamedTuple):
    """How far the fastest input had come, and when."""

    newest_ns: int
    at_s: float


class JoinSource:
    """Reads one stream from several sources."""

    def __init__(
        self, config: JoinConfig, schema: Schema, channels: Sequence[ChannelConfig], *, rows_max: int, clock: Clock
    ) -> None:
        self._config = config
        self._schema = schema
        self._rows_max = rows_max
        self._clock = clock
        self._period_ns = round(config.period_s * 1e9)
        self._feeds = [_Feed(each, schema, channels, rows_max, clock) for each in config.inputs]
        self._order = np.argsort([k for feed in self._feeds for k in feed.columns])
        self._next_ns: int | None = None
        self._lost: Counter[str] = Counter()
        self._notes: deque[_Note] = deque()

    def resume(self, offset: bytes) -> None:
        """Go on behind the batch that carried this offset."""
        try:
            place = msgspec.msgpack.decode(offset, type=_Place)
            if len(place.feeds) != len(self._feeds):
                raise ValueError(f"{len(place.feeds)} inputs were joined")
            for feed, saved in zip(self._feeds, place.feeds, strict=True):
                feed.series.restore(saved.series)
        except ValueError as error:
            raise ConfigError(
                f"stream {self._schema.stream!r}: its inputs were changed since it last ran ({error}): "
                "give the stream a new name, or the inputs back"
            ) from error
        self._next_ns = place.next_ns
        for feed, saved in zip(self._feeds, place.feeds, strict=True):
            feed.offset = saved.offset
            if saved.offset:
                feed.source.resume(saved.offset)

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """All rows, as soon as every input has come so far or has been waited for."""
        try:
            while True:
                for readings in self._ready():
                    yield self._batch(readings)
                if self._lost:
                    yield self._batch(Readings.empty(self._schema))
                if all(feed.ended for feed in self._feeds):
                    return
                await self._read_on()
        finally:
            for feed in self._feeds:
                await feed.close()

    def _batch(self, readings: Readings) -> Batch:
        lost, self._lost = dict(self._lost), Counter()
        feeds = [_SavedFeed(feed.offset, feed.series.state()) for feed in self._feeds]
        return Batch(readings, msgspec.msgpack.encode(_Place(self._next_ns, feeds)), lost)

    # ------------------------------------------------------------ reading

    async def _read_on(self) -> None:
        """Wait until an input has given more, or a row has waited long enough."""
        for feed in self._feeds:
            if feed.coming is None and not feed.ended and self._wanted(feed):
                feed.coming = asyncio.create_task(feed.next())
        coming = [feed.coming for feed in self._feeds if feed.coming is not None]
        wait_s = self._wait_s()  # one look at the clock: between two of them a row may become due
        sleeper = None if wait_s is None else asyncio.ensure_future(self._clock.sleep(wait_s))
        try:
            await asyncio.wait([*coming, *([sleeper] if sleeper else [])], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if sleeper is not None:
                sleeper.cancel()
                await asyncio.gather(sleeper, return_exceptions=True)
        for feed in self._feeds:
            if feed.coming is not None and feed.coming.done():
                task, feed.coming = feed.coming, None
                self._take(feed, task.result())
        self._note()

    def _wanted(self, feed: _Feed) -> bool:
        """As fast as it is read: while behind all others, or behind a row that waits. In real time: always."""
        if feed.prompt:
            horizon = self._horizon_ns()
            if self._notes and horizon is not None:
                horizon = max(horizon, self._notes[0].newest_ns)
            complete = self._complete_ns(feed)
            return horizon is None or complete is None or complete <= horizon
        return len(feed.series.waiting) < self._config.rows_waiting_max

    def _take(self, feed: _Feed, batch: Batch | None) -> None:
        if batch is None:
            feed.ended = True
            return
        given_ns = None if self._next_ns is None else self._next_ns - self._period_ns
        pushed = feed.series.push(batch.readings, given_ns)
        feed.offset = batch.offset
        self._lost.update(batch.lost)
        self._lost.update({reason: count for reason, count in pushed._asdict().items() if count})

    # ------------------------------------------------------------ how far

    def _newest_ns(self) -> int | None:
        """How far the fastest input has come."""
        return max((f.series.newest_ns for f in self._feeds if f.series.newest_ns is not None), default=None)

    def _horizon_ns(self) -> int | None:
        """How far all inputs have come that have not ended; None where one has not begun."""
        return self._least_ns([feed for feed in self._feeds if not feed.ended])

    def _least_ns(self, feeds: Sequence[_Feed]) -> int | None:
        """How far the slowest of these has come; None where one has not begun."""
        reached = [self._complete_ns(feed) for feed in feeds]
        begun = [complete for complete in reached if complete is not None]
        if len(begun) < len(reached):
            return None
        return min(begun) if begun else self._newest_ns()

    def _complete_ns(self, feed: _Feed) -> int | None:
        return feed.series.complete_ns(self._config.rows_waiting_max)

    def _note(self) -> None:
        """Remember when the fastest input came so far, while somebody in real time is waited for."""
        newest, live = self._newest_ns(), [feed for feed in self._feeds if not (feed.ended or feed.prompt)]
        if newest is None or not live or self._least_ns(live) == newest:
            self._notes.clear()
            return
        if not self._notes or newest > self._notes[-1].newest_ns:
            if len(self._notes) == _NOTES_MAX:
                self._notes.pop()  # the newest one waits a little longer than it has to, never less
            self._notes.append(_Note(newest, self._clock.monotonic_s()))

    def _wait_s(self) -> float | None:
        """How long the oldest row still waits; None where none does, or one that is always waited for is behind."""
        prompt = self._least_ns([feed for feed in self._feeds if feed.prompt and not feed.ended])
        if not self._notes or prompt is None or self._notes[0].newest_ns > prompt:
            return None
        return max(0.0, self._notes[0].at_s + self._config.lateness_s - self._clock.monotonic_s())

    def _until_ns(self) -> int | None:
        """Up to which time rows can be given out."""
        until = self._horizon_ns()
        while self._wait_s() == 0.0:
            waited_for = self._notes.popleft().newest_ns
            until = waited_for if until is None else max(until, waited_for)
        return until

    # ------------------------------------------------------------ giving out

    def _ready(self) -> Iterator[Readings]:
        """Rows that need not wait, a batch at a time; rows in which nothing was measured are left out."""
        until_ns = self._until_ns()
        while until_ns is not None and (grid := self._grid(until_ns)) is not None:
            parts = [feed.series.at(grid) for feed in self._feeds]
            self._next_ns = int(grid[-1]) + self._period_ns
            value = np.concatenate([part.value for part in parts], axis=1)[:, self._order]
            measured = ~np.isnan(value).all(axis=1)
            if measured.any():
                u = np.concatenate([part.u for part in parts], axis=1)[:, self._order]
                flag = np.concatenate([part.flag for part in parts], axis=1)[:, self._order]
                reason = np.concatenate([part.reason for part in parts], axis=1)[:, self._order]
                self._settle()
                yield Readings(
                    self._schema, grid[measured], value[measured], u[measured], flag[measured], reason[measured]
                )
        self._settle()

    def _settle(self) -> None:
        if self._next_ns is not None:
            for feed in self._feeds:
                feed.series.settle(self._next_ns)

    def _grid(self, until_ns: int) -> NDArray[np.int64] | None:
        """The next times of the clock, at most `rows_max`; None where there is none up to `until_ns`."""
        first_ns = self._first_ns()
        if first_ns is None or first_ns > until_ns:
            if self._next_ns is not None:  # nothing was measured up to there, and nothing will come of it
                self._next_ns = max(self._next_ns, _ceil(until_ns + 1, self._period_ns))
            return None
        count = min(self._rows_max, (until_ns - first_ns) // self._period_ns + 1)
        return first_ns + np.arange(count, dtype=np.int64) * self._period_ns

    def _first_ns(self) -> int | None:
        """The first time of the clock, from where we stand, at which there may be something."""
        from_ns = _LONG_AGO if self._next_ns is None else self._next_ns
        useful = [first for feed in self._feeds if (first := feed.series.first_useful_ns(from_ns)) is not None]
        return _ceil(min(useful), self._period_ns) if useful else None


_LONG_AGO: Final = -(1 << 62)


def _ceil(time_ns: int, period_ns: int) -> int:
    return -(-time_ns // period_ns) * period_ns
