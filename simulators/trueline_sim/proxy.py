"""A bad network between two programs: proxies for TCP and UDP that delay, lose, double, reorder, cut and fall silent.

    with TcpProxy("127.0.0.1", broker.port, seed=7).running() as proxy:
        agent talks to proxy.port
        proxy.weather = Weather(latency_s=0.2)
        proxy.cut()
        proxy.weather = Weather(silent=True)      # half open: connections are accepted, then nothing

Promises: the same seed gives the same fate to the same sequence of chunks or datagrams; a TCP stream is never altered,
only delayed or cut. Refuses to know what it carries.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["TcpProxy", "UdpProxy", "Weather"]

_CHUNK: Final = 16 * 1024
_CHUNKS_ON_THE_WAY: Final = 256
_SILENCE_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What the network does to each chunk (TCP) or datagram (UDP), both ways.

    Attributes:
        latency_s: delay of each.
        jitter_s: further delay, uniform from 0 to this. Datagrams overtake each other by it; chunks never do.
        loss: probability that a datagram is dropped, or that a TCP connection is cut at a chunk.
        duplication: probability that a datagram goes twice.
        reordering: probability that a datagram waits `reordering_s` longer, so that others overtake it.
        reordering_s: see there.
        silent: nothing goes through at all, but nothing is closed and connections are accepted (half open).
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    reordering_s: float = 0.05
    silent: bool = False


class _Proxy:
    """What both have in common: a target, a port, the weather, and a loop in a thread of their own."""

    def __init__(self, host: str, port: int, *, seed: int, weather: Weather | None = None) -> None:
        self._target: Final = (host, port)
        self._rng: Final = random.Random(seed)
        self.weather = weather or Weather()
        """May be replaced at any time, from any thread."""
        self.port = 0
        """Where it listens, on 127.0.0.1. The same after a stop and start."""
        self.passed = 0
        """Chunks or datagrams let through."""
        self.dropped = 0
        """Datagrams dropped, or connections cut by `loss`."""
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        """Start to listen."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop listening and cut everything."""
        raise NotImplementedError

    def _delay_s(self) -> float:
        return self.weather.latency_s + self._rng.random() * self.weather.jitter_s

    def _in_loop(self, call: Callable[[], None]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(call)

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Listen in a thread of its own while the `with` lasts."""
        loop = self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name=f"proxy to {self._target}", daemon=True)
        thread.start()
        asyncio.run_coroutine_threadsafe(self.open(), loop).result(10)
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self.close(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()


class TcpProxy(_Proxy):
    """Carries TCP connections to one target.

    Args:
        host: of the target.
        port: of the target.
        seed: of its random choices.
        weather: at the start.
    """

    _server: asyncio.Server | None = None

    def __init__(self, host: str, port: int, *, seed: int, weather: Weather | None = None) -> None:
        super().__init__(host, port, seed=seed, weather=weather)
        self._carriers: Final[set[asyncio.Task[None]]] = set()

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._carriers)

    async def open(self) -> None:
        """Start to listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and cut everything."""
        if self._server is not None:
            self._server.close()
        await asyncio.sleep(0)  # who was just accepted has a carrier then
        while self._carriers:
            self._cut_now()
            await asyncio.gather(*self._carriers, return_exceptions=True)
            await asyncio.sleep(0)

    def cut(self) -> None:
        """Reset all connections; new ones are taken. From any thread."""
        self._in_loop(self._cut_now)

    def _cut_now(self) -> None:
        for carrier in self._carriers:
            carrier.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrier = asyncio.create_task(self._carry(reader, writer))
        self._carriers.add(carrier)

        def ended(task: asyncio.Task[None]) -> None:
            self._carriers.discard(task)
            writer.transport.abort()  # here, as a carrier that is cut before it began does nothing itself

        carrier.add_done_callback(ended)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_writer: asyncio.StreamWriter | None = None
        try:
            await self._sound()
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            async with asyncio.TaskGroup() as group:
                for one, other in ((reader, far_writer), (far_reader, writer)):
                    line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_ON_THE_WAY)
                    group.create_task(self._take(one, line))
                    group.create_task(self._give(line, other))
        except* OSError:  # one of the two went away: so does the other
            pass
        finally:
            if far_writer is not None:
                far_writer.transport.abort()

    async def _take(self, reader: asyncio.StreamReader, line: asyncio.Queue[tuple[float, bytes]]) -> None:
        now = asyncio.get_running_loop().time
        while chunk := await reader.read(_CHUNK):
            if self._rng.random() < self.weather.loss:
                self.dropped += 1
                raise ConnectionResetError
            await line.put((now() + self._delay_s(), chunk))
        await line.put((now() + self._delay_s(), b""))

    async def _give(self, line: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        now = asyncio.get_running_loop().time
        while True:
            due, chunk = await line.get()
            await asyncio.sleep(due - now())
            await self._sound()
            if not chunk:
                raise ConnectionResetError  # the end of one side ends both
            writer.write(chunk)
            await writer.drain()
            self.passed += 1

    async def _sound(self) -> None:
        while self.weather.silent:  # noqa: ASYNC110 - set from other threads, where an Event cannot be
            await asyncio.sleep(_SILENCE_POLL_S)


class UdpProxy(_Proxy):
    """Carries datagrams to one target, and answers back to whoever asked.

    Args:
        host: of the target.
        port: of the target.
        seed: of its random choices.
        weather: at the start.
    """

    def __init__(self, host: str, port: int, *, seed: int, weather: Weather | None = None) -> None:
        super().__init__(host, port, seed=seed, weather=weather)
        self._near: asyncio.DatagramTransport | None = None
        self._far: Final[dict[tuple[str, int], asyncio.DatagramTransport]] = {}
        self._door: Final = asyncio.Lock()
        self._arrivals: Final[set[asyncio.Task[None]]] = set()

    async def open(self) -> None:
        """Start to listen."""
        loop = asyncio.get_running_loop()
        self._near, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._arrived), local_addr=("127.0.0.1", self.port)
        )
        self.port = self._near.get_extra_info("sockname")[1]

    async def close(self) -> None:
        """Stop listening and forget everybody."""
        for transport in [self._near, *self._far.values()]:
            if transport is not None:
                transport.close()
        self._far.clear()
        await asyncio.gather(*self._arrivals, return_exceptions=True)

    def _arrived(self, data: bytes, address: tuple[str, int]) -> None:
        task = asyncio.get_running_loop().create_task(self._forth(data, address))
        self._arrivals.add(task)
        task.add_done_callback(self._arrivals.discard)

    async def _forth(self, data: bytes, address: tuple[str, int]) -> None:
        async with self._door:
            far = self._far.get(address)
            if far is None:
                loop = asyncio.get_running_loop()
                far, _ = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(lambda answer, _: self._back(answer, address)), remote_addr=self._target
                )
                self._far[address] = far
        self._fate(lambda: far.sendto(data))

    def _back(self, answer: bytes, address: tuple[str, int]) -> None:
        if (near := self._near) is not None:
            self._fate(lambda: near.sendto(answer, address))

    def _fate(self, send: Callable[[], None]) -> None:
        weather, draw = self.weather, self._rng.random
        if weather.silent or draw() < weather.loss:
            self.dropped += 1
            return
        for _ in range(2 if draw() < weather.duplication else 1):
            delay = self._delay_s() + (weather.reordering_s if draw() < weather.reordering else 0.0)
            self.passed += 1
            asyncio.get_running_loop().call_later(delay, send)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._take(data, addr)

    def error_received(self, exc: Exception) -> None:
        """The target's port is closed for now: what was sent is lost, as on any network."""
