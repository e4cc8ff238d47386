"""The packets of MQTT 5 and 3.1.1 that a consumer needs, as bytes. No sockets, no clocks.

Written out here because this is where every message of every device passes: a client that can do everything spent more
time on a small packet than verifying its signature takes. What is not needed (QoS 2, topic aliases, wills, sessions
that outlive a connection) is not here, and a broker that sends it is broken.

Promises: whatever a broker sends, memory is bounded, and what cannot be read is `BrokenBroker`. A packet larger than
`PACKET_MAX` is cut off there, which leaves it larger than any message may be. Refuses to know what messages say.
(MQTT Version 5.0 and 3.1.1, OASIS Standards, 2019 and 2014.)
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "CONNACK",
    "DISCONNECT",
    "PACKET_MAX",
    "PINGREQ",
    "PINGRESP",
    "PUBLISH",
    "SUBACK",
    "BrokenBroker",
    "Cutter",
    "Welcome",
    "connect",
    "pubacks",
    "publish",
    "read_connack",
    "read_publish",
    "read_suback",
    "subscribe",
]

PACKET_MAX: Final = 256 * 1024

# The upper four bits of a packet's first byte.
CONNACK, PUBLISH, SUBACK, PINGRESP = 0x20, 0x30, 0x90, 0xD0
_CONNECT, _PUBACK, _SUBSCRIBE = 0x10, 0x40, 0x82
PINGREQ: Final = b"\xc0\x00"
DISCONNECT: Final = b"\xe0\x00"

_RETAIN, _QOS, _QOS_1, _QOS_2 = 0x01, 0x06, 0x02, 0x04
_CLEAN, _PASSWORD, _USERNAME = 0x02, 0x40, 0x80
_FAILURE: Final = 0x80
_LENGTH_SIZE_MAX: Final = 4

_SERVER_KEEP_ALIVE, _RECEIVE_MAXIMUM, _MAXIMUM_PACKET_SIZE = 0x13, 0x21, 0x27
_FIXED: Final = {0x11: 4, 0x13: 2, 0x21: 2, 0x22: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1}
"""Properties of a CONNACK of a fixed size (5.0, section 2.2.2.2), and how long they are, bytes."""
_TEXTS: Final = {0x12: 1, 0x15: 1, 0x16: 1, 0x1A: 1, 0x1C: 1, 0x1F: 1, 0x26: 2}
"""Those that are strings, and how many."""


class BrokenBroker(Exception):  # noqa: N818 - says what is the case
    """It sent what no broker sends, or what was not asked for."""


class Welcome(NamedTuple):
    """A CONNACK: 0, or why not, and how often the broker wants to hear of us, s; None: as we offered."""

    refusal: int
    keepalive_s: int | None


class Published(NamedTuple):
    """A PUBLISH: topic as bytes, the number to confirm (0: none), and whether it was retained before we came."""

    topic: bytes
    payload: bytes
    number: int
    retained: bool


# ---------------------------------------------------------------- writing


def _length(length: int) -> bytes:
    """In groups of seven bits (section 1.5.5)."""
    out = bytearray()
    while length > 0x7F:  # noqa: PLR2004 - seven bits
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    return bytes(out)


def _text(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


def connect(
    name: str, *, five: bool, keepalive_s: int, in_flight: int, size_max: int, username: str, password: str | None
) -> bytes:
    """CONNECT with a clean session. With MQTT 5: so many messages in flight, and no packet larger than that."""
    flags = _CLEAN | (_USERNAME if username else 0) | (_PASSWORD if username and password is not None else 0)
    body = _text(b"MQTT") + struct.pack(">BBH", 5 if five else 4, flags, keepalive_s)
    if five:
        wishes = struct.pack(">BIBH", _MAXIMUM_PACKET_SIZE, size_max, _RECEIVE_MAXIMUM, in_flight)
        body += _length(len(wishes)) + wishes
    body += _text(name.encode())
    if username:
        body += _text(username.encode())
        if password is not None:
            body += _text(password.encode())
    return bytes([_CONNECT]) + _length(len(body)) + body


def subscribe(topics: Iterable[str], *, five: bool) -> bytes:
    """SUBSCRIBE with QoS 1, number 1."""
    body = b"\x00\x01" + (b"\x00" if five else b"") + b"".join(_text(topic.encode()) + b"\x01" for topic in topics)
    return bytes([_SUBSCRIBE]) + _length(len(body)) + body


def publish(topic: bytes, payload: bytes, *, five: bool) -> bytes:
    """PUBLISH with QoS 0."""
    body = _text(topic) + (b"\x00" if five else b"") + payload
    return b"\x30" + _length(len(body)) + body


def pubacks(numbers: Iterable[int]) -> bytes:
    """A PUBACK for each number."""
    return b"".join([b"\x40\x02" + number.to_bytes(2, "big") for number in numbers])


# ---------------------------------------------------------------- reading


class Cutter:
    """Cuts what comes from a socket into packets."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0
        """Bytes that are still to come of a packet that was too large."""

    def cut(self, chunk: bytes) -> list[tuple[int, bytes]]:
        """The packets that are whole with these bytes: first byte and body.

        Raises:
            BrokenBroker: a length that cannot be.
        """
        if self._skip:
            skipped = min(self._skip, len(chunk))
            self._skip -= skipped
            chunk = chunk[skipped:]
        buffer = self._buffer
        buffer += chunk
        packets: list[tuple[int, bytes]] = []
        at, end = 0, len(buffer)
        while end - at > 1:
            length, start = buffer[at + 1], at + 2
            if length > 0x7F:  # noqa: PLR2004 - seven bits
                found = self._long(at + 1)
                if found is None:
                    break
                length, start = found
            stop = start + min(length, PACKET_MAX)
            if end < stop:
                break
            packets.append((buffer[at], bytes(buffer[start:stop])))
            self._skip = max(0, start + length - max(end, stop))
            at = min(start + length, end)
        del buffer[:at]
        return packets

    def _long(self, at: int) -> tuple[int, int] | None:
        """A length of several bytes, and what is behind it; None where it is not whole."""
        length = 0
        for place in range(_LENGTH_SIZE_MAX):
            if at + place >= len(self._buffer):
                return None
            digit = self._buffer[at + place]
            length |= (digit & 0x7F) << 7 * place
            if digit <= 0x7F:  # noqa: PLR2004 - seven bits
                return length, at + place + 1
        raise BrokenBroker("a length of more than four bytes")


def read_connack(body: bytes, *, five: bool) -> Welcome:
    """What a CONNACK says.

    Raises:
        BrokenBroker: it is none.
    """
    if len(body) < (3 if five else 2):
        raise BrokenBroker(f"a CONNACK of {len(body)} bytes")
    return Welcome(body[1], _server_keep_alive(_properties(body, 2)[0]) if five and not body[1] else None)


def read_suback(body: bytes, *, five: bool) -> list[int]:
    """The reasons for which subscriptions were refused; none: all is well.

    Raises:
        BrokenBroker: it is none.
    """
    start = _properties(body, 2)[1] if five else 2
    if start >= len(body):
        raise BrokenBroker("a SUBACK that says nothing")
    return [reason for reason in body[start:] if reason >= _FAILURE]


def read_publish(first: int, body: bytes, *, five: bool) -> Published:
    """What a PUBLISH carries.

    Raises:
        BrokenBroker: it is none, or of QoS 2, which nobody asked for.
    """
    start = 2 + int.from_bytes(body[:2], "big")
    topic, number = body[2:start], 0
    if first & _QOS:
        number, start = int.from_bytes(body[start : start + 2], "big"), start + 2
        if first & _QOS_2 or not number:
            raise BrokenBroker("a PUBLISH of a quality nobody asked for, or without its number")
    if five:
        if start < len(body) and not body[start]:  # no properties, as nearly always
            start += 1
        else:
            start = _properties(body, start)[1]
    if start > len(body) or not topic:
        raise BrokenBroker("a PUBLISH that ends too early, or names no topic")
    return Published(topic, body[start:], number, bool(first & _RETAIN))


def _properties(body: bytes, at: int) -> tuple[bytes, int]:
    """The properties that begin here, and what is behind them."""
    length = 0
    for place in range(_LENGTH_SIZE_MAX):
        if at + place >= len(body):
            break
        digit = body[at + place]
        length |= (digit & 0x7F) << 7 * place
        if digit <= 0x7F:  # noqa: PLR2004 - seven bits
            start = at + place + 1
            if start + length > len(body):
                break
            return body[start : start + length], start + length
    raise BrokenBroker("properties that end too early")


def _server_keep_alive(properties: bytes) -> int | None:
    at, found = 0, None
    while at < len(properties):
        which, at = properties[at], at + 1
        if which in _FIXED:
            if which == _SERVER_KEEP_ALIVE:
                found = int.from_bytes(properties[at : at + 2], "big")
            at += _FIXED[which]
        elif which in _TEXTS:
            for _ in range(_TEXTS[which]):
                at += 2 + int.from_bytes(properties[at : at + 2], "big")
        else:
            raise BrokenBroker(f"property {which} in a CONNACK")
    if at > len(properties):
        raise BrokenBroker("a property that ends too early")
    return found
