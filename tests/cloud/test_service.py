"""What the running service promises, seen from outside."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import aiocoap
import httpx
from aiocoap.numbers import codes
from cloud_kit import Machine

from trueline_cloud.ingest.trust import enroll
from trueline_sim.children import wait_until
from trueline_sim.processes import Cloud
from trueline_wire.control import Ack, read_ack
from trueline_wire.envelope import open_envelope
from trueline_wire.keys import KeyRing, parse_public_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def running(folder: Path, **tables: Any) -> Iterator[Cloud]:
    cloud = Cloud(folder, broker_port=None, extra=tables)
    cloud.start()
    yield cloud
    cloud.kill()


def get(cloud: Cloud, path: str) -> str:
    return httpx.get(cloud.url + path, timeout=10).text


class Courier:
    """Carries a machine's messages over CoAP, and reads the acknowledgements."""

    def __init__(self, cloud: Cloud, machine: Machine) -> None:
        self._uri = f"coap://127.0.0.1:{cloud.coap_port}/tl/1/{machine.name}"
        self._ring = KeyRing()
        self._ring.trust("cloud", parse_public_key(cloud.command("key", "--state", str(cloud.state)).strip()))

    async def post(self, *messages: bytes) -> list[Ack]:
        acks = []
        client = await aiocoap.Context.create_client_context(transports=["udp6"])
        for message in messages:
            request = aiocoap.Message(code=codes.POST, uri=self._uri, payload=message)
            rest = (await asyncio.wait_for(client.request(request).response, 20)).payload
            while rest:
                size = 2 + int.from_bytes(rest[:2], "big")
                acks.append(read_ack(open_envelope(rest[2:size], "cloud", self._ring)))
                rest = rest[size:]
        await client.shutdown()
        return acks


async def test_takes_commits_serves(tmp_path: Path) -> None:
    """A frame that comes in by CoAP is committed, acknowledged, in the ledger, in the API, and still there later."""
    machine = Machine()
    with running(tmp_path) as cloud:
        enroll(cloud.state / "devices", machine.name, machine.key.public_text)
        await asyncio.sleep(2.0)  # a running service notices within two seconds
        acks = await Courier(cloud, machine).post(*machine.opening(), machine.frame(), machine.frame())
        assert acks[-1].last == 3
        assert "pump-7" in get(cloud, "api/v1/devices")
        metrics = get(cloud, "metrics")
        assert 'trueline_receiver_total{outcome="frames"} 2.0' in metrics
        assert "trueline_commit_seconds_count" in metrics
        assert '"ingest_alive":true' in get(cloud, "healthz").replace(" ", "")
        assert cloud.stop() == 0
        assert "20 rows stored" in cloud.command("ledger", "--verify", "--state", str(cloud.state))


async def test_sigterm_commits(tmp_path: Path) -> None:
    """SIGTERM commits the open group, acknowledges it, and ends with 0."""
    machine = Machine()
    enroll(tmp_path / "state" / "cloud" / "devices", machine.name, machine.key.public_text)
    with running(tmp_path, journal={"commit_interval_ms": 4000}) as cloud:
        courier = Courier(cloud, machine)
        posting = asyncio.create_task(courier.post(machine.opening()[1]))
        await asyncio.sleep(1.0)
        cloud.signal(signal.SIGTERM)
        assert [ack.last for ack in await posting] == [1]
        assert cloud.wait(20) == 0


def test_ready_line(tmp_path: Path) -> None:
    """When it is ready, the service prints one line that says where it is found; port 0 is any free port."""
    with running(tmp_path, http={"port": 0}, coap={"port": 0}) as cloud:
        (line,) = cloud.out.read_text().splitlines()
        word, http, coap = line.split()
        assert word == "ready"
        assert httpx.get(http.removeprefix("http=") + "/healthz", timeout=10).status_code == 200
        assert coap.startswith("coap=127.0.0.1:")
        assert cloud.stop() == 0


def test_port_in_use(tmp_path: Path) -> None:
    """A port somebody else has ends the start with 2, and the message names it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        cloud = Cloud(tmp_path, broker_port=None, http_port=port)
        super(Cloud, cloud).start()
        assert cloud.wait(20) == 2
        assert f"[http] 127.0.0.1:{port} cannot be listened on" in cloud.log.read_text()


def test_elsewhere_needs_a_token(tmp_path: Path) -> None:
    """Bound to all addresses without a token the service does not start; with one the API asks for it."""
    cloud = Cloud(tmp_path, broker_port=None, extra={"http": {"host": "0.0.0.0", "port": 0}})  # noqa: S104 - refused
    super(Cloud, cloud).start()
    assert cloud.wait(20) == 2
    assert "token_file" in cloud.log.read_text()
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    port = cloud.http_port
    with running(tmp_path, http={"port": port, "token_file": str(token)}):
        url, bearer = f"http://127.0.0.1:{port}/api/v1/devices", {"Authorization": f"Bearer {token.read_text()}"}
        assert httpx.get(url, timeout=10).status_code == 401
        assert httpx.get(url, headers=bearer, timeout=10).status_code == 200


def test_broken_disk_ends_it(tmp_path: Path) -> None:
    """When the journal cannot be opened the service does not start, and says that the disk has to be looked at."""
    (tmp_path / "state" / "cloud" / "journal.db").mkdir(parents=True)
    cloud = Cloud(tmp_path, broker_port=None)
    super(Cloud, cloud).start()
    assert cloud.wait(20) == 1
    assert "look at the disk" in cloud.log.read_text()
    wait_until(lambda: not cloud.alive, "ended", 1)
