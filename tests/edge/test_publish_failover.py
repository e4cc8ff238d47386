"""Fail-over between links: which one is active, and what is told of the others."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from edge_links import Told, until

from trueline_edge.publish.coap import split_answer
from trueline_edge.publish.failover import Failover
from trueline_edge.publish.link import Backoff
from trueline_wire.delivery import Transmit

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

    from trueline_edge.publish.link import Events


class FakeLink:
    """A link that is up when told."""

    def __init__(self, name: str, *, works: bool) -> None:
        self.name = name
        self.works = works
        self.runs = 0
        self.active = False
        self.events: Events | None = None
        self.sent: list[bytes] = []

    async def run(self, events: Events) -> None:
        self.runs += 1
        self.active, self.events = True, events
        was_up = False
        try:
            while True:
                if self.works and not was_up:
                    events.connected(window_frames=8, message_max=1000)
                elif was_up and not self.works:
                    events.disconnected()
                was_up = self.works
                await asyncio.sleep(0.005)
        finally:
            self.active = False

    def send(self, transmit: Transmit) -> None:
        self.sent.append(transmit.message)


@contextlib.asynccontextmanager
async def running(*links: FakeLink) -> AsyncIterator[tuple[Failover, Told]]:
    told = Told()
    failover = Failover(links, patience_s=0.1, prefer_again_s=0.3)
    task = asyncio.create_task(failover.run(told))
    try:
        yield failover, told
        assert sum(link.active for link in links) <= 1
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert not any(link.active for link in links)


async def test_the_preferred_link_is_used_while_it_works() -> None:
    """With the first link up, no other is ever started."""
    first, second = FakeLink("first", works=True), FakeLink("second", works=True)
    async with running(first, second) as (failover, told):
        await until(lambda: told.is_up, "up")
        await asyncio.sleep(0.5)
        failover.send(Transmit("data", b"x"))
    assert first.sent == [b"x"]
    assert (first.runs, second.runs) == (1, 0)


async def test_the_next_link_is_tried_and_the_first_again_later() -> None:
    """A first link that stays down gives way to the second; after a while the first is tried again, and kept."""
    first, second = FakeLink("first", works=False), FakeLink("second", works=True)
    async with running(first, second) as (failover, told):
        await until(lambda: second.active and told.is_up, "the second is up")
        assert failover.name == "second"
        first.works = True
        await until(lambda: first.active and told.is_up, "the first is up again")
        await asyncio.sleep(0.5)
        assert first.active
    assert told.ups == 2


async def test_a_link_that_has_been_left_is_not_heard_any_more() -> None:
    """What a link says after another took its place is not passed on."""
    first, second = FakeLink("first", works=False), FakeLink("second", works=True)
    async with running(first, second) as (_, told):
        await until(lambda: second.active and told.is_up, "the second is up")
        assert first.events is not None
        first.events.received(b"late")
        first.events.connected(window_frames=1, message_max=1)
        first.events.confirmed()
        assert told.messages == []
        assert (told.ups, told.window_frames, told.confirmations) == (1, 8, 0)


def test_waits_grow_with_full_jitter_and_start_anew() -> None:
    """The bound of the wait doubles from 1 s to its maximum, the wait is drawn below it, success starts anew."""

    class Bounds:
        def __init__(self) -> None:
            self.seen: list[tuple[float, float]] = []

        def uniform(self, low: float, high: float) -> float:
            self.seen.append((low, high))
            return high

    bounds = Bounds()
    rng: random.Random = bounds  # type: ignore[assignment]
    backoff = Backoff(rng)
    assert [backoff.next_s() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    backoff.reset()
    assert backoff.next_s() == 1
    assert all(low == 0 for low, _ in bounds.seen)


def test_answers_are_split_and_rubbish_ends_them() -> None:
    """An answer is messages behind their lengths; a length beyond the end, or half of one, ends it."""
    good = b"\0\3one\0\0\0\3two"
    assert list(split_answer(good)) == [b"one", b"", b"two"]
    assert list(split_answer(b"")) == []
    assert list(split_answer(good + b"\xff\xffshort")) == [b"one", b"", b"two"]
    assert list(split_answer(good + b"\0")) == [b"one", b"", b"two"]
