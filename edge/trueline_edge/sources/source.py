"""What every source keeps: the port the agent reads, and the words a configuration uses for channels.

A source turns a foreign protocol into batches of `Readings`. It says where it stands after each batch, so that a
restart goes on exactly behind the last batch that was made durable, and it says what it lost since the batch before:
the agent stores readings, offset and losses in one transaction, so none of the three can disagree. It refuses to know
what stages do with the readings.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec
import numpy as np

from trueline_edge.sources.signals import Signal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_wire.readings import Readings

__all__ = ["SYSTEM_CLOCK", "Batch", "ChannelConfig", "Clock", "Source", "declared_u"]


class Batch(NamedTuple):
    """Some readings, and where the source stands after them."""

    readings: Readings
    """Never more rows than the source was opened for; may be empty where only losses are to be told."""
    offset: bytes
    """Opaque. `resume(offset)` on a fresh source makes it go on right behind this batch; b"" where nothing is kept."""
    lost: Mapping[str, int]
    """Rows lost since the batch before, by reason. Mostly empty."""


class Source(Protocol):
    """Where the readings of one stream come from."""

    def resume(self, offset: bytes) -> None:
        """Go on behind the batch that carried this offset. Called at most once, before `batches`.

        Raises:
            ConfigError: the input is not the one the offset was taken from.
        """

    def batches(self) -> AsyncGenerator[Batch, None]:
        """The readings, in the order of the source. Ends where a finite source is exhausted. Called once.

        Raises:
            ConfigError: the input cannot be read as the configuration says.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time as a source sees it; a test brings its own.

    Attributes:
        wall_ns: UTC, nanoseconds since 1970.
        monotonic_s: seconds that never step.
        sleep: waits.
    """

    wall_ns: Callable[[], int] = time.time_ns
    monotonic_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


SYSTEM_CLOCK: Final = Clock()
"""The machine's."""


class ChannelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One channel of a stream: what it measures, and where its source finds it.

    Attributes:
        name: unique within the stream.
        unit: UCUM code, such as "Cel", "bar", "m/s2"; "1" for a pure number.
        resolution: smallest step the sensor can show, in `unit`; 0 where unknown.
        u: declared standard uncertainty of a single reading, in `unit` (GUM, k = 1); leave out where unknown.
        sensor: id of the physical sensor.
        column: replay: the CSV column, where it is not called like the channel.
        topic: mqtt: topic filter, `+` and `#` allowed; without one the channel takes every topic of the source.
        field: mqtt: where in a JSON payload the number is, dotted ("values.t") or as JSON pointer ("/values/0").
        signal: simulated: what the channel shows.
    """

    name: str
    unit: str = "1"
    resolution: float = 0.0
    u: float | None = None
    sensor: str = ""
    column: str = ""
    topic: str = ""
    field: str = ""
    signal: Signal | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name must not be empty")
        if not 0.0 <= self.resolution < float("inf"):
            raise ValueError(f"resolution {self.resolution} must be a number that is not negative (0: unknown)")
        if self.u is not None and not 0.0 <= self.u < float("inf"):
            raise ValueError(f"u {self.u} must be a number that is not negative (leave it out where unknown)")


def declared_u(channels: Sequence[ChannelConfig]) -> NDArray[np.float32]:
    """(k,) float32: the declared standard uncertainty of each channel, NaN where none is declared."""
    return np.array([np.nan if c.u is None else c.u for c in channels], np.float32)
