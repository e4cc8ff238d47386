"""Clouds for links to talk to: a real mosquitto with a consumer, and an aiocoap server. And what a link told."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import aiocoap
import pytest
from aiocoap import resource
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from trueline_edge.publish.coap import CoapLink
from trueline_edge.publish.config import CoapLinkConfig, MqttLinkConfig
from trueline_edge.publish.mqtt import MqttLink
from trueline_sim.children import free_port
from trueline_wire.topics import ack_topic, device_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trueline_edge.publish.link import Link

DEVICE = "pump-7"


async def until(true: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.01)


class Told:
    """What a link told, in order."""

    def __init__(self) -> None:
        self.ups = 0
        self.downs = 0
        self.confirmations = 0
        self.window_frames = 0
        self.message_max = 0
        self.messages: list[bytes] = []

    @property
    def is_up(self) -> bool:
        return self.ups > self.downs

    def connected(self, *, window_frames: int, message_max: int) -> None:
        self.window_frames, self.message_max = window_frames, message_max
        self.ups += 1

    def disconnected(self) -> None:
        self.downs += 1

    def confirmed(self) -> None:
        self.confirmations += 1

    def received(self, message: bytes) -> None:
        self.messages.append(message)


class MqttCloud:
    """mosquitto, and a consumer that keeps what comes and answers each with `answer`."""

    def __init__(self, folder: Path) -> None:
        path = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        if path is None:
            pytest.skip("mosquitto is not installed")
        self.program = path
        self._config = folder / "mosquitto.conf"
        self.port = free_port()
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
        self.received: list[bytes] = []
        self.presence: list[bytes] = []
        self.answer: bytes | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None

    def link(self) -> Link:
        config = MqttLinkConfig(host="127.0.0.1", port=self.port)
        return MqttLink(config, DEVICE, rng=random.Random(1), retry_max_s=0.2)

    async def start(self) -> None:
        command = [self.program, "-c", str(self._config)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: ASYNC220 - returns at once
        ready = threading.Event()
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        client.on_connect = lambda c, *_: c.subscribe("tl/1/+/+/+", qos=1)
        client.on_subscribe = lambda *_: ready.set()
        client.on_message = self._on_message
        for _ in range(200):
            try:
                client.connect("127.0.0.1", self.port)
                break
            except OSError:
                await asyncio.sleep(0.05)
        client.loop_start()
        self._client = client
        await until(ready.is_set, "the consumer is subscribed")

    def _on_message(self, client: Client, _data: Any, message: Any) -> None:
        device, channel = device_of(message.topic)
        if channel == "presence":
            self.presence.append(message.payload)
        elif channel != "ack":
            self.received.append(message.payload)
            if self.answer is not None:
                client.publish(ack_topic(device), self.answer, qos=1)

    async def stop(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class CoapCloud(resource.Resource):  # type: ignore[misc]  # aiocoap is not typed
    """An aiocoap server that keeps what comes and answers each with `answer`."""

    def __init__(self, _folder: Path) -> None:
        super().__init__()
        self.port = free_port()
        self.received: list[bytes] = []
        self.answer: bytes | None = None
        self._context: aiocoap.Context | None = None

    def link(self) -> Link:
        config = CoapLinkConfig(host="127.0.0.1", port=self.port)
        return CoapLink(config, DEVICE, rng=random.Random(1), retry_max_s=0.2)

    async def start(self) -> None:
        site = resource.Site()
        site.add_resource(("tl", "1", DEVICE), self)
        self._context = await aiocoap.Context.create_server_context(
            site,
            bind=("127.0.0.1", self.port),
            transports=["udp6"],  # not also TCP, whose port may be taken
        )

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        self.received.append(request.payload)
        answer = self.answer
        payload = b"" if answer is None else len(answer).to_bytes(2, "big") + answer
        return aiocoap.Message(code=aiocoap.CHANGED, payload=payload)

    async def stop(self) -> None:
        if self._context is not None:
            await self._context.shutdown()
            self._context = None
