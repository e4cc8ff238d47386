"""R15: a hostile broker against the agent, forged acknowledgements, and raw garbage at the cloud's own listeners."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import apsw
import psutil
import pytest
from crash_hostile import HostileBroker, coap_garbage, http_garbage, varied
from crash_kit import Proof, campaign
from crash_peer import Counters, HandDevice, Mqtt
from crash_rows import stream, write_rows
from crash_site import finish, frames_waiting, ledger, patch, ready_socket, stored

from trueline_edge.spool.cells import unpack_label
from trueline_sim.children import wait_until
from trueline_sim.processes import Site
from trueline_wire.control import Ack, read_ack
from trueline_wire.envelope import Lane, open_envelope
from trueline_wire.keys import KeyRing, SigningKey
from trueline_wire.topics import ack_topic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trueline_sim.processes import Agent

_FRAME = {"rows_max": 20, "interval_s": 0.05}
_ROWS = 2000
_CONNECTIONS_A_LIFE = 3  # and 20 kinds of malice: in a whole campaign each comes first, second and third
_RSS_MAX = 20 * 1024 * 1024


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path, broker="mosquitto", cloud_extra={"journal": {"commit_interval_ms": 20}}) as site:
        yield site


def _spooled(agent: Agent) -> int:
    """Start an agent and wait until all its file is in its spool; how many records that is."""
    agent.start()
    wanted = _ROWS // _FRAME["rows_max"] + 1

    def all_there() -> bool:
        return frames_waiting(agent) >= wanted

    wait_until(all_there, "the file in the spool", 60.0)
    return frames_waiting(agent)


def test_a_hostile_broker_gets_nothing_out_of_an_agent(site: Site, proof: Proof) -> None:
    """A broker that sends anything at all: the agent lives, its memory is flat, it deletes nothing, and later works."""
    n = max(20, campaign(80))
    source = write_rows(site.folder / "rows.csv", _ROWS, proof.seed)
    with ready_socket() as notify, HostileBroker(proof.rng(), ack_topic("victim-1")) as broker:
        links = site.links(mqtt_port=broker.port)
        agent = site.add_agent("victim-1", [stream(source)], frame=_FRAME, links=links)
        waiting = _spooled(agent)
        settled, peak, at = 0, 0, ""
        while len(broker.served) < n:
            agent.kill()  # its patience with a bad broker grows; a new life is as impatient as the first
            notify.start(agent)
            process, known = psutil.Process(agent.pid), len(broker.served)
            until = min(known + _CONNECTIONS_A_LIFE, n)
            # The first connection of a life is not measured: it loads what every connection needs.
            wait_until(lambda known=known: len(broker.served) > known, "a first connection", 60.0)
            rss = process.memory_info().rss
            while len(broker.served) < until:
                assert agent.alive, agent.log_tail()
                now = process.memory_info().rss - rss
                if now > peak:
                    peak, at = now, broker.doing
                time.sleep(0.02)
            settled = max(settled, process.memory_info().rss - rss)
            assert frames_waiting(agent) >= waiting
        served = Counter(broker.served)
    agent.kill()
    site.start()
    agent.rewrite({"link": site.links()})
    finish(agent)
    found = stored(site, agent, source)
    proof.says(
        n=n,
        kinds=len(served),
        rss=f"+{settled / 1e6:.1f} MB, peak +{peak / 1e6:.1f} at {at!r}",
        result=f"alive, nothing deleted; {found}",
    )
    assert settled < _RSS_MAX
    assert found.equal, found


def _device_lane(agent: Agent, heard: list[tuple[str, bytes]]) -> list[bytes]:
    return [payload for topic, payload in heard if topic == ack_topic(agent.device)]


def test_forged_and_replayed_acknowledgements_delete_nothing(site: Site, proof: Proof) -> None:
    """ACKs forged, replayed, meant for others, of another journal or beyond the end: nothing is deleted."""
    rng, n = proof.rng(), campaign(1000)
    first = write_rows(site.folder / "first.csv", 200, proof.seed)
    second = write_rows(site.folder / "second.csv", _ROWS, proof.seed + 1)
    site.start()
    agent = site.add_agent("victim-2", [stream(first)], frame=_FRAME)
    line = Mqtt(site.broker.port, [ack_topic(agent.device)])
    agent.start("--until-drained")
    line.work(lambda: not agent.alive, 60.0)
    line.work(lambda: False, 0.3)
    replayed = _device_lane(agent, line.heard)
    assert replayed
    site.cloud.kill()
    agent.rewrite({"stream": [stream(first), stream(second, name="more")]})
    waiting = _spooled(agent)
    cloud_key = SigningKey.load_or_create(site.cloud.state / "cloud.key")
    keys = [SigningKey(rng.randbytes(32)), SigningKey.load_or_create(agent.state / "device.key")]
    epoch, journal = _epoch_written(agent), _journal(cloud_key, replayed[-1])
    for number in range(n):
        ack = Ack(agent.device, Lane.DATA, epoch, journal, rng.choice([2, waiting - 1, waiting]))
        kind = number % 4
        if kind == 0:
            message = rng.choice(replayed)
        elif kind == 1:
            message = ack.seal(rng.choice(keys))
        elif kind == 2:
            message = replace(ack, journal=rng.randbytes(8)).seal(cloud_key)
        else:
            message = replace(ack, device="somebody-else").seal(cloud_key)
        info = line.publish(ack_topic(agent.device), message)
        if number % 50 == 0:
            assert line.work(info.is_published)
    assert line.work(lambda: not line.client.want_write(), 5.0)
    line.work(lambda: False, 1.0)
    assert agent.alive, agent.log_tail()
    assert frames_waiting(agent) == waiting
    line.close()
    site.cloud.start()
    finish(agent)
    found = stored(site, agent, second, "more")
    proof.says(n=n, result=f"nothing deleted of {waiting} records; then {found}")
    assert found.equal, found
    assert ledger(site, agent.device)["verdict"] == "complete"


def test_an_acknowledgement_of_the_cloud_does_delete(site: Site, proof: Proof) -> None:
    """Negative control: the same message, right in every field and signed by the cloud's key, empties the spool."""
    source = write_rows(site.folder / "rows.csv", _ROWS, proof.seed)
    site.start()
    agent = site.add_agent("victim-3", [stream(source)], frame=_FRAME)
    site.cloud.kill()
    waiting = _spooled(agent)
    line = Mqtt(site.broker.port, [])
    cloud_key = SigningKey.load_or_create(site.cloud.state / "cloud.key")
    ack = Ack(agent.device, Lane.DATA, _epoch_written(agent), b"whatever", waiting)
    info = line.publish(ack_topic(agent.device), ack.seal(cloud_key))
    assert line.work(info.is_published)
    wait_until(lambda: frames_waiting(agent) == 0, "an empty spool", 20.0)
    line.close()
    proof.says(control=f"an ACK with the cloud's own key: {waiting} records deleted")


def test_an_agent_that_believes_anybody_deletes_by_a_forged_acknowledgement(site: Site, proof: Proof) -> None:
    """Negative control: signatures unchecked, and an ACK signed by a stranger empties the spool."""
    source = write_rows(site.folder / "rows.csv", _ROWS, proof.seed)
    site.start()
    agent = site.add_agent("victim-4", [stream(source)], frame=_FRAME)
    patch(agent, "believe-all")
    site.cloud.kill()
    waiting = _spooled(agent)
    line = Mqtt(site.broker.port, [])
    ack = Ack(agent.device, Lane.DATA, _epoch_written(agent), b"whatever", waiting)
    info = line.publish(ack_topic(agent.device), ack.seal(SigningKey(proof.rng().randbytes(32))))
    assert line.work(info.is_published)
    wait_until(lambda: frames_waiting(agent) == 0, "an empty spool", 20.0)
    line.close()
    proof.says(control=f"signatures unchecked, an ACK of a stranger: {waiting} records deleted and never stored")


def _epoch_written(agent: Agent) -> bytes:
    """The epoch of the newest record in an agent's spool."""
    connection = apsw.Connection(str(agent.state / "spool.db"), flags=apsw.SQLITE_OPEN_READONLY)
    label = unpack_label(connection.execute("SELECT label FROM record ORDER BY rowid DESC LIMIT 1").get)
    connection.close()
    assert label is not None
    return label.epoch


def _journal(cloud_key: SigningKey, message: bytes) -> bytes:
    """The journal an acknowledgement of the cloud names."""
    ring = KeyRing()
    ring.trust("cloud", cloud_key.public)
    return read_ack(open_envelope(message, "cloud", ring)).journal


def test_garbage_at_the_listeners_harms_nobody(site: Site, proof: Proof) -> None:
    """Raw garbage at HTTP and CoAP: the cloud lives, its memory is flat, and the next client is served on both."""
    n, rng = campaign(5000), proof.rng()
    site.start()
    device = HandDevice(site, "honest-1")
    counters = Counters(site.cloud.url)
    process = psutil.Process(site.cloud.pid)

    def throw(times: int) -> None:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for number, data in enumerate(varied(coap_garbage, rng, times // 2)):
            udp.sendto(data, ("127.0.0.1", site.cloud.coap_port))
            if number % 20 == 0:
                time.sleep(0.01)
        udp.close()
        for data in varied(http_garbage, rng, times - times // 2):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", site.cloud.http_port), 5) as tcp,
            ):
                tcp.settimeout(0.05)
                tcp.sendall(data)
                tcp.recv(65_536)

    throw(200)
    rss = process.memory_info().rss
    throw(n)
    assert site.cloud.alive, site.cloud.log_tail()
    growth = process.memory_info().rss - rss
    began = time.monotonic()
    assert counters.read()
    http_s = time.monotonic() - began
    device.measure(50)
    began = time.monotonic()
    assert device.drain_coap(30)
    coap_s = time.monotonic() - began
    assert ledger(site, "honest-1")["rows_stored"] == 50
    proof.says(n=n, result=f"alive, RSS +{growth / 1e6:.1f} MB, then HTTP in {http_s:.2f} s, CoAP in {coap_s:.2f} s")
    assert growth < _RSS_MAX
