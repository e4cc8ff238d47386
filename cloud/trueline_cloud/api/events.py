"""Server-sent events: how they are written, and one stream's readings as events.

Promises: a beat at least every `BEAT_S` seconds, so that a listener can tell silence from a broken line; a slow
listener is told how many rows it did not get, and never makes anyone wait. (WHATWG HTML, section 9.2.)
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import StreamingResponse

from trueline_cloud.api.answers import condense, series_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from starlette.types import Receive, Scope, Send

    from trueline_cloud.live import Batch, Subscription

__all__ = ["BEAT_S", "EventStream", "event", "reading_events"]

BEAT_S: Final = 5.0
"""Longest silence on a working line, s."""

ROWS_MAX: Final = 200
"""Steps in one event: a longer batch is condensed."""

_RETRY_MS: Final = 2000


def event(name: str, data: Any) -> bytes:
    """One event, its data as JSON on one line."""
    body = data if isinstance(data, bytes) else msgspec.json.encode(data)
    return b"event: " + name.encode() + b"\ndata: " + body + b"\n\n"


def opening(**facts: Any) -> bytes:
    """The first event of every stream: the server's clock, and how long a working line may be silent."""
    hello = {"now_ns": time.time_ns(), "beat_s": BEAT_S, **facts}
    return f"retry: {_RETRY_MS}\n".encode() + event("hello", hello)


def beat() -> bytes:
    """Nothing is new, and the line works."""
    return event("beat", {"now_ns": time.time_ns()})


class EventStream(StreamingResponse):
    """A response of events that nothing on the way may keep, cache or buffer.

    Args:
        events: what is sent.
        leave: signs the listener off.
    """

    def __init__(self, events: AsyncGenerator[bytes, None], leave: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._events = events
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until either side goes; then the listener is signed off, whichever way it ended."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()
            await self._events.aclose()


async def reading_events(
    subscription: Subscription, channels: list[str], *, stale_after_s: float
) -> AsyncGenerator[bytes, None]:
    """The events of one stream: hello, then readings and beats until the service stops.

    Args:
        subscription: where the readings come from.
        channels: names of the channels wanted; all where empty.
        stale_after_s: told to the listener: a stream this long without a reading is stale.
    """
    yield opening(stale_after_s=stale_after_s)
    async with aclosing(_with_beats(subscription)) as batches:
        async for batch in batches:
            yield beat() if batch is None else event("readings", _shown(batch, channels))


def _shown(batch: Batch, channels: list[str]) -> dict[str, Any]:
    steps = condense(batch.readings, ROWS_MAX)
    names = [channel.name for channel in steps.schema.channels]
    chosen = [names.index(name) for name in channels if name in names] if channels else list(range(len(names)))
    return {
        "now_ns": time.time_ns(),
        "dropped": batch.dropped,
        "time_ns": steps.time_ns.tolist(),
        "series": series_of(steps, chosen),
    }


async def _with_beats(subscription: Subscription) -> AsyncGenerator[Batch | None, None]:
    # None whenever nothing came for a while. The pending read is kept over the beat: cancelling it could lose a batch.
    pending: asyncio.Task[Batch] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(subscription))
            done, _ = await asyncio.wait([pending], timeout=BEAT_S)
            if not done:
                yield None
                continue
            try:
                batch = pending.result()
            except StopAsyncIteration:
                return
            pending = None
            if len(batch.readings):
                yield batch
    finally:
        if pending is not None:
            pending.cancel()
