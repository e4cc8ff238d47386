"""Readings out of seeded mathematics: each value a function of its row's number, so that a restart repeats nothing.

Promises: equal seeds, numbers and signals give equal values, wherever batches are cut and however often the source is
restarted. With `start_ns` the times are as fixed as the values; without it a row is stamped when it is due, and what
was not sampled while the agent was down does not exist. Refuses to be an oracle: it is a stand-in for a sensor.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec
import numpy as np

from trueline_edge.sources.signals import Noise, RandomWalk, Signal, Sine, Square
from trueline_edge.sources.source import SYSTEM_CLOCK, Batch, ChannelConfig, Clock, declared_u
from trueline_wire.readings import Readings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from numpy.typing import NDArray

    from trueline_wire.readings import Schema

__all__ = ["SimulatedConfig", "SimulatedSource"]

_RATE_MIN_HZ: Final = 0.001
_RATE_MAX_HZ: Final = 10_000.0
_SEED_MAX: Final = (1 << 63) - 1
_BLOCK: Final = 4096
"""Random numbers are drawn in blocks of so many rows; each block has a generator of its own."""
_TICK_S: Final = 0.05
_NOISE: Final = 0
_STEPS: Final = 1


class SimulatedConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="simulated"
):
    """Every channel shows its `signal` (a sine of amplitude 1 and period 60 s where it names none).

    A channel with a resolution shows multiples of it, as a sensor would.

    Attributes:
        rate_hz: rows a second, 0.001 to 10,000.
        seed: equal seeds give equal values.
        rows: end after so many; endless where left out.
        start_ns: time of row 0, UTC nanoseconds since 1970; where left out, rows are stamped when they are due.
        flat_out: do not wait: rows come as fast as they are taken.
    """

    rate_hz: float = 1.0
    seed: int = 0
    rows: int | None = None
    start_ns: int | None = None
    flat_out: bool = False

    channel_keys: ClassVar = ("signal",)

    def __post_init__(self) -> None:
        if not _RATE_MIN_HZ <= self.rate_hz <= _RATE_MAX_HZ:
            raise ValueError(f"rate_hz {self.rate_hz} must be between {_RATE_MIN_HZ} and {_RATE_MAX_HZ:.0f}")
        if not 0 <= self.seed <= _SEED_MAX:
            raise ValueError(f"seed {self.seed} must be between 0 and 2^63 - 1")
        if self.rows is not None and self.rows < 0:
            raise ValueError(f"rows {self.rows} must not be negative")

    def open(
        self, schema: Schema, channels: Sequence[ChannelConfig], *, rows_max: int, clock: Clock = SYSTEM_CLOCK
    ) -> SimulatedSource:
        """The source for a stream. Batches have at most `rows_max` rows."""
        return SimulatedSource(self, schema, channels, rows_max=rows_max, clock=clock)


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a simulation stands: the offset of a batch."""

    row: int
    last_ns: int


class SimulatedSource:
    """Computes one stream."""

    def __init__(
        self,
        config: SimulatedConfig,
        schema: Schema,
        channels: Sequence[ChannelConfig],
        *,
        rows_max: int,
        clock: Clock,
    ) -> None:
        self._config = config
        self._schema = schema
        self._u = declared_u(channels)
        self._rows_max = rows_max
        self._clock = clock
        self._rate = Fraction(config.rate_hz).limit_denominator(1000)
        self._generators = [_Channel(channel, config.seed, position) for position, channel in enumerate(channels)]
        self._place = _Place(0, 0)

    def resume(self, offset: bytes) -> None:
        """Go on with the row behind the batch that carried this offset."""
        self._place = msgspec.msgpack.decode(offset, type=_Place)

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """All rows, when they are due."""
        row = self._place.row
        origin_ns, first, first_s = self._origin_ns(row), row, self._clock.monotonic_s()
        while self._config.rows is None or row < self._config.rows:
            until = row + self._rows_max
            if self._config.flat_out:
                await self._clock.sleep(0)
            else:
                due_s = first_s + float((row - first) / self._rate)
                await self._clock.sleep(max(0.0, due_s - self._clock.monotonic_s()))
                passed_s = self._clock.monotonic_s() + _TICK_S - first_s
                until = min(until, max(row + 1, first + int(passed_s * self._rate) + 1))
            if self._config.rows is not None:
                until = min(until, self._config.rows)
            time_ns = origin_ns + self._elapsed_ns(row, until)
            value = self._values(row, until)
            row = until
            offset = msgspec.msgpack.encode(_Place(row, int(time_ns[-1])))
            yield Batch(Readings.raw(self._schema, time_ns, value, self._u), offset, {})

    def _origin_ns(self, row: int) -> int:
        """The time of row 0; without a configured one, such that the next row is now, and behind the last one."""
        if self._config.start_ns is not None:
            return self._config.start_ns
        now_ns = self._clock.wall_ns()
        if row:
            now_ns = max(now_ns, self._place.last_ns + int(1_000_000_000 / self._rate))
        return now_ns - int(self._elapsed_ns(row, row + 1)[0])

    def _elapsed_ns(self, start: int, stop: int) -> NDArray[np.int64]:
        """(stop - start,) when rows are due after row 0, in whole nanoseconds, without drift however long it runs."""
        ticks = 1_000_000_000 * self._rate.denominator
        whole, rest = divmod(start * ticks, self._rate.numerator)
        elapsed: NDArray[np.int64] = whole + (rest + np.arange(stop - start) * ticks) // self._rate.numerator
        return elapsed

    def _values(self, start: int, stop: int) -> NDArray[np.float64]:
        start_ns = self._config.start_ns or 0
        seconds = (start_ns % 10**15 + self._elapsed_ns(start, stop)) / 1e9
        return np.column_stack([channel.values(start, stop, seconds) for channel in self._generators])


class _Channel:
    """One channel's mathematics."""

    def __init__(self, channel: ChannelConfig, seed: int, position: int) -> None:
        self._signal: Signal = channel.signal or Sine()
        self._resolution = channel.resolution
        self._decimals = _decimals_of(channel.resolution)
        self._seed = seed
        self._position = position
        self._blocks: dict[int, tuple[int, NDArray[np.float64]]] = {}

    def values(self, start: int, stop: int, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """(stop - start,) the values of these rows; `seconds` is their time."""
        match self._signal:
            case Sine(mean=mean, amplitude=amplitude, period_s=period_s):
                value = mean + amplitude * np.sin(2 * np.pi * (seconds / period_s % 1.0))
            case Square(mean=mean, amplitude=amplitude, period_s=period_s):
                value = mean + np.where(seconds / period_s % 1.0 < 0.5, amplitude, -amplitude)  # noqa: PLR2004 - half
            case RandomWalk(mean=mean, step=step):
                value = mean + step * self._drawn(_STEPS, start, stop)
            case Noise(mean=mean):
                value = np.full(stop - start, mean)
        if self._signal.noise:
            value = value + self._signal.noise * self._drawn(_NOISE, start, stop)
        if self._resolution:  # a sensor shows steps: the decimal numbers that are multiples of its resolution
            value = np.round(np.rint(value / self._resolution) * self._resolution, self._decimals)
        return value

    def _drawn(self, purpose: int, start: int, stop: int) -> NDArray[np.float64]:
        blocks = [self._block(purpose, number) for number in range(start // _BLOCK, (stop - 1) // _BLOCK + 1)]
        first = start // _BLOCK * _BLOCK
        return np.concatenate(blocks)[start - first : stop - first]

    def _block(self, purpose: int, number: int) -> NDArray[np.float64]:
        kept = self._blocks.get(purpose)
        if kept is not None and kept[0] == number:
            return kept[1]
        philox = np.random.Philox(key=[self._seed, self._position << 8 | purpose], counter=[0, 0, number, 0])
        drawn = np.random.Generator(philox).standard_normal(_BLOCK)
        if purpose == _STEPS:  # a bridge: the walk of each block ends where the next one begins
            walk = np.cumsum(drawn)
            drawn = walk - walk[-1] * np.arange(1, _BLOCK + 1) / _BLOCK
        self._blocks[purpose] = number, drawn
        return drawn


def _decimals_of(resolution: float) -> int:
    exponent = Decimal(repr(resolution)).as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0
