"""The fleet as events: every device with its lanes when a listener comes, then only those that changed.

Promises: however many listen, the store is asked once a round, at most once a second and never for more than a tenth
of the time; a slow listener gets the newest state of each device and no queue. Refuses to know HTTP.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trueline_cloud.api.events import BEAT_S, beat, event, opening
from trueline_cloud.live import LISTENERS_MAX, TooManyListenersError
from trueline_cloud.storage.store import DeviceInfo, LaneLedger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from trueline_cloud.api.readers import Readers
    from trueline_cloud.live import Live
    from trueline_cloud.storage.store import Reader

__all__ = ["Fleet"]

_ROUND_S: Final = 1.0
_READ_SHARE: Final = 0.1


class DeviceState(msgspec.Struct, frozen=True, kw_only=True):
    """A device and its lanes."""

    info: DeviceInfo
    lanes: list[LaneLedger]


def read_states(reader: Reader) -> dict[str, bytes]:
    """Every device's state as JSON, by its id."""
    lanes: dict[str, list[LaneLedger]] = {}
    for lane in reader.ledger():
        lanes.setdefault(lane.device, []).append(lane)
    return {
        info.device: msgspec.json.encode(DeviceState(info=info, lanes=lanes.get(info.device, [])))
        for info in reader.devices()
    }


class Listener:
    """What one listener has not been told yet: the newest state of each device, None for one that is gone."""

    def __init__(self, states: dict[str, bytes]) -> None:
        self.news: dict[str, bytes | None] = dict(states)
        self.wake = asyncio.Event()
        self.wake.set()

    def tell(self, news: dict[str, bytes | None]) -> None:
        """Add news to what waits; the newer state of a device replaces the older."""
        self.news.update(news)
        self.wake.set()

    def taken(self) -> dict[str, bytes | None]:
        """What waits, which then waits no more."""
        news, self.news = self.news, {}
        self.wake.clear()
        return news


class Fleet:
    """The fleet's state, read once for all listeners. Belongs to the event loop."""

    def __init__(self, readers: Readers, live: Live) -> None:
        self._readers = readers
        self._live = live
        self._listeners: set[Listener] = set()
        self._states: dict[str, bytes] = {}
        self._task: asyncio.Task[None] | None = None

    async def join(self) -> Listener:
        """A new listener, with everything to be told. It must leave.

        Raises:
            TooManyListenersError: there is no room for one more.
        """
        if len(self._listeners) >= LISTENERS_MAX:
            raise TooManyListenersError(f"{LISTENERS_MAX} watch the fleet already")
        if self._task is None or self._task.done():
            self._states = await self._readers.ask(read_states, ours=True)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow_while_listened())
        listener = Listener(self._states)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Tell a listener nothing more."""
        self._listeners.discard(listener)

    async def events(self, listener: Listener, *, silent_after_s: float) -> AsyncGenerator[bytes, None]:
        """Hello, all devices, then the changed ones and beats, until the service stops.

        Args:
            listener: who is told.
            silent_after_s: told to the listener: a device not heard for so long is silent.
        """
        yield opening(silent_after_s=silent_after_s)
        yield _fleet_event(listener.taken(), first=True)
        while self._task is not None and not self._live.closed:
            if self._task.done():
                self._task.result()  # a store that cannot be read ends the line with its own error
                return
            await _until(listener.wake, BEAT_S)
            news = listener.taken()
            yield _fleet_event(news, first=False) if news else beat()

    async def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _follow_while_listened(self) -> None:
        try:
            with self._live.watch() as watch:
                while self._listeners and not watch.closed:
                    took_s = await self._tell_news()
                    await asyncio.sleep(max(_ROUND_S, took_s / _READ_SHARE) - took_s)
                    # What nobody touched (a presence, a verdict that aged) is seen within a beat.
                    await watch.names(BEAT_S)
        finally:
            for listener in self._listeners:
                listener.wake.set()

    async def _tell_news(self) -> float:
        # Returns how long the store took, s.
        began = time.monotonic()
        states = await self._readers.ask(read_states, ours=True)
        took_s = time.monotonic() - began
        news: dict[str, bytes | None] = {
            device: state for device, state in states.items() if self._states.get(device) != state
        }
        news.update(dict.fromkeys(self._states.keys() - states.keys()))
        self._states = states
        if news:
            for listener in self._listeners:
                listener.tell(news)
        return took_s


async def _until(bell: asyncio.Event, wait_s: float) -> None:
    try:
        async with asyncio.timeout(wait_s):
            await bell.wait()
    except TimeoutError:
        return


def _fleet_event(news: dict[str, bytes | None], *, first: bool) -> bytes:
    states = [msgspec.Raw(state) for state in news.values() if state is not None]
    gone = [device for device, state in news.items() if state is None]
    body: dict[str, Any] = {"now_ns": time.time_ns(), "all": first, "devices": states, "gone": gone}
    return event("fleet", body)
