"""The cloud's MQTT link against a real broker."""

from __future__ import annotations

import gc
import random
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from cloud_kit import Machine
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from trueline_cloud.ingest.intake import Intake
from trueline_cloud.ingest.mqtt import MqttLink, MqttSettings, TlsSettings
from trueline_sim.children import wait_until
from trueline_sim.processes import Broker, find_mosquitto
from trueline_wire.topics import ack_topic, presence_topic, shard_of, up_topic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    made = Broker(tmp_path / "broker", "mosquitto")
    made.start()
    yield made
    made.kill()


class Peer:
    """A device's side of the broker: publishes, and keeps what comes on its ack topic."""

    def __init__(self, port: int, device: str = "pump-7") -> None:
        self.acks: list[bytes] = []
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _client, _data, message: self.acks.append(message.payload)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(ack_topic(device))
        self._client.loop_start()
        assert self._subscribed.wait(10)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Heard:
    """A link, its intake, and what it heard."""

    def __init__(self, settings: MqttSettings, intake: Intake | None = None) -> None:
        self.presence: list[tuple[str, bool, bool]] = []
        self.intake = Intake() if intake is None else intake
        self.link = MqttLink(settings, self.intake, lambda *there: self.presence.append(there), random.Random(1))
        self.messages: list[tuple[str, bytes]] = []

    def wait_for(self, count: int) -> list[tuple[str, bytes]]:
        def enough() -> bool:
            self.messages += [(item.device, item.message) for item in self.intake.take(0.0)]
            return len(self.messages) >= count

        wait_until(enough, f"{count} messages", 15)
        return self.messages


@contextmanager
def heard(settings: MqttSettings, intake: Intake | None = None, *, connects: bool = True) -> Iterator[Heard]:
    made = Heard(settings, intake)
    made.link.start()
    if connects:
        wait_until(lambda: made.link.connected, "connected", 15)
    yield made
    made.link.stop()


def test_messages_in_acks_out(broker: Broker) -> None:
    """Messages of all channels come with the device their topic names, in order; acknowledgements go to its topic."""
    with heard(MqttSettings(port=broker.port)) as link:
        peer = Peer(broker.port)
        sent = [(channel, f"{channel} {n}".encode()) for n in range(30) for channel in ("data", "event", "control")]
        for channel, message in sent:
            peer.publish(up_topic("pump-7", channel), message)
        peer.publish("tl/1/63/pump-7/data", b"of another shard")
        peer.publish(presence_topic("pump-7"), b"online", retain=True)
        assert link.wait_for(90) == [("pump-7", message) for _, message in sent]
        wait_until(lambda: link.presence == [("pump-7", True, False)], "presence", 10)
        assert link.link.strays == (shard_of("pump-7") != 63)
        link.link.answer("pump-7", None, [b"one", b"two"])
        wait_until(lambda: peer.acks == [b"one", b"two"], "acknowledgements", 10)
        peer.close()


def test_only_our_shards(broker: Broker) -> None:
    """A consumer of some shards hears the devices of these and of no others."""
    ours = shard_of("pump-7")
    with heard(MqttSettings(port=broker.port, shards=(ours, ours + 1))) as link:
        peer = Peer(broker.port)
        others = [name for name in (f"pump-{n}" for n in range(20)) if shard_of(name) != ours]
        for name in [*others, "pump-7"]:
            peer.publish(up_topic(name, "data"), name.encode())
        assert link.wait_for(1) == [("pump-7", b"pump-7")]
        peer.close()


def test_who_was_there_before(broker: Broker) -> None:
    """Who is online when the link connects is told apart from who comes later."""
    peer = Peer(broker.port)
    peer.publish(presence_topic("pump-7"), b"online", retain=True)
    with heard(MqttSettings(port=broker.port)) as link:
        peer.publish(presence_topic("pump-8"), b"offline", retain=True)
        wait_until(lambda: len(link.presence) == 2, "presence", 10)
        assert sorted(link.presence) == [("pump-7", True, True), ("pump-8", False, False)]
    peer.close()


def test_comes_back(broker: Broker) -> None:
    """When the broker dies and comes back without its memory, messages flow again without anybody's help."""
    with heard(MqttSettings(port=broker.port)) as link:
        for number in range(2):
            peer = Peer(broker.port)
            peer.publish(up_topic("pump-7", "data"), b"%d" % number)
            assert link.wait_for(number + 1)[-1] == ("pump-7", b"%d" % number)
            peer.close()
            if number == 0:
                broker.kill()
                wait_until(lambda: not link.link.connected, "noticed", 15)
                broker.start()
                wait_until(lambda: link.link.connected, "back", 20)
        assert link.link.connects == 2


def test_back_pressure(broker: Broker) -> None:
    """While the hand-over is full nothing is taken from the broker, and nothing is dropped."""
    with heard(MqttSettings(port=broker.port), Intake(messages_max=5)) as link:
        peer = Peer(broker.port)
        for number in range(60):
            peer.publish(up_topic("pump-7", "data"), b"%d" % number)
        assert len(link.intake) <= 5
        assert [int(message) for _, message in link.wait_for(60)] == list(range(60))
        assert link.link.dropped == 0
        peer.close()


def test_old_broker(tmp_path: Path) -> None:
    """A broker that speaks only MQTT 3.1.1 is found out, and spoken to like that."""
    pytest.importorskip("amqtt", reason='amqtt is not installed: pip install "trueline[sim]"')
    broker = Broker(tmp_path / "broker", "amqtt")
    broker.start()
    with heard(MqttSettings(port=broker.port)) as link:
        peer = Peer(broker.port)
        peer.publish(up_topic("pump-7", "data"), Machine().frame())
        assert len(link.wait_for(1)) == 1
        peer.close()
    broker.kill()


def test_hostile_broker() -> None:
    """A broker that sends bytes nobody can read is left, and tried again."""
    rng = random.Random(4)
    noise = [
        b"\x20\x09\x00\x00\x06\xff\xff\xff\xff\xff\xff",
        b"\x20\x02\x00\x00\x30\x05\x00\x03\xff\xfe\xfd",
        b"\x20\x00",
    ]
    noise += [bytes(rng.randrange(256) for _ in range(40)) for _ in range(4)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(15)
        with heard(MqttSettings(port=listener.getsockname()[1]), connects=False) as link:
            for bytes_sent in noise:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(bytes_sent)
            assert not link.link.connected
            assert link.link._thread.is_alive()


def test_no_broker_is_weather() -> None:
    """Without a broker the link goes on trying, and can be stopped."""
    with heard(MqttSettings(port=1), connects=False) as link:
        assert not link.link.connected
        link.link.answer("pump-7", None, [b"nobody hears"])


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_tls_needs_the_right_ca(broker: Broker, tmp_path: Path) -> None:
    """With TLS asked for, a broker without it is not spoken to in the clear."""
    with heard(MqttSettings(port=broker.port, tls=TlsSettings()), connects=False) as link:
        peer = Peer(broker.port)
        peer.publish(up_topic("pump-7", "data"), b"message")
        threading.Event().wait(1.0)
        assert not link.link.connected
        assert len(link.intake) == 0
        peer.close()
    gc.collect()  # paho leaves the socket of a failed handshake to it, with a warning


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"port": 0}, "port"),
        ({"keepalive_s": 1}, "keepalive_s"),
        ({"shards": (3, 3)}, "shards"),
        ({"shards": (0, 65)}, "shards"),
        ({"shards": (1, 2, 3)}, "shards"),
    ],
)
def test_settings_that_cannot_be(bad: dict[str, Any], word: str) -> None:
    """Settings that make no sense are refused, by the name of the key."""
    with pytest.raises(ValueError, match=rf"^{word} "):
        MqttSettings(**bad)
