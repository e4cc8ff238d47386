"""Peers that mean ill: a broker that says anything, and bytes for our own listeners."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

_CONNACK_5 = b"\x20\x03\x00\x00\x00"
_CONNACK_311 = b"\x20\x02\x00\x00"
_ENDLESS_BYTES = 24 * 1024 * 1024
_SOCKET_S = 3.0


def _publish(topic: bytes, payload: bytes, first: int = 0x30) -> bytes:
    body = struct.pack(">H", len(topic)) + topic + (b"\x00\x07" if first & 6 else b"") + b"\x00" + payload
    return bytes([first]) + _varint(len(body)) + body


def _varint(number: int) -> bytes:
    out = b""
    while True:
        number, low = divmod(number, 128)
        out += bytes([low | (0x80 if number else 0)])
        if not number:
            return out


class HostileBroker:
    """Accepts MQTT connections on a port of the loopback, and answers with malice, a different one each time.

    Args:
        rng: chooses bytes.
        topic: where the victim listens for acknowledgements.

    Attributes:
        port: where it listens.
        served: what was done, connection by connection.
        doing: what is being done.
    """

    def __init__(self, rng: random.Random, topic: str) -> None:
        self._rng = rng
        self._topic = topic.encode()
        self.served: list[str] = []
        self.doing = ""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.2)
        self.port: int = self._listener.getsockname()[1]
        self._stop = threading.Event()
        self._malices = self._all()
        self._thread = threading.Thread(target=self._serve, name="hostile broker", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(30)
        self._listener.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                name, malice = self._malices[len(self.served) % len(self._malices)]
                self.doing = name
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(_SOCKET_S)
                    connect = connection.recv(65_536)
                    is_5 = b"MQTT\x05" in connect
                    malice(connection, _CONNACK_5 if is_5 else _CONNACK_311)
                self.served.append(name)

    def _up(self, connection: socket.socket, connack: bytes) -> None:
        """Behave until the victim believes that it is connected."""
        connection.sendall(connack)
        subscribe = connection.recv(65_536)
        at = subscribe.find(b"\x82")
        mid = subscribe[at + 2 : at + 4]
        tail = b"\x00\x01" if len(connack) == len(_CONNACK_5) else b"\x01"
        connection.sendall(b"\x90" + bytes([2 + len(tail)]) + mid + tail)

    def _after(self, data: Callable[[], bytes]) -> Any:
        def malice(connection: socket.socket, connack: bytes) -> None:
            self._up(connection, connack)
            connection.sendall(data())
            with contextlib.suppress(TimeoutError):
                while connection.recv(65_536):
                    pass

        return malice

    def _first(self, data: Callable[[], bytes]) -> Any:
        def malice(connection: socket.socket, _connack: bytes) -> None:
            connection.sendall(data())
            with contextlib.suppress(TimeoutError):
                connection.recv(65_536)

        return malice

    def _endless(self, start: bytes, chunk: bytes) -> Any:
        def malice(connection: socket.socket, connack: bytes) -> None:
            self._up(connection, connack)
            connection.sendall(start)
            sent, began = 0, time.monotonic()
            while sent < _ENDLESS_BYTES and time.monotonic() - began < _SOCKET_S and not self._stop.is_set():
                connection.sendall(chunk)
                sent += len(chunk)

        return malice

    def _all(self) -> list[tuple[str, Any]]:
        rng, topic = self._rng, self._topic
        garbage = lambda: rng.randbytes(rng.randrange(1, 2000))  # noqa: E731 - a short name for what comes often
        ack = lambda: _publish(topic, b"TL\x01\x06" + rng.randbytes(200))  # noqa: E731 - as above
        return [
            ("garbage first", self._first(garbage)),
            ("oversize packet", self._endless(b"\x30" + _varint(268_435_455), bytes(65_536))),
            ("garbage once up", self._after(garbage)),
            ("CONNACK with a wrong code", self._first(lambda: b"\x20\x03\x00\x99\x00")),
            ("forged ACKs for ever", self._endless(b"", ack() * 200)),
            ("length that never ends", self._after(lambda: b"\x30\xff\xff\xff\xff\xff\xff")),
            ("topic longer than its packet", self._after(lambda: b"\x30\x05\xff\xffabc")),
            ("topic that is no UTF-8", self._after(lambda: _publish(b"\xff\xfe\xfd", b"x"))),
            ("QoS 2 never released", self._endless(b"", b"".join(_qos2(topic, mid) for mid in range(1, 500)))),
            ("QoS 3", self._after(lambda: _publish(topic, b"x", 0x36))),
            ("PUBACKs of nothing", self._endless(b"", b"\x40\x02\x77\x77" * 1000)),
            ("CONNACK again and again", self._after(lambda: _CONNACK_5 * 50)),
            ("properties beyond the packet", self._first(lambda: b"\x20\x04\x00\x00\xff\x7f")),
            ("a SUBACK for nobody", self._first(lambda: _CONNACK_5 + b"\x90\x04\x99\x99\x00\x01")),
            ("hang up", self._first(lambda: b"")),
            ("huge ACK", self._after(lambda: _publish(topic, bytes(200_000)))),
            ("AUTH", self._after(lambda: b"\xf0\x02\x18\x00")),
            ("PINGRESPs for ever", self._endless(b"", b"\xd0\x00" * 4000)),
            ("DISCONNECT", self._after(lambda: b"\xe0\x02\x8e\x00")),
            ("zeros", self._after(lambda: bytes(5000))),
        ]


def _qos2(topic: bytes, mid: int) -> bytes:
    body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", mid) + b"\x00" + bytes(1000)
    return b"\x34" + _varint(len(body)) + body


def http_garbage(rng: random.Random) -> bytes:
    """What no browser sends."""
    target = rng.choice(
        [
            *("/", "/api/v1/devices", "/../../etc/passwd", "/%00", "/" + "a" * 20_000, "/api/v1/readings?device=%ff"),
            *("/api/v1/readings?from=1e999&to=-1", "/api/v1/ledger?device=" + "x" * 5000, "\xff\xfe", "*", ""),
            "/api/v1/readings?device=x&stream=y&from=9999999999999999999999999&to=0&points=99999999999",
        ]
    )
    whole = [
        rng.randbytes(rng.randrange(1, 3000)),
        f"{rng.choice(['GET', 'POST', 'PUT', 'BREW', ''])} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1"),
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n" + bytes(1000),
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200),
        b"\r\n" * 2000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    return rng.choice(whole)


def coap_garbage(rng: random.Random) -> bytes:
    """What no CoAP client sends."""
    token = rng.randbytes(rng.randrange(9))
    head = bytes([0x40 | rng.randrange(4) << 4 | len(token), rng.choice([1, 2, 3, 4, 0, 69, 95, 255])])
    start = head + rng.randbytes(2) + token
    path = b"\xb2tl\x011\x06victim"
    kinds = [
        rng.randbytes(rng.randrange(64)),
        start + rng.randbytes(rng.randrange(200)),
        start + b"\xb2tl" + b"\xff" + rng.randbytes(1000),
        start + path + b"\xd1\x0e" + bytes([rng.randrange(256)]) + b"\xff" + rng.randbytes(500),
        start + path + b"\xd3\x0e\xff\xff\xff\xff" + rng.randbytes(64),
        start + b"\xed\xff\xff\x00" + rng.randbytes(30),
        start + b"\xff",
        start + b"\xf0\xf1\xf2",
        start + b"\xb2tl\x011\x0d\xf0" + b"x" * 253 + b"\xffhello",
        start[:3],
        b"",
        bytes(1200),
    ]
    return rng.choice(kinds)


def varied(make: Callable[[random.Random], bytes], rng: random.Random, n: int) -> Iterator[bytes]:
    """`n` of them."""
    for _ in range(n):
        yield make(rng)
