from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
from crash_kit import campaign
from page_kit import PUMP, FakeStore, made_app, sampled, served

from trueline_cloud.live import Live

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.crash

SEED = 15
CONNECTIONS = campaign(5000)

REQUESTS = (
    b"GET /api/v1/readings?device=pump-7&stream=valve HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /api/v1/live?device=pump-7&stream=valve HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\ntoken=abc",
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
)


def whole_nonsense(rng: random.Random, _: bytes) -> bytes:
    return rng.randbytes(rng.randint(0, 400))


def cut(rng: random.Random, request: bytes) -> bytes:
    return request[: rng.randrange(len(request))]


def flipped(rng: random.Random, request: bytes) -> bytes:
    mutant = bytearray(request)
    for _ in range(rng.randint(1, 8)):
        mutant[rng.randrange(len(mutant))] = rng.randrange(256)
    return bytes(mutant)


def oversized(rng: random.Random, request: bytes) -> bytes:
    line, _, rest = request.partition(b"\r\n")
    return line + b"\r\nX-" + b"a" * rng.randint(1, 100_000) + b": b\r\n" + rest


def lying_length(rng: random.Random, _: bytes) -> bytes:
    length = rng.choice([b"-1", b"99999999999999999999", b"0x10", b"1, 2", b"\x00", b"1\r\nContent-Length: 2"])
    return b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: " + length + b"\r\n\r\nx"


def two_at_once(rng: random.Random, request: bytes) -> bytes:
    return request * rng.randint(2, 20) + b"\x16\x03\x01\x02\x00"


MUTATIONS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    whole_nonsense,
    cut,
    flipped,
    oversized,
    lying_length,
    two_at_once,
)


def hammer(port: int) -> None:
    """Send seeded nonsense over many connections; some are reset, some read from, some left open for a while."""
    rng = random.Random(SEED)
    open_ones: list[socket.socket] = []
    try:
        for i in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            open_ones.append(connection)
            # It may close the door on us: its right.
            with contextlib.suppress(OSError):
                connection.sendall(MUTATIONS[i % len(MUTATIONS)](rng, rng.choice(REQUESTS)))
                if rng.random() < 0.2:
                    connection.settimeout(0.02)
                    connection.recv(4096)
            if len(open_ones) > 50:
                open_ones.pop(rng.randrange(len(open_ones))).close()
    finally:
        for connection in open_ones:
            connection.close()


def is_served(port: int) -> bool:
    """Whether an honest client gets its answer."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/devices", timeout=10)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["devices"][0]["device"] == "pump-7"


def test_malformed_requests_leave_the_next_client_served() -> None:
    """After thousands of malformed requests on raw sockets an honest client is served, and no listener is left."""
    store, live = FakeStore(), Live()
    store.put(sampled(PUMP, 0, 5))
    with served(made_app(store, live), live) as port:
        hammer(port)
        assert is_served(port)
        while len(live):
            time.sleep(0.01)


@contextmanager
def trusting_server() -> Iterator[int]:
    """Believes what it is told: one thread, one line of parsing, no bounds."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            while True:
                connection, _ = listener.accept()
                with connection:
                    try:
                        method, _, _ = connection.recv(65536).partition(b"\r\n")[0].decode().split(" ")
                    except (ValueError, OSError):
                        return
                    body = b'{"devices":[{"device":"pump-7"}]}'
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                    if method == "STOP":
                        return

    thread = threading.Thread(target=serve)
    thread.start()
    port = listener.getsockname()[1]
    try:
        yield port
    finally:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"STOP / HTTP/1.1\r\n\r\n")
        except OSError:
            pass  # dead already, as expected
        thread.join()


def test_the_same_requests_end_a_server_that_trusts_them() -> None:
    """Negative control: a server without a bound or a doubt serves an honest client before, and nobody after."""
    with trusting_server() as port:
        assert is_served(port)
        with contextlib.suppress(OSError):
            hammer(port)
        assert not is_served(port)
