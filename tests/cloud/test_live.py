from __future__ import annotations

import asyncio
import threading

import pytest
from page_kit import PUMP, sampled

from trueline_cloud.live import BATCHES_MAX, LISTENERS_MAX, Live, TooManyListenersError


async def test_what_another_thread_publishes_is_seen_in_order() -> None:
    """A listener gets every batch of its stream, in the order of the commits, from whatever thread they come."""
    live = Live()
    batches = [sampled(PUMP, start_ns, 3) for start_ns in range(20)]
    with live.subscribe("pump-7", "valve") as listener:
        thread = threading.Thread(target=lambda: [live.publish("pump-7", batch) for batch in batches])
        thread.start()
        seen = [await anext(listener) for _ in batches]
        thread.join()
    assert [batch.readings for batch in seen] == batches
    assert {batch.dropped for batch in seen} == {0}


async def test_other_streams_are_not_seen() -> None:
    """A listener gets nothing of another stream or another device."""
    live = Live()
    with live.subscribe("pump-8", "valve") as other_device, live.subscribe("pump-7", "door") as other_stream:
        live.publish("pump-7", sampled(PUMP, 0, 1))
        live.close()
        assert [batch async for batch in other_device] == []
        assert [batch async for batch in other_stream] == []


async def test_a_slow_listener_loses_the_oldest_and_knows_how_many() -> None:
    """A listener that does not read holds a bounded number of batches, and is told how many rows it lost."""
    live = Live()
    with live.subscribe("pump-7", "valve") as listener:
        for start_ns in range(BATCHES_MAX + 5):
            live.publish("pump-7", sampled(PUMP, start_ns, 3))
        first = await anext(listener)
    assert first.dropped == 5 * 3
    assert first.readings.time_ns[0] == 5


async def test_a_quick_listener_loses_nothing() -> None:
    """Negative control of the slow one: read in time, as many batches cost nothing."""
    live = Live()
    with live.subscribe("pump-7", "valve") as listener:
        for start_ns in range(BATCHES_MAX + 5):
            live.publish("pump-7", sampled(PUMP, start_ns, 3))
            assert (await anext(listener)).dropped == 0


async def test_a_listener_that_leaves_is_forgotten() -> None:
    """Nothing is kept for a listener that has left."""
    live = Live()
    with live.subscribe("pump-7", "valve"), live.watch():
        assert len(live) == 2
    assert len(live) == 0
    live.publish("pump-7", sampled(PUMP, 0, 1))


async def test_listeners_are_bounded() -> None:
    """There is a limit to listeners; one beyond it is refused, and served again when another has left."""
    live = Live()
    listeners = [live.subscribe("pump-7", "valve") for _ in range(LISTENERS_MAX)]
    with pytest.raises(TooManyListenersError):
        live.watch()
    live.leave(listeners[0])
    live.watch()


async def test_a_watch_names_each_touched_device_once() -> None:
    """A watch gathers the names of devices until it is asked, and waits no longer than it was told."""
    live = Live()
    with live.watch() as watch:
        for device in ("a", "b", "a"):
            live.touch(device)
        assert await watch.names(60) == {"a", "b"}
        assert await watch.names(0.001) == set()


async def test_stopping_ends_every_listener() -> None:
    """When the service stops, those who wait are let go, and those who come after it too."""
    live = Live()
    listener, watch = live.subscribe("pump-7", "valve"), live.watch()
    waiting = asyncio.gather(anext(listener, None), watch.names(60))
    await asyncio.sleep(0)
    live.close()
    assert await waiting == [None, set()]
    assert watch.closed
    assert [batch async for batch in live.subscribe("pump-7", "valve")] == []


def test_publishing_after_the_loop_has_ended_is_harmless() -> None:
    """The ingest thread may go on for a moment after the pages have ended."""
    live = Live()

    async def come_and_be_cut_off() -> None:
        live.subscribe("pump-7", "valve")

    asyncio.run(come_and_be_cut_off())
    live.publish("pump-7", sampled(PUMP, 0, 1))
