"""When a fleet's links fail: outages by schedule and at random, and the weather on the way to the broker.

Promises: everything is drawn before it happens, and seeded; outages of one device never overlap. A scheduled outage
cuts real sockets and takes the port away, for all devices; silence leaves them open and lets nothing through (half
open); a random outage is one device's own. Refuses to know what devices do meanwhile.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from trueline_sim.proxy import TcpProxy, Weather
from trueline_sim.randomness import stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["BadWeather", "Outage", "draw_outages", "merged", "parse_outage", "parse_range"]

_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True, order=True)
class Outage:
    """A time without a link, in seconds after the start of the run.

    Raises:
        ValueError: it begins before the run, or does not last.
    """

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.start_s < self.end_s < math.inf:
            raise ValueError(f"an outage from {self.start_s:g} s to {self.end_s:g} s cannot be")

    @property
    def seconds(self) -> float:
        """How long."""
        return self.end_s - self.start_s


def parse_outage(text: str) -> Outage:
    """An outage from a text: "20:8" begins 20 s after the start and lasts 8 s.

    Raises:
        ValueError: it says something else.
    """
    start_s, seconds = _two_numbers(text, "START:SECONDS")
    return Outage(start_s, start_s + seconds)


def parse_range(text: str) -> tuple[float, float]:
    """A range from a text: "5:60" is from 5 to 60.

    Raises:
        ValueError: not two numbers above zero, the smaller one first.
    """
    low, high = _two_numbers(text, "LOW:HIGH")
    if not 0.0 < low <= high < math.inf:
        raise ValueError(f"{text}: LOW:HIGH is wanted, above 0")
    return low, high


def _two_numbers(text: str, wanted: str) -> tuple[float, float]:
    first, colon, second = text.partition(":")
    try:
        if colon:
            return float(first), float(second)
    except ValueError:
        pass
    raise ValueError(f"{text}: {wanted} is wanted, such as 20:8")


def merged(outages: Iterable[Outage]) -> list[Outage]:
    """The same times without a link, in order, none touching another."""
    apart: list[Outage] = []
    for outage in sorted(outages):
        if apart and outage.start_s <= apart[-1].end_s:
            apart[-1] = Outage(apart[-1].start_s, max(apart[-1].end_s, outage.end_s))
        else:
            apart.append(outage)
    return apart


def draw_outages(
    *, devices: int, run_s: float, per_device_hour: float, seconds: tuple[float, float], seed: int
) -> list[list[Outage]]:
    """Outages of each device: they begin as a Poisson process, and last log-uniformly long.

    Args:
        devices: how many.
        run_s: they begin within the run; the last may end after it.
        per_device_hour: how many begin in an hour, on average, before overlapping ones are merged.
        seconds: the shortest and the longest.
        seed: of the run.
    """
    rng = stream(seed, "outages")
    low, high = (math.log(limit) for limit in seconds)
    drawn = []
    for count in rng.poisson(per_device_hour * run_s / _HOUR_S, devices):
        starts, lengths = rng.uniform(0.0, run_s, count), rng.uniform(low, high, count)
        drawn.append(merged(Outage(float(s), float(s + math.exp(n))) for s, n in zip(starts, lengths, strict=True)))
    return drawn


class BadWeather:
    """A proxy before the broker that does what was planned. For one run, in the loop of the fleet.

    Args:
        weather: latency, jitter and loss, all the time.
        outages: connections are reset, and nobody listens, while these last.
        silences: connections stay open and nothing goes through (half open) while these last.
        seed: of the losses.
    """

    def __init__(
        self, weather: Weather, *, outages: Sequence[Outage] = (), silences: Sequence[Outage] = (), seed: int
    ) -> None:
        self._weather: Final = weather
        self._outages: Final = merged(outages)
        self._silences: Final = merged(silences)
        self._seed: Final = seed
        self._proxy: TcpProxy | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def matters(self) -> bool:
        """Whether anything is planned: without it, the way to the broker may as well be straight."""
        return bool(self._outages or self._silences) or self._weather != Weather()

    @property
    def connections_cut(self) -> int:
        """Connections cut by loss so far."""
        return self._proxy.dropped if self._proxy else 0

    async def open(self, host: str, port: int) -> int:
        """Stand before the broker at host and port. Returns the port to connect to, on 127.0.0.1."""
        self._proxy = TcpProxy(host, port, seed=self._seed)  # fine until the run begins: connecting is no part of it
        await self._proxy.open()
        return self._proxy.port

    def begin(self) -> None:
        """The run begins now."""
        assert self._proxy is not None  # noqa: S101 - `open` comes first
        self._proxy.weather = self._weather
        self._tasks = [asyncio.create_task(do) for do in (self._cut_as_planned(), self._fall_silent_as_planned())]

    async def _cut_as_planned(self) -> None:
        assert self._proxy is not None  # noqa: S101 - as above
        start_s = asyncio.get_running_loop().time()
        for outage in self._outages:
            await _sleep_until(start_s + outage.start_s)
            await self._proxy.close()
            await _sleep_until(start_s + outage.end_s)
            await self._proxy.open()

    async def _fall_silent_as_planned(self) -> None:
        assert self._proxy is not None  # noqa: S101 - as above
        start_s = asyncio.get_running_loop().time()
        for silence in self._silences:
            await _sleep_until(start_s + silence.start_s)
            self._proxy.weather = replace(self._weather, silent=True)
            await _sleep_until(start_s + silence.end_s)
            self._proxy.weather = self._weather

    async def close(self) -> None:
        """Go away; what was planned for later does not happen."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._proxy is not None:
            await self._proxy.close()


async def _sleep_until(when_s: float) -> None:
    await asyncio.sleep(when_s - asyncio.get_running_loop().time())
