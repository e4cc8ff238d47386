"""What every link promises, whatever it speaks: the interface `trueline_edge.publish.link.Link`."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import pytest
from edge_links import CoapCloud, MqttCloud, Told, until

from trueline_wire.delivery import Transmit
from trueline_wire.envelope import MESSAGE_SIZE_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from trueline_edge.publish.link import Link

Cloud = MqttCloud | CoapCloud


@pytest.fixture(params=[MqttCloud, CoapCloud], ids=["mqtt", "coap"])
async def cloud(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cloud]:
    made: Cloud = request.param(tmp_path)
    await made.start()
    yield made
    await made.stop()


@contextlib.asynccontextmanager
async def running(link: Link) -> AsyncIterator[Told]:
    told = Told()
    task = asyncio.create_task(link.run(told))
    try:
        yield told
        assert not task.done(), "a link runs until it is cancelled"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def message(number: int, size: int = 5000) -> Transmit:
    return Transmit("data", number.to_bytes(4) + random.Random(number).randbytes(size))


async def test_comes_up_and_says_how_much_it_takes(cloud: Cloud) -> None:
    """A link says once that it is up, with a window and a size that are of use; cancelled, it says it is down."""
    async with running(cloud.link()) as told:
        await until(lambda: told.is_up, "up")
        assert told.ups == 1
        assert told.window_frames >= 8
        assert 0 < told.message_max <= MESSAGE_SIZE_MAX
    assert not told.is_up


async def test_carries_every_message_byte_for_byte(cloud: Cloud) -> None:
    """Messages of all sizes arrive as they were handed over, each confirmed once."""
    link = cloud.link()
    sent = [message(n, size) for n, size in enumerate([0, 1, 1000, 1024, 1025, 5000, 60_000])]
    async with running(link) as told:
        await until(lambda: told.is_up, "up")
        for one in sent:
            link.send(one)
        await until(lambda: told.confirmations == len(sent), "all confirmed")
        await until(lambda: len(cloud.received) == len(sent), "all arrived")
    assert sorted(cloud.received) == sorted(one.message for one in sent)


async def test_keeps_the_order_of_messages_sent_one_after_the_other(cloud: Cloud) -> None:
    """A message handed over after the one before was confirmed arrives after it."""
    link = cloud.link()
    sent = [message(n, 300) for n in range(12)]
    async with running(link) as told:
        await until(lambda: told.is_up, "up")
        for n, one in enumerate(sent, 1):
            link.send(one)
            await until(lambda n=n: told.confirmations == n, "confirmed")  # type: ignore[misc]
        await until(lambda: len(cloud.received) == len(sent), "all arrived")
    assert cloud.received == [one.message for one in sent]


async def test_brings_answers_down(cloud: Cloud) -> None:
    """What the cloud answers is told, byte for byte."""
    cloud.answer = bytes(range(200))
    link = cloud.link()
    async with running(link) as told:
        await until(lambda: told.is_up, "up")
        link.send(message(1))
        await until(lambda: told.messages == [cloud.answer], "answered")


async def test_comes_back_by_itself_and_keeps_nothing_meanwhile(cloud: Cloud) -> None:
    """A dead cloud is noticed; what is handed over while down is gone, however much; a new cloud is found again."""
    link = cloud.link()
    async with running(link) as told:
        await until(lambda: told.is_up, "up")
        await cloud.stop()
        for number in range(200):
            link.send(message(number))
            await asyncio.sleep(0.01)
            if not told.is_up:
                break
        await until(lambda: not told.is_up, "down")
        arrived = len(cloud.received)
        for number in range(10_000):
            link.send(message(number, 100))
        await cloud.start()
        await until(lambda: told.is_up, "up again")
        link.send(message(77_777))
        await until(lambda: message(77_777).message in cloud.received, "the new message arrived")
    assert len(cloud.received) == arrived + 1
    assert told.ups == told.downs == 2


async def test_refuses_what_is_too_large(cloud: Cloud) -> None:
    """A message beyond the wire's limit is dropped and confirmed, and the link goes on."""
    link = cloud.link()
    async with running(link) as told:
        await until(lambda: told.is_up, "up")
        link.send(message(1, MESSAGE_SIZE_MAX))
        await until(lambda: told.confirmations == 1, "dropped")
        link.send(message(2))
        await until(lambda: cloud.received == [message(2).message], "the next one arrived")
        assert told.is_up


async def test_waits_for_a_cloud_that_is_not_there_yet(cloud: Cloud) -> None:
    """Started before the cloud, a link comes up once the cloud does."""
    await cloud.stop()
    async with running(cloud.link()) as told:
        await asyncio.sleep(0.3)
        assert told.ups == 0
        await cloud.start()
        await until(lambda: told.is_up, "up")
