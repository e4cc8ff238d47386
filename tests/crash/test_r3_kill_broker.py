"""R3: kill -9 of the broker, its memory wiped: mosquitto and amqtt.

NATS and RabbitMQ are no MQTT brokers by default, and were not tried.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
from crash_kit import Proof, campaign
from crash_peer import Counters
from crash_rows import stream, write_rows
from crash_site import finish, ledger, stored

from trueline_sim.children import wait_until
from trueline_sim.processes import Broker, BrokerKind, Site

if TYPE_CHECKING:
    from pathlib import Path

_FRAME = {"rows_max": 20, "interval_s": 0.05}
_SPEED = 400.0
_MESSAGES = 3000


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_a_killed_broker_loses_and_doubles_nothing(kind: BrokerKind, tmp_path: Path, proof: Proof) -> None:
    """Kill -9 of a broker that keeps nothing on disk: every row is stored once, bit for bit, ledger complete."""
    kills, rng = campaign(10), proof.rng()
    with Site(tmp_path, broker=kind, cloud_extra={"journal": {"commit_interval_ms": 20}}) as site:
        site.start()
        rows = write_rows(site.folder / "rows.csv", 4000 * kills, proof.seed)
        agent = site.add_agent("roaming-1", [stream(rows, speed=_SPEED)], frame=_FRAME)
        agent.start()
        counters = Counters(site.cloud.url)
        for _ in range(kills):
            seen = counters.outcome("frames")
            wait_until(lambda seen=seen: counters.outcome("frames") > seen, "frames through the broker", 120.0)
            time.sleep(rng.uniform(0.0, 1.0))
            site.broker.kill()
            time.sleep(rng.uniform(0.0, 0.5))
            site.broker.start()
        assert agent.alive
        assert site.cloud.alive
        finish(agent, 900.0)
        found, lane = stored(site, agent, rows), ledger(site, agent.device)
    proof.says(n=kills, broker=kind, result=str(found))
    assert found.equal, found
    assert lane["verdict"] == "complete", lane
    assert lane["alarms"] == {}, lane


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_qos_1_alone_loses_messages(kind: BrokerKind, tmp_path: Path, proof: Proof) -> None:
    """Negative control: a bare publisher and subscriber at QoS 1, sessions kept, lose what the broker had confirmed."""
    broker = Broker(tmp_path, kind)
    broker.start()
    confirmed: set[int] = set()
    heard: set[int] = set()
    numbers: dict[int, int] = {}

    def slow(_client: object, _data: object, message: paho.MQTTMessage) -> None:
        heard.add(int(message.payload))
        time.sleep(0.002)

    subscriber, publisher = (
        paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, clean_session=False, protocol=paho.MQTTv311)
        for name in ("control-in", "control-out")
    )
    for client in (subscriber, publisher):
        client.reconnect_delay_set(1, 1)
    subscriber.on_connect = lambda client, *_: client.subscribe("control", 1)
    subscriber.on_message = slow
    publisher.on_publish = lambda _client, _data, mid, *_: confirmed.add(numbers[mid])
    subscribed = threading.Event()
    subscriber.on_subscribe = lambda *_: subscribed.set()
    try:
        for client in (subscriber, publisher):
            client.connect("127.0.0.1", broker.port)
            client.loop_start()
        assert subscribed.wait(10)
        for number in range(_MESSAGES):
            info = publisher.publish("control", str(number), qos=1)
            numbers[info.mid] = number
            if number == _MESSAGES // 2:
                wait_until(lambda: len(confirmed) > _MESSAGES // 3, "confirmations", 30.0)
                broker.kill()
                broker.start()
        wait_until(lambda: len(confirmed) == _MESSAGES, "all confirmed", 60.0)
        quiet_s, known = time.monotonic(), -1
        while time.monotonic() - quiet_s < 2.0:
            if len(heard) != known:
                quiet_s, known = time.monotonic(), len(heard)
            time.sleep(0.05)
    finally:
        for client in (publisher, subscriber):
            client.disconnect()
            client.loop_stop()
        broker.kill()
    lost = confirmed - heard
    proof.says(broker=kind, control=f"QoS 1 alone: {len(lost)} of {len(confirmed)} confirmed messages gone in one kill")
    assert lost
