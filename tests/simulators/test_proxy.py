import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from trueline_sim.children import wait_until
from trueline_sim.proxy import TcpProxy, UdpProxy, Weather


@contextlib.contextmanager
def _tcp_echo() -> Iterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(4096):
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.transport.abort()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(echo, "127.0.0.1", 0), loop).result(5)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(_settle(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


async def _settle() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


async def test_a_connection_cut_before_it_was_carried_is_closed() -> None:
    """Nothing stays open of a connection that was accepted and cut in one breath."""
    proxy, accepted = TcpProxy("127.0.0.1", 9, seed=1), Mock()
    await proxy._accept(Mock(), accepted)
    proxy._cut_now()
    await asyncio.sleep(0.01)
    accepted.transport.abort.assert_called_once()
    assert not proxy.connections


def test_a_tcp_stream_is_never_altered() -> None:
    """Whatever the delays, the bytes that come out are the bytes that went in, in order."""
    data = bytes(range(256)) * 2000
    with (
        _tcp_echo() as port,
        TcpProxy("127.0.0.1", port, seed=1, weather=Weather(latency_s=0.005, jitter_s=0.01)).running() as proxy,
        _connect(proxy.port) as client,
    ):
        threading.Thread(target=client.sendall, args=(data,)).start()
        got = b""
        while len(got) < len(data):
            got += client.recv(65536)
    assert got == data


def test_cut_resets_and_takes_again() -> None:
    """A cut ends open connections; the next one is carried as if nothing had been."""
    with _tcp_echo() as port, TcpProxy("127.0.0.1", port, seed=1).running() as proxy:
        with _connect(proxy.port) as client:
            client.sendall(b"a")
            assert client.recv(10) == b"a"
            proxy.cut()
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(10) == b""
        with _connect(proxy.port) as client:
            client.sendall(b"b")
            assert client.recv(10) == b"b"


def test_silence_accepts_and_says_nothing() -> None:
    """Half open: a connection is taken, nothing comes through, nothing is closed; afterwards it goes on."""
    with _tcp_echo() as port, TcpProxy("127.0.0.1", port, seed=1).running() as proxy:
        proxy.weather = Weather(silent=True)
        with _connect(proxy.port) as client:
            client.sendall(b"x")
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.recv(1)
            proxy.weather = Weather()
            client.settimeout(5)
            assert client.recv(1) == b"x"


@contextlib.contextmanager
def _udp_pair(weather: Weather, seed: int) -> Iterator[tuple[socket.socket, socket.socket, UdpProxy]]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        client.settimeout(5)
        with UdpProxy("127.0.0.1", server.getsockname()[1], seed=seed, weather=weather).running() as proxy:
            client.connect(("127.0.0.1", proxy.port))
            yield server, client, proxy


def _send(client: socket.socket, proxy: UdpProxy, count: int) -> None:
    for number in range(count):
        client.send(number.to_bytes(2, "big"))
    wait_until(lambda: proxy.passed + proxy.dropped >= count, "the datagrams' fate", 5)


def _drain(server: socket.socket) -> list[int]:
    server.settimeout(0.3)
    numbers = []
    with contextlib.suppress(TimeoutError):
        while True:
            numbers.append(int.from_bytes(server.recv(10), "big"))
    return numbers


def test_clear_weather_carries_both_ways() -> None:
    """Without faults all datagrams pass in order, and answers find the way back."""
    with _udp_pair(Weather(), 1) as (server, client, proxy):
        _send(client, proxy, 50)
        assert _drain(server) == list(range(50))
        client.send(b"?")
        server.settimeout(5)
        _, address = server.recvfrom(10)
        server.sendto(b"!", address)
        assert client.recv(10) == b"!"


def test_a_seed_decides_who_is_lost() -> None:
    """About the stated share is lost, and the same seed loses the same datagrams."""
    runs = []
    for _ in range(2):
        with _udp_pair(Weather(loss=0.3), 5) as (server, client, proxy):
            _send(client, proxy, 200)
            runs.append(_drain(server))
    assert runs[0] == runs[1]
    assert 110 <= len(runs[0]) <= 170


def test_duplicates_and_overtakes() -> None:
    """Doubling and reordering happen when they are asked for."""
    with _udp_pair(Weather(duplication=0.3, reordering=0.2), 3) as (server, client, proxy):
        _send(client, proxy, 100)
        numbers = _drain(server)
    assert len(numbers) > 110
    assert set(numbers) == set(range(100))
    assert numbers != sorted(numbers)
