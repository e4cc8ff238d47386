"""One MQTT connection that many virtual devices share: the few packets of MQTT 3.1.1 they need, on asyncio.

Written out here because a fleet has no time for a client that does everything, and because a simulator shares no code
with the agent's link. Publishes with QoS 1, subscribes with QoS 0 (a lost acknowledgement is followed by another).

Promises: comes back by itself, with jitter, after the broker was away. Promises nothing about what was published: that
is what acknowledgements are for. Refuses to know what it carries. (MQTT Version 3.1.1, OASIS Standard, 2014.)
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["LineUser", "MqttLine", "cut_packets", "packet", "text"]

_KEEPALIVE_S: Final = 60
_RECONNECT_S: Final = (0.5, 2.0)
_SUBSCRIBE_AT_ONCE: Final = 100
_MID_MAX: Final = 0xFFFF
_LENGTH_BYTES_MAX: Final = 4

# Packet types, with the flags they must carry.
_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _SUBSCRIBE, _SUBACK = 0x10, 0x20, 0x30, 0x40, 0x82, 0x90
_PINGREQ, _DISCONNECT = 0xC0, 0xE0
_QOS_1, _RETAIN, _CLEAN_SESSION, _LEVEL_3_1_1 = 0x02, 0x01, 0x02, 4


def packet(first: int, body: bytes) -> bytes:
    """A packet: its first byte, the length in groups of seven bits, its body (section 2.2)."""
    left, length = len(body), bytearray()
    while True:
        left, digit = left >> 7, left & 0x7F
        length.append(digit | (0x80 if left else 0))
        if not left:
            return bytes([first]) + length + body


def text(value: str) -> bytes:
    """A string with its length before it (section 1.5.3)."""
    encoded = value.encode()
    return struct.pack(">H", len(encoded)) + encoded


def cut_packets(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """The whole packets at the front of a buffer, which are taken out of it: first byte and body.

    Raises:
        ConnectionError: a length that cannot be.
    """
    start, end = 0, len(buffer)
    try:
        while end - start > 1:
            length = shift = 0
            at = start + 1
            while True:
                if at >= end:
                    return
                digit = buffer[at]
                length |= (digit & 0x7F) << shift
                at, shift = at + 1, shift + 7
                if not digit & 0x80:
                    break
                if at > start + _LENGTH_BYTES_MAX:
                    raise ConnectionError("the broker sent a length of more than four bytes")
            if end < at + length:
                return
            first, body, start = buffer[start], bytes(buffer[at : at + length]), at + length
            yield first, body
    finally:
        del buffer[:start]  # once for all of them: what lies behind is moved each time


class LineUser(Protocol):
    """Who is behind a line. Called in the loop's thread."""

    def line_up(self, line: MqttLine) -> None:
        """Connected and subscribed."""

    def line_down(self, line: MqttLine) -> None:
        """The connection is gone."""

    def line_message(self, topic: str, payload: bytes) -> None:
        """A message came."""

    def line_confirmed(self, mid: int, line: MqttLine) -> None:
        """The broker has taken what `publish` gave this number."""


class MqttLine(asyncio.Protocol):
    """See the module.

    Args:
        name: client id.
        host: of the broker.
        port: of the broker.
        topics: to subscribe to.
        user: who is told.
    """

    def __init__(self, name: str, host: str, port: int, *, topics: Sequence[str], user: LineUser) -> None:
        self._name: Final = name
        self._address: Final = (host, port)
        self._topics: Final = topics
        self._user: Final = user
        self._rng: Final = random.Random(name)
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._gone: Final = asyncio.Event()
        self._buffer: Final = bytearray()
        self._out: Final[list[bytes]] = []
        self._mid = 0
        self._subscriptions_open = 0
        self.up = False
        """Whether it can carry messages now."""

    def open(self) -> None:
        """Connect, and stay connected, until `close`."""
        self._task = asyncio.get_running_loop().create_task(self._stay_connected_forever())

    async def close(self) -> None:
        """Say goodbye."""
        self._write(packet(_DISCONNECT, b""))
        self._flush()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._transport is not None:
            self._transport.close()
            await self._gone.wait()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Hand a message over, QoS 1. Returns the number `line_confirmed` will name; lost where the line is down."""
        self._mid = self._mid % _MID_MAX + 1
        body = text(topic) + struct.pack(">H", self._mid) + payload
        self._write(packet(_PUBLISH | _QOS_1 | (_RETAIN if retain else 0), body))
        return self._mid

    # ------------------------------------------------------------ the connection

    async def _stay_connected_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._gone.clear()
            with contextlib.suppress(OSError):
                await loop.create_connection(lambda: self, *self._address)
                while not self._gone.is_set():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._gone.wait(), _KEEPALIVE_S / 2)
                    self._write(packet(_PINGREQ, b""))
            await asyncio.sleep(self._rng.uniform(*_RECONNECT_S))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who we are."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_connection gives
        self._transport = transport
        self._buffer.clear()
        self._out.clear()
        self._subscriptions_open = 0
        flags = struct.pack(">BBH", _LEVEL_3_1_1, _CLEAN_SESSION, _KEEPALIVE_S)
        self._write(packet(_CONNECT, text("MQTT") + flags + text(self._name)))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the base class's word
        """The user is told; the task connects again."""
        self._transport = None
        self._gone.set()
        if self.up:
            self.up = False
            self._user.line_down(self)

    def data_received(self, data: bytes) -> None:
        """Whole packets are acted upon; the rest waits for more."""
        self._buffer.extend(data)
        try:
            for first, body in cut_packets(self._buffer):
                self._take(first, body)
        except ConnectionError:
            if self._transport is not None:
                self._transport.abort()

    def _take(self, first: int, body: bytes) -> None:
        kind = first & 0xF0
        if kind == _PUBLISH:
            size = int.from_bytes(body[:2], "big")
            self._user.line_message(body[2 : 2 + size].decode(), body[2 + size :])
        elif kind == _PUBACK:
            self._user.line_confirmed(int.from_bytes(body[:2], "big"), self)
        elif kind == _CONNACK:
            if body[1] != 0:
                raise ConnectionError(f"the broker refused, code {body[1]}")
            self._subscribe()
        elif kind == _SUBACK:
            self._subscriptions_open -= 1
            if not self._subscriptions_open:
                self.up = True
                self._user.line_up(self)

    def _subscribe(self) -> None:
        for start in range(0, len(self._topics), _SUBSCRIBE_AT_ONCE):
            self._mid = self._mid % _MID_MAX + 1
            wanted = b"".join(text(topic) + b"\0" for topic in self._topics[start : start + _SUBSCRIBE_AT_ONCE])
            self._write(packet(_SUBSCRIBE, struct.pack(">H", self._mid) + wanted))
            self._subscriptions_open += 1

    # ------------------------------------------------------------ writing

    def _write(self, data: bytes) -> None:
        """Whatever is written in one turn of the loop leaves in one system call."""
        if self._transport is None:
            return
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        if self._transport is not None and self._out:
            self._transport.write(b"".join(self._out))
        self._out.clear()
