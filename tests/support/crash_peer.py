"""A device made by hand, and a plain MQTT client, in the test's own thread: to say what no agent would say."""

from __future__ import annotations

import asyncio
import random
import re
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import aiocoap
import paho.mqtt.client as paho
from crash_mutants import readings_of, schema_of

from trueline_sim.memory_spool import MemorySpool
from trueline_wire.columns import encode_columns
from trueline_wire.delivery import Outgoing, Sender, SenderLimits
from trueline_wire.envelope import Lane
from trueline_wire.keys import KeyRing, SigningKey, parse_public_key
from trueline_wire.topics import ack_topic, coap_path, up_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trueline_sim.processes import Site


class Mqtt:
    """An MQTT client that works only while it is asked to.

    Args:
        port: of the broker.
        topics: to subscribe to.
    """

    def __init__(self, port: int, topics: list[str]) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._subscribed = False
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        self.client.max_inflight_messages_set(100)
        self.client.on_message = lambda _c, _u, message: self.heard.append((message.topic, bytes(message.payload)))
        self.client.on_subscribe = self._note
        self.client.connect("127.0.0.1", port)
        for topic in topics:
            self.client.subscribe(topic, 1)
        if topics:
            self.work(lambda: self._subscribed)

    def _note(self, *_args: Any) -> None:
        self._subscribed = True

    def publish(self, topic: str, payload: bytes) -> paho.MQTTMessageInfo:
        """QoS 1."""
        return self.client.publish(topic, payload, qos=1)

    def work(self, until: Callable[[], bool], timeout_s: float = 20.0) -> bool:
        """Read and write until something is so; False if it does not become so."""
        deadline = time.monotonic() + timeout_s
        while not until():
            if time.monotonic() > deadline or self.client.loop(0.02):
                return until()
        return True

    def close(self) -> None:
        """Leave."""
        self.client.disconnect()
        self.client.loop(0.1)


class HandDevice:
    """A real sender on a spool in memory, whose frames the test makes itself.

    Args:
        site: where it is enrolled.
        name: its id.
        limits: of its sender.
    """

    def __init__(self, site: Site, name: str, limits: SenderLimits | None = None) -> None:
        self.name = name
        self.key = SigningKey(name.encode().ljust(32, b".")[:32])
        self.site = site
        ring = KeyRing()
        ring.trust("cloud", parse_public_key(site.cloud_key))
        site.cloud.command("enroll", name, self.key.public_text, "--config", str(site.cloud.config))
        self.sender = Sender(
            MemorySpool(), device=name, signer=self.key, verifier=ring, rng=random.Random(name), limits=limits
        )
        self.rows = 0

    def measure(self, rows: int) -> None:
        """One good frame."""
        readings = readings_of(self.name, self.rows, rows)
        times = readings.time_ns
        self.append(encode_columns(readings), rows, int(times[0]), int(times[-1]))
        self.rows += rows

    def append(self, body: bytes, rows: int, first_ns: int = 1, last_ns: int = 2) -> None:
        """One frame with any body."""
        self.sender.append([Outgoing(Lane.DATA, schema_of(self.name).encoded, rows, first_ns, last_ns, body)])

    def drain_mqtt(self, timeout_s: float = 30.0) -> bool:
        """Deliver everything over the site's broker; False if that does not work in time."""
        line = Mqtt(self.site.broker.port, [ack_topic(self.name)])
        self.sender.connected(time.monotonic())

        def turn() -> bool:
            now_s = time.monotonic()
            for _, message in line.heard:
                self.sender.received(message, now_s)
            line.heard.clear()
            for out in self.sender.poll(now_s):
                line.publish(up_topic(self.name, out.channel), out.message)
                self.sender.confirmed(now_s)
            return self.sender.drained

        drained = line.work(turn, timeout_s)
        line.close()
        self.sender.disconnected()
        return drained

    def drain_coap(self, timeout_s: float = 30.0) -> bool:
        """The same over CoAP."""
        return asyncio.run(self._drain_coap(timeout_s))

    async def _drain_coap(self, timeout_s: float) -> bool:
        context = await aiocoap.Context.create_client_context()
        self.sender.connected(time.monotonic())
        deadline = time.monotonic() + timeout_s
        while not self.sender.drained and time.monotonic() < deadline:
            messages = self.sender.poll(time.monotonic())
            for out in messages:
                answer = await post(context, self.site.cloud.coap_port, self.name, out.message)
                self.sender.confirmed(time.monotonic())
                for ack in acks_in(answer.payload):
                    self.sender.received(ack, time.monotonic())
            if not messages:
                await asyncio.sleep(0.05)
        await context.shutdown()
        self.sender.disconnected()
        return self.sender.drained


async def post(context: aiocoap.Context, port: int, device: str, message: bytes) -> aiocoap.Message:
    """One CoAP request of a device."""
    path = "/".join(coap_path(device))
    request = aiocoap.Message(code=aiocoap.POST, uri=f"coap://127.0.0.1:{port}/{path}", payload=message)
    return await context.request(request).response


def acks_in(payload: bytes) -> Iterator[bytes]:
    """Acknowledgements, each behind its length."""
    at = 0
    while at + 2 <= len(payload):
        size = int.from_bytes(payload[at : at + 2], "big")
        yield payload[at + 2 : at + 2 + size]
        at += 2 + size


class Counters:
    """What a service counts of itself, as its /metrics says."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/") + "/metrics"

    def read(self) -> dict[str, float]:
        """Name (with labels) to value."""
        with urllib.request.urlopen(self._url, timeout=10) as answer:  # noqa: S310 - our own loopback service
            text = answer.read().decode()
        lines = (re.fullmatch(r"([^# ]\S*) (\S+)", line) for line in text.splitlines())
        return {line[1]: float(line[2]) for line in lines if line}

    def outcome(self, name: str) -> int:
        """One of the receiver's counts."""
        return int(self.read()[f'trueline_receiver_total{{outcome="{name}"}}'])
