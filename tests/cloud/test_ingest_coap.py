"""The cloud's CoAP link against a real client, and against bare datagrams."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiocoap
import pytest
from aiocoap.numbers import codes

from trueline_cloud.ingest import coap
from trueline_cloud.ingest.coap import CoapLink, CoapSettings
from trueline_cloud.ingest.intake import Intake
from trueline_wire.envelope import MESSAGE_SIZE_MAX
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Server:
    """A link, and an ingest that echoes: the acknowledgements of a message are its halves."""

    def __init__(self, intake: Intake | None = None) -> None:
        self.intake = Intake() if intake is None else intake
        self.link = CoapLink(CoapSettings(port=0), self.intake)
        self.taken: list[tuple[str, bytes]] = []
        self.silent = False
        self._client: aiocoap.Context | None = None

    async def echo_forever(self) -> None:
        while True:
            for link, device, message, token in self.intake.take(0.0):
                self.taken.append((device, message))
                if not self.silent:
                    half = len(message) // 2
                    link.answer(device, token, [message[:half], message[half:]] if len(message) < 100 else [])
            await asyncio.sleep(0.005)

    async def post(self, payload: bytes, *path: str, code: codes.Code = codes.POST) -> aiocoap.Message:
        self._client = self._client or await aiocoap.Context.create_client_context(transports=["udp6"])
        place = "/".join(path or ("tl", "1", "pump-7"))
        request = aiocoap.Message(code=code, uri=f"coap://127.0.0.1:{self.link.port}/{place}", payload=payload)
        return await asyncio.wait_for(self._client.request(request).response, 20)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.shutdown()
        await self.link.stop()


@asynccontextmanager
async def serving(intake: Intake | None = None) -> AsyncIterator[Server]:
    server = Server(intake)
    await server.link.start()
    echo = asyncio.create_task(server.echo_forever())
    yield server
    echo.cancel()
    await server.close()


async def test_answer_carries_acknowledgements() -> None:
    """A message is answered with 2.04 and its acknowledgements, each behind its length."""
    async with serving() as server:
        answer = await server.post(b"onetwo")
        assert (answer.code, answer.payload) == (codes.CHANGED, b"\0\3one\0\3two")
        assert server.taken == [("pump-7", b"onetwo")]


async def test_block_wise() -> None:
    """A message of the largest size comes in blocks, and comes whole; one byte more is refused, as is nothing kept."""
    async with serving() as server:
        message = bytes(range(256)) * (MESSAGE_SIZE_MAX // 256)
        answer = await server.post(message)
        assert (answer.code, answer.payload) == (codes.CHANGED, b"")
        assert server.taken == [("pump-7", message)]
        assert (await server.post(message + b"x")).code == codes.REQUEST_ENTITY_TOO_LARGE
        assert len(server.taken) == 1
        assert server.link._transfers == {}


async def test_other_requests() -> None:
    """What is not a POST to a device's path is told so."""
    async with serving() as server:
        assert (await server.post(b"", code=codes.GET)).code == codes.METHOD_NOT_ALLOWED
        for path in (("tl", "1"), ("tl", "1", "a", "b"), ("tl", "1", "no%20device"), ("elsewhere",)):
            assert (await server.post(b"x", *path)).code == codes.NOT_FOUND
        assert server.taken == []


async def test_no_commit_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose message is not committed in time is answered with 5.03, and so is one too many."""
    monkeypatch.setattr(coap, "_ANSWER_S", 0.2)
    async with serving() as server:
        server.silent = True
        assert (await server.post(b"message")).code == codes.SERVICE_UNAVAILABLE
        monkeypatch.setattr(coap, "_REQUESTS_MAX", 0)
        assert (await server.post(b"message")).code == codes.SERVICE_UNAVAILABLE
        assert server.link.refused == 2
    monkeypatch.undo()
    async with serving(Intake(messages_max=0)) as server:
        assert (await server.post(b"message")).code == codes.SERVICE_UNAVAILABLE


async def test_transfers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unfinished transfers are bounded in number; a block that fits nothing is told to start again."""
    monkeypatch.setattr(coap, "_TRANSFERS_MAX", 8)
    async with serving() as server:
        for number in range(30):
            request = aiocoap.Message(code=codes.POST, payload=bytes(64), uri_path=(f"pump-{number}",))
            request.opt.block1 = (0, True, 2)
            request.remote = "somebody"
            assert (await server.link.render(request)).code == codes.CONTINUE
        assert len(server.link._transfers) == 8
        request.opt.block1 = (7, True, 2)
        assert (await server.link.render(request)).code == codes.REQUEST_ENTITY_INCOMPLETE


async def test_noise() -> None:
    """After datagrams that are not CoAP, and CoAP that makes no sense, the next request is served."""
    async with serving() as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
            for noise in (b"", b"\xff" * 4, b"\x40", b"\x4f\x02\x00\x01", b"\x40\x02\x00\x01\xff", bytes(1400)):
                raw.sendto(noise, ("127.0.0.1", server.link.port))
        assert (await server.post(b"ok")).code == codes.CHANGED


async def test_port_in_use() -> None:
    """A port somebody else listens on is a mistake in the configuration, not shared without a word."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        with pytest.raises(ConfigError, match="cannot be listened on"):
            await CoapLink(CoapSettings(port=other.getsockname()[1]), Intake()).start()
