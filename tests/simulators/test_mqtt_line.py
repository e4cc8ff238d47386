from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from trueline_sim.mqtt_line import MqttLine, cut_packets, packet, text
from trueline_sim.processes import Broker, BrokerKind, find_mosquitto

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300) | st.just(bytes(20_000))), max_size=5), st.data()
)
def test_packets_are_cut_whole_wherever_bytes_come(packets: list[tuple[int, bytes]], data: st.DataObject) -> None:
    """Packets come out equal and in order, however the bytes were cut on the way."""
    stream = b"".join(packet(*each) for each in packets)
    buffer, out, at = bytearray(), [], 0
    while at < len(stream):
        step = data.draw(st.integers(1, len(stream)))
        buffer += stream[at : at + step]
        at += step
        out += list(cut_packets(buffer))
    assert out == packets
    assert not buffer


def test_the_bytes_are_those_of_the_standard() -> None:
    """The lengths of section 2.2.3 and the string of section 1.5.3."""
    assert packet(0xC0, b"") == b"\xc0\x00"
    assert packet(0x30, bytes(127))[1:2] == b"\x7f"
    assert packet(0x30, bytes(128))[1:3] == b"\x80\x01"
    assert packet(0x30, bytes(16_384))[1:4] == b"\x80\x80\x01"
    assert text("A\U0002a6d4") == b"\x00\x05\x41\xf0\xaa\x9b\x94"


def test_an_endless_length_is_refused() -> None:
    """A fifth byte of length is an error, not a wait."""
    with pytest.raises(ConnectionError, match="four bytes"):
        list(cut_packets(bytearray(b"\x30\xff\xff\xff\xff\xff")))


class Notebook:
    """Writes down what a line tells."""

    def __init__(self) -> None:
        self.up = 0
        self.down = 0
        self.messages: list[tuple[str, bytes]] = []
        self.confirmed: list[int] = []

    def line_up(self, line: MqttLine) -> None:
        self.up += 1

    def line_down(self, line: MqttLine) -> None:
        self.down += 1

    def line_message(self, topic: str, payload: bytes) -> None:
        self.messages.append((topic, payload))

    def line_confirmed(self, mid: int, line: MqttLine) -> None:
        self.confirmed.append(mid)


async def _until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - the line's user is told by plain calls
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
async def test_talks_to_real_brokers_and_comes_back(kind: BrokerKind, tmp_path: Path) -> None:
    """Publishes are confirmed and come back on a subscription; after kill -9 of the broker the line is up again."""
    if kind == "mosquitto" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    broker, notebook = Broker(tmp_path, kind), Notebook()
    await asyncio.to_thread(broker.start)
    topics = [f"a/{number}" for number in range(150)]
    line = MqttLine("line", "127.0.0.1", broker.port, topics=topics, user=notebook)
    try:
        line.open()
        for round_ in (1, 2):
            await _until(lambda wanted=round_: line.up and notebook.up == wanted)
            sent = [line.publish(topic, f"{round_}".encode() * 200) for topic in topics]
            await _until(lambda: len(notebook.messages) == len(topics) == len(notebook.confirmed))
            assert sorted(notebook.confirmed) == sorted(sent)
            assert sorted(topic for topic, _ in notebook.messages) == sorted(topics)
            assert {payload for _, payload in notebook.messages} == {f"{round_}".encode() * 200}
            notebook.messages.clear()
            notebook.confirmed.clear()
            if round_ == 1:
                await asyncio.to_thread(broker.kill)
                await _until(lambda: notebook.down == 1)
                await asyncio.to_thread(broker.start)
    finally:
        await line.close()
        broker.kill()


async def test_a_foreign_client_understands_it(tmp_path: Path) -> None:
    """What the line publishes, paho receives, retained messages too."""
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    broker = Broker(tmp_path, "mosquitto")
    await asyncio.to_thread(broker.start)
    line = MqttLine("line", "127.0.0.1", broker.port, topics=["x"], user=Notebook())
    heard: list[tuple[str, bytes, bool]] = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda c, *_: c.subscribe("#")
    client.on_message = lambda _c, _u, message: heard.append((message.topic, message.payload, message.retain))
    try:
        line.open()
        await _until(lambda: line.up)
        line.publish("presence", b"online", retain=True)
        await asyncio.sleep(0.1)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        await _until(lambda: heard)
        assert heard == [("presence", b"online", True)]
    finally:
        client.disconnect()
        client.loop_stop()
        await line.close()
        broker.kill()
