"""Between the loop, the spool and the link: one thread owns the sender, so that no sync ever blocks the loop.

Promises: every call of the sender and the spool happens in that thread, one after the other; what links tell from any
thread is kept in bounded room until the next turn (acknowledgements are cumulative: the newest are enough).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from trueline_wire.envelope import MESSAGE_SIZE_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from trueline_edge.publish.link import Link
    from trueline_edge.spool.sqlite import SqliteSpool
    from trueline_wire.delivery import Sender, Transmit

__all__ = ["Courier", "Inbox"]

_T = TypeVar("_T")
_RECEIVED_MAX: Final = 256


class News(NamedTuple):
    """What a link has told since it was last asked."""

    went_down: bool
    window_frames: int | None
    """The link came up, with this window."""
    confirmed: bool
    received: list[bytes]


class Inbox:
    """What links tell, kept until it is taken. Safe to call from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.message_max = MESSAGE_SIZE_MAX
        """Bytes the link in use takes in a message, at most."""
        self.is_up = False
        self._loop = loop
        self._lock = threading.Lock()
        self._news = asyncio.Event()
        self._waking = False
        self._went_down = False
        self._window_frames: int | None = None
        self._confirmed = False
        self._received: deque[bytes] = deque(maxlen=_RECEIVED_MAX)

    def connected(self, *, window_frames: int, message_max: int) -> None:
        """See `Events`."""
        with self._lock:
            self._window_frames, self.message_max, self.is_up = window_frames, message_max, True
        self.wake()

    def disconnected(self) -> None:
        """See `Events`."""
        with self._lock:
            self._went_down, self._window_frames, self._confirmed, self.is_up = True, None, False, False
        self.wake()

    def confirmed(self) -> None:
        """See `Events`."""
        with self._lock:
            self._confirmed = True
        self.wake()

    def received(self, message: bytes) -> None:
        """See `Events`."""
        with self._lock:
            self._received.append(message)
        self.wake()

    def wake(self) -> None:
        """Make `wait` return."""
        with self._lock:
            if self._waking:
                return
            self._waking = True
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)

    def take(self) -> News:
        """Everything since the last time."""
        with self._lock:
            news = News(self._went_down, self._window_frames, self._confirmed, list(self._received))
            self._went_down, self._window_frames, self._confirmed, self._waking = False, None, False, False
            self._received.clear()
        self._news.clear()
        return news

    async def wait(self, until_s: float | None) -> None:
        """Return when there is news, or at a time (monotonic seconds)."""
        # Not wait_for: in Python 3.11 it can swallow a cancellation.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if until_s is None else max(until_s - time.monotonic(), 0.0)):
                await self._news.wait()


class Courier:
    """Owns the thread in which sender and spool live.

    Args:
        sender: see `trueline_wire.delivery.Sender`.
        spool: the sender's.

    Attributes:
        last_ack_s: when an acknowledgement last moved anything (monotonic seconds).
        drained: see `Sender.drained`, as of the last turn.
        rows_acknowledged: see `SqliteSpool.rows_released`, as of the last turn.
        spool_bytes: see `SqliteSpool.used_bytes`, as of the last turn.
    """

    def __init__(self, sender: Sender, spool: SqliteSpool) -> None:
        self.sender: Final = sender
        self.spool: Final = spool
        self.last_ack_s: float | None = None
        self.drained = sender.drained
        self.rows_acknowledged = 0
        self.spool_bytes = spool.used_bytes
        self._window_max: Final = sender.limits.window_frames
        self._thread = ThreadPoolExecutor(1, "trueline-spool")

    async def do(self, work: Callable[[], _T]) -> _T:
        """Run something in the thread that owns the sender, and wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def deliver_forever(self, inbox: Inbox, link: Link) -> None:
        """Bring the link's news to the sender, and the sender's messages to the link."""
        while True:
            news = inbox.take()
            out, wake_at_s = await self.do(lambda news=news: self._turn(news))  # type: ignore[misc]
            for transmit in out:
                link.send(transmit)
            await inbox.wait(wake_at_s)

    def _turn(self, news: News) -> tuple[list[Transmit], float | None]:
        sender, now_s = self.sender, time.monotonic()
        if news.went_down:
            sender.disconnected()
        if news.window_frames is not None:
            window = min(self._window_max, news.window_frames)
            sender.limits = dataclasses.replace(sender.limits, window_frames=window)
            sender.connected(now_s)
        if news.confirmed:
            sender.confirmed(now_s)
        acknowledged = sender.counts.frames_acknowledged
        for message in news.received:
            sender.received(message, now_s)
        if sender.counts.frames_acknowledged > acknowledged:
            self.last_ack_s = now_s
        if sender.journal is not None and sender.journal != self.spool.journal:
            self.spool.journal = sender.journal
        out = sender.poll(now_s)
        self.drained = sender.drained
        self.rows_acknowledged = self.spool.rows_released
        self.spool_bytes = self.spool.used_bytes
        return out, sender.wake_at()

    def close(self) -> None:
        """End the thread, after what it is doing."""
        self._thread.shutdown(wait=True)
