"""The MQTT link against brokers that are old, strict, hostile or rude."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import pytest
from edge_links import DEVICE, Told, until

from trueline_edge.publish.config import MqttLinkConfig
from trueline_edge.publish.mqtt import MqttLink
from trueline_wire.delivery import Transmit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Answer = Callable[["Connection"], Awaitable[None]]


class Connection:
    """A client's connection to a broker of our own, packet by packet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def packet(self) -> bytes:
        first = await self.reader.readexactly(1)
        size = shift = 0
        while True:
            byte = (await self.reader.readexactly(1))[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return first + await self.reader.readexactly(size)

    async def version(self) -> int:
        connect = await self.packet()
        assert connect[0] == 0x10
        return connect[7]

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def serve(self, version: int, *, properties: bytes = b"") -> list[bytes]:
        """Be a broker until the client leaves; what was published, in order of arrival."""
        published: list[bytes] = []
        body = b"\0\0" + (bytes([len(properties)]) + properties if version == 5 else b"")
        self.send(bytes([0x20, len(body)]) + body)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                packet = await self.packet()
                kind = packet[0] >> 4
                if kind == 8:
                    self.send(
                        b"\x90" + (b"\x04" if version == 5 else b"\x03") + packet[1:3] + b"\0" * (version == 5) + b"\1"
                    )
                elif kind == 3:
                    published.append(packet)
                    topic = int.from_bytes(packet[1:3])
                    self.send(b"\x40\x02" + packet[3 + topic : 5 + topic])
                elif kind == 14:
                    break
        return published


@contextlib.asynccontextmanager
async def link_to(answer: Answer) -> AsyncIterator[tuple[MqttLink, Told]]:
    """A running link to a broker that does with each connection what `answer` does."""
    connections: set[asyncio.Task[None] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await answer(Connection(reader, writer))
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = MqttLink(MqttLinkConfig(host="127.0.0.1", port=port), DEVICE, rng=random.Random(2), retry_max_s=0.02)
    told = Told()
    task = asyncio.create_task(link.run(told))
    try:
        yield link, told
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        server.close()
        for each in connections:
            if each is not None:
                each.cancel()
        await asyncio.gather(*filter(None, connections), return_exceptions=True)
        await asyncio.sleep(0)


async def test_falls_back_to_the_old_version_by_itself() -> None:
    """A broker that refuses MQTT 5, in words or by hanging up, is spoken to in 3.1.1, and messages flow."""
    versions: list[int] = []

    async def old(connection: Connection) -> None:
        versions.append(await connection.version())
        if versions[-1] == 5:
            connection.send(b"\x20\x02\x00\x01")
        else:
            await connection.serve(4)

    async def older(connection: Connection) -> None:
        versions.append(await connection.version())
        if versions[-1] != 5:
            await connection.serve(4)

    for broker in (old, older):
        versions.clear()
        async with link_to(broker) as (link, told):
            await until(lambda told=told: told.is_up, "up")  # type: ignore[misc]
            link.send(Transmit("data", b"message"))
            await until(lambda told=told: told.confirmations == 1, "confirmed")  # type: ignore[misc]
        assert versions == [5, 4]


async def test_keeps_to_what_the_broker_can_take() -> None:
    """Receive Maximum and Maximum Packet Size of CONNACK bound the window and the message; nothing larger is sent."""
    seen: list[bytes] = []

    async def strict(connection: Connection) -> None:
        await connection.version()
        seen.extend(
            await connection.serve(5, properties=b"\x21\x00\x0c\x27\x00\x00\x10\x00")
        )  # 12 messages, 4096 bytes

    async with link_to(strict) as (link, told):
        await until(lambda: told.is_up, "up")
        assert told.window_frames == 8
        assert told.message_max <= 4096 - 100
        link.send(Transmit("data", b"x" * 4096))
        await until(lambda: told.confirmations == 1, "refused")
        link.send(Transmit("data", b"y" * told.message_max))
        await until(lambda: told.confirmations == 2, "taken")
    assert max(map(len, seen)) <= 4096
    assert sum(b"yyy" in packet for packet in seen) == 1
    assert not any(b"xxx" in packet for packet in seen)


@pytest.mark.parametrize("seed", range(3))
async def test_a_hostile_broker_is_left_and_tried_again(seed: int) -> None:
    """Rubbish before and after CONNACK, giant lengths and hang-ups never end the link; a good broker then serves it."""
    rng = random.Random(seed)
    turns = 0

    async def hostile(connection: Connection) -> None:
        nonlocal turns
        turns += 1
        version = await connection.version()
        if turns > 40:
            await connection.serve(version)
            return
        if turns % 2:
            connection.send(b"\x20\x03\x00\x00\x00" if version == 5 else b"\x20\x02\x00\x00")
        if turns % 5 == 0:
            connection.send(b"\x30\xff\xff\xff\x7f" + bytes(300_000))  # a PUBLISH of 256 MiB
        else:
            kind = rng.randrange(256)
            body = rng.randbytes(rng.randrange(60))
            connection.send(bytes([kind, len(body)]) + body + rng.randbytes(20))
        with contextlib.suppress(ConnectionError):
            await connection.writer.drain()

    async with link_to(hostile) as (link, told):
        await until(lambda: turns > 40 and told.is_up, "a good broker is found", 60.0)
        link.send(Transmit("data", b"message"))
        before = told.confirmations
        await until(lambda: told.confirmations > before, "confirmed")


async def test_messages_of_other_topics_are_not_told() -> None:
    """Only what comes on the device's own topic, and in a size a message may have, is passed on."""

    async def chatty(connection: Connection) -> None:
        version = await connection.version()
        topic = b"tl/1/0/other/ack"
        body = len(topic).to_bytes(2) + topic + (b"\0" if version == 5 else b"") + b"not for us"
        connection.send(b"\x20\x03\x00\x00\x00" + bytes([0x30, len(body)]) + body)
        while True:
            packet = await connection.packet()
            if packet[0] >> 4 == 8:
                connection.send(b"\x90\x04" + packet[1:3] + b"\0\1")

    async with link_to(chatty) as (_, told):
        await until(lambda: told.is_up, "up")
        await asyncio.sleep(0.1)
        assert told.messages == []
