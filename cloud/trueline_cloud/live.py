"""Committed readings on their way to whoever watches, from the ingest thread to the event loop.

Promises: `publish` never blocks and costs one dictionary look-up when nobody listens; every listener is bounded, and
knows how many rows it missed. Promises nothing about delivery: what is not seen here is in the store. Refuses to know
HTTP, the store and the wire.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trueline_wire.readings import Readings

__all__ = ["BATCHES_MAX", "LISTENERS_MAX", "Batch", "Live", "Subscription", "TooManyListenersError", "Watch"]

BATCHES_MAX: Final = 64
"""Batches that wait for one listener; beyond it the oldest is dropped, and counted."""

LISTENERS_MAX: Final = 256
"""Listeners of all kinds at one time."""


class TooManyListenersError(Exception):
    """There are as many listeners as we serve."""


class Batch(NamedTuple):
    """Readings for a listener.

    Attributes:
        readings: what was committed.
        dropped: rows of this stream the listener did not get so far, because it was too slow.
    """

    readings: Readings
    dropped: int


class _Bell:
    """Wakes one coroutine from any thread. Rings that nobody has heard yet are one ring."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._rung = False

    def ring(self) -> None:
        """Wake the listener. Call it under the owner's lock, so that no ring is lost."""
        if self._rung:
            return
        self._rung = True
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:  # the loop has been closed: nobody is left to be woken
            return

    def heard(self) -> None:
        """The listener is awake. Call it under the owner's lock."""
        self._rung = False
        self._event.clear()

    async def wait(self) -> None:
        """Return when it was rung since it was last heard."""
        await self._event.wait()


class Subscription:
    """One listener to one stream: an async iterator of `Batch`, and a context manager that signs off."""

    def __init__(self, live: Live, key: tuple[str, str]) -> None:
        self._live = live
        self._key = key
        self._lock = threading.Lock()
        self._waiting: deque[Readings] = deque()
        self._bell = _Bell()
        self._dropped = 0
        self._closed = False

    def put(self, readings: Readings) -> None:
        """Take a batch from the publisher's thread; the oldest makes room."""
        with self._lock:
            if len(self._waiting) >= BATCHES_MAX:
                self._dropped += len(self._waiting.popleft())
            self._waiting.append(readings)
            self._bell.ring()

    def end(self) -> None:
        """No more will come: the iteration ends when what waits is read."""
        with self._lock:
            self._closed = True
            self._bell.ring()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Batch:
        while True:
            with self._lock:
                self._bell.heard()
                if self._waiting:
                    return Batch(self._waiting.popleft(), self._dropped)
                if self._closed:
                    raise StopAsyncIteration
            await self._bell.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.leave(self)

    @property
    def key(self) -> tuple[str, str]:
        """Device and stream."""
        return self._key


class Watch:
    """One listener to the names of devices about which anything was committed."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._bell = _Bell()
        self.closed = False

    def touch(self, device: str) -> None:
        """Something about this device is new."""
        with self._lock:
            self._names.add(device)
            self._bell.ring()

    def end(self) -> None:
        """No more will come."""
        with self._lock:
            self.closed = True
            self._bell.ring()

    async def names(self, wait_s: float) -> set[str]:
        """The devices touched since the last call: at once if there are some, else after `wait_s` at most."""
        try:
            async with asyncio.timeout(wait_s):
                await self._bell.wait()
        except TimeoutError:
            pass
        with self._lock:
            self._bell.heard()
            names, self._names = self._names, set()
        return names

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.leave(self)


class Live:
    """Where committed readings are published, and listened to.

    `publish` and `touch` may be called from any thread; everything else belongs to the event loop's thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscriptions: dict[tuple[str, str], tuple[Subscription, ...]] = {}
        self._watches: tuple[Watch, ...] = ()
        self._closed = False

    def publish(self, device: str, readings: Readings) -> None:
        """Show committed readings to those who listen. Never blocks."""
        for subscription in self._subscriptions.get((device, readings.schema.stream), ()):
            subscription.put(readings)
        self.touch(device)

    def touch(self, device: str) -> None:
        """Something else about a device was committed: a gap, its status, its presence. Never blocks."""
        for watch in self._watches:
            watch.touch(device)

    def subscribe(self, device: str, stream: str) -> Subscription:
        """Listen to a stream from now on. Leave the `with` block to sign off.

        Raises:
            TooManyListenersError: there is no room for one more.
        """
        subscription = Subscription(self, (device, stream))
        with self._lock:
            self._make_room()
            self._subscriptions[device, stream] = (*self._subscriptions.get((device, stream), ()), subscription)
        if self._closed:
            subscription.end()
        return subscription

    def watch(self) -> Watch:
        """Listen to the names of devices that changed.

        Raises:
            TooManyListenersError: there is no room for one more.
        """
        watch = Watch(self)
        with self._lock:
            self._make_room()
            self._watches = (*self._watches, watch)
        if self._closed:
            watch.end()
        return watch

    @property
    def closed(self) -> bool:
        """The service is stopping."""
        return self._closed

    def leave(self, listener: Subscription | Watch) -> None:
        """Forget a listener; one that is unknown is fine."""
        with self._lock:
            if isinstance(listener, Watch):
                self._watches = tuple(watch for watch in self._watches if watch is not listener)
                return
            rest = tuple(other for other in self._subscriptions.get(listener.key, ()) if other is not listener)
            if rest:
                self._subscriptions[listener.key] = rest
            else:
                self._subscriptions.pop(listener.key, None)

    def close(self) -> None:
        """The service stops: every listener's iteration ends, so that no open response keeps it from stopping."""
        with self._lock:
            self._closed = True
            listeners = list(self._listeners())
        for listener in listeners:
            listener.end()

    def __len__(self) -> int:
        return sum(1 for _ in self._listeners())

    def _listeners(self) -> Iterator[Subscription | Watch]:
        for subscriptions in self._subscriptions.values():
            yield from subscriptions
        yield from self._watches

    def _make_room(self) -> None:
        if len(self) >= LISTENERS_MAX:
            raise TooManyListenersError(f"{LISTENERS_MAX} listeners are served already")
