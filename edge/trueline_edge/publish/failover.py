"""Several links as one: the first that works, in order of preference, and back to the preferred one later.

Promises: only one link runs at a time, so the window and the order are those of one link.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trueline_edge.publish.link import Events, Link
    from trueline_wire.delivery import Transmit

__all__ = ["Failover"]

_LOG: Final = logging.getLogger(__name__)


class Failover:
    """An ordered list of links behind the interface of one.

    Args:
        links: in order of preference, at least one.
        patience_s: how long a link may be down before the next is tried.
        prefer_again_s: how long a less preferred link is used before the first is tried again.
        monotonic_s: the clock.
    """

    def __init__(
        self,
        links: Sequence[Link],
        *,
        patience_s: float = 15.0,
        prefer_again_s: float = 300.0,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._links = list(links)
        self._patience_s = patience_s
        self._prefer_again_s = prefer_again_s
        self._monotonic_s = monotonic_s
        self._active = self._links[0]

    @property
    def name(self) -> str:
        """Of the link in use."""
        return self._active.name

    def send(self, transmit: Transmit) -> None:
        """See `Link.send`."""
        self._active.send(transmit)

    async def run(self, events: Events) -> None:
        """See `Link.run`."""
        position = 0
        while True:
            self._active = self._links[position]
            watch = _Watch(events, self._monotonic_s)
            task = asyncio.create_task(self._active.run(watch))
            try:
                await self._watch(task, watch, position)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                watch.retire()
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
            position = 0 if position and watch.is_up else (position + 1) % len(self._links)
            _LOG.warning("changing the link", extra={"to": self._links[position].name})

    async def _watch(self, task: asyncio.Task[None], watch: _Watch, position: int) -> None:
        """Return when another link is to be tried."""
        began = self._monotonic_s()
        while not task.done():
            await asyncio.wait([task], timeout=min(self._patience_s / 10, 1.0))
            now = self._monotonic_s()
            if len(self._links) == 1:
                continue
            if watch.down_since_s is not None and now - watch.down_since_s >= self._patience_s:
                return
            if position > 0 and watch.is_up and now - began >= self._prefer_again_s:
                return


class _Watch:
    """Passes on what one link tells while it is the active one, and remembers since when it is down."""

    def __init__(self, events: Events, monotonic_s: Callable[[], float]) -> None:
        self.down_since_s: float | None = monotonic_s()
        self._events = events
        self._monotonic_s = monotonic_s
        self._retired = False

    @property
    def is_up(self) -> bool:
        """The link is up."""
        return self.down_since_s is None

    def retire(self) -> None:
        """Another link is to be active: whatever this one still says is not passed on."""
        if not self._retired and self.is_up:
            self._events.disconnected()
        self._retired = True

    def connected(self, *, window_frames: int, message_max: int) -> None:
        """See `Events`."""
        if not self._retired:
            self.down_since_s = None
            self._events.connected(window_frames=window_frames, message_max=message_max)

    def disconnected(self) -> None:
        """See `Events`."""
        if not self._retired:
            self.down_since_s = self._monotonic_s()
            self._events.disconnected()

    def confirmed(self) -> None:
        """See `Events`."""
        if not self._retired:
            self._events.confirmed()

    def received(self, message: bytes) -> None:
        """See `Events`."""
        if not self._retired:
            self._events.received(message)
