"""Other people's messages."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

import numpy as np
import paho.mqtt.client as paho
import pytest
from edge_sources import lost, schema_of
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from trueline_edge.sources import Batch, ChannelConfig, Clock, MqttSourceConfig
from trueline_edge.sources.messages import Message, MessageReader, field_steps, topic_matches
from trueline_edge.sources.mqtt import MqttSource
from trueline_edge.sources.times import TimeReader
from trueline_sim.processes import Broker, find_mosquitto
from trueline_wire.readings import Flag, Readings, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from trueline_edge.sources import Source

CHANNELS = [
    ChannelConfig(name="t", field="values.t", topic="hall/+/climate"),
    ChannelConfig(name="h", field="/values/list/1", topic="hall/+/climate"),
    ChannelConfig(name="plain", topic="meter/power"),
]


def read(*messages: tuple[str, bytes], time_field: str = "") -> tuple[Readings, int]:
    reader = MessageReader(schema_of(CHANNELS), CHANNELS, topic="#", time_field=time_field, times=TimeReader("ms"))
    return reader.read([Message(topic, payload, 7 + n) for n, (topic, payload) in enumerate(messages)])


def row(topic: str, payload: bytes) -> tuple[list[float | None], list[int]]:
    """The values of a message's row, and the channels that could not be read."""
    readings, malformed = read((topic, payload))
    assert malformed == 0
    values = [None if np.isnan(value) else value for value in readings.value[0].tolist()]
    bad = np.flatnonzero(readings.reason[0] & np.uint32(Reason.UNPARSABLE)).tolist()
    assert all(readings.flag[0, k] == Flag.MISSING for k in bad)
    return values, bad


PAYLOADS: dict[str, tuple[str, bytes, list[float | None], list[int]]] = {
    "json": ("hall/n/climate", b'{"values": {"t": 21.5, "list": [0, 40]}}', [21.5, 40.0, None], []),
    "numbers as text": ("hall/n/climate", b'{"values": {"t": "21.5", "list": [0, " 40 "]}}', [21.5, 40.0, None], []),
    "switches": ("hall/n/climate", b'{"values": {"t": true, "list": [0, false]}}', [1.0, 0.0, None], []),
    "null is missing": ("hall/n/climate", b'{"values": {"t": null, "list": [0, 40]}}', [None, 40.0, None], []),
    "not mentioned": ("hall/n/climate", b'{"values": {"list": [0]}}', [None, None, None], []),
    "words": ("hall/n/climate", b'{"values": {"t": "warm", "list": [0, {}]}}', [None, None, None], [0, 1]),
    "no json": ("hall/n/climate", b"\xff\xfe{", [None, None, None], [0, 1]),
    "nothing": ("hall/n/climate", b"", [None, None, None], [0, 1]),
    "too large": ("hall/n/climate", b'{"values": {"t": ' + b"9" * 400 + b"}}", [None, None, None], [0]),
    "plain": ("meter/power", b"1234.5", [None, None, 1234.5], []),
    "plain, not as JSON writes it": ("meter/power", b" +1.50 \n", [None, None, 1.5], []),
    "plain, wrong": ("meter/power", b"off", [None, None, None], [2]),
    "a document where a number was meant": ("meter/power", b'{"w": 1}', [None, None, None], [2]),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_message_is_a_row(name: str) -> None:
    """Numbers are found by topic and field; what is not mentioned is NaN; what is no number is flagged."""
    topic, payload, values, bad = PAYLOADS[name]
    assert row(topic, payload) == (values, bad)


def test_time_comes_from_the_payload_or_from_arrival() -> None:
    """Without a time field it is the arrival; with one it is the message's own, and a message without it is lost."""
    readings, malformed = read(("meter/power", b"1"), ("meter/power", b"2"))
    assert (readings.time_ns.tolist(), malformed) == ([7, 8], 0)
    messages = [("meter/power", json.dumps({"sent": sent}).encode()) for sent in (5, "6", 7.25, None, "x", True)]
    readings, malformed = read(*messages, ("meter/power", b"{}"), ("meter/power", b"1"), time_field="sent")
    assert (readings.time_ns.tolist(), malformed) == ([5_000_000, 6_000_000, 7_250_000], 5)


@given(st.binary(max_size=40), st.sampled_from(["hall/x/climate", "meter/power", "else"]))
def test_no_payload_is_too_strange(payload: bytes, topic: str) -> None:
    """Law: whatever comes becomes a row or is counted."""
    readings, malformed = read((topic, payload), time_field="a.0")
    assert len(readings) + malformed == 1


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("a/+/c", "a//c", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "a/b", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("a/b", "a/B", False),
    ],
)
def test_topic_filters_are_those_of_mqtt(topic_filter: str, topic: str, expected: bool) -> None:  # noqa: FBT001 - a table
    """The examples of MQTT 5, section 4.7."""
    assert topic_matches(topic_filter, topic) is expected


def test_a_field_is_dotted_or_a_pointer() -> None:
    """RFC 6901 where it begins with a slash."""
    assert field_steps("a.b.0") == ("a", "b", "0")
    assert field_steps("/a.b/x~1y~0/") == ("a.b", "x/y~", "")
    assert field_steps("") == ()


def test_no_topic_is_asked_for_twice() -> None:
    """A filter another one covers is left out: a broker may send such a message once for each."""
    channels = [ChannelConfig(name=str(n), topic=t) for n, t in enumerate(["a/b", "a/+", "a/b", "c", "c/#", "d/e"])]
    reader = MessageReader(schema_of(channels), channels, topic="x", time_field="", times=TimeReader())
    assert reader.filters == ["a/+", "c/#", "d/e"]


def test_what_does_not_fit_is_counted() -> None:
    """The queue is bounded in messages and in bytes, and says how many it could not take."""
    source = MqttSource(
        MqttSourceConfig(host="h", queue_max=3), schema_of(CHANNELS), CHANNELS, rows_max=2, clock=_stopped()
    )
    for size in (1, 1, 1, 1, 1):
        source._inbox.put(Message("t", b"x" * size, 0))
    assert [(len(taken), overrun) for taken, overrun in (source._inbox.take(2) for _ in range(3))] == [
        (2, 2),
        (1, 0),
        (0, 0),
    ]
    for size in (5 << 20, 5 << 20, 1):
        source._inbox.put(Message("t", b"x" * size, 0))
    taken, overrun = source._inbox.take(9)
    assert ([len(message.payload) for message in taken], overrun) == ([5 << 20, 1], 1)


def _stopped() -> Clock:
    return Clock(wall_ns=lambda: 42)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    broker = Broker(tmp_path / "broker", "mosquitto")
    broker.start()
    yield broker
    broker.stop()


async def publish(port: int, messages: list[tuple[str, bytes]]) -> None:
    def work() -> None:
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", port)
        client.loop_start()
        infos = [client.publish(topic, payload, qos=1) for topic, payload in messages]
        for info in infos:
            info.wait_for_publish(10)
        client.disconnect()
        client.loop_stop()

    await asyncio.to_thread(work)


class Ear:
    """Listens to a source in the background."""

    def __init__(self, source: Source) -> None:
        self.batches: list[Batch] = []
        self._task = asyncio.create_task(self._listen(source))

    async def _listen(self, source: Source) -> None:
        async with aclosing(source.batches()) as batches:
            async for batch in batches:
                self.batches.append(batch)

    def heard(self, k: int) -> list[float]:
        """What came on a channel."""
        columns = [batch.readings.value[:, k] for batch in self.batches]
        return [value for column in columns for value in column[~np.isnan(column)].tolist()]

    async def until(self, true: Callable[[], bool], feed: Callable[[], Awaitable[None]] | None = None) -> None:
        deadline = time.monotonic() + 30
        while not true():
            assert time.monotonic() < deadline, "nothing came"
            if feed is not None:
                await feed()
            await asyncio.sleep(0.1)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def test_messages_of_a_real_broker_become_readings(broker: Broker) -> None:
    """What is published while we listen comes once and in order, in bounded batches; also after the broker was away."""
    config = MqttSourceConfig(host="127.0.0.1", port=broker.port)
    ear = Ear(config.open(schema_of(CHANNELS), CHANNELS, rows_max=5, clock=_stopped()))
    try:
        await ear.until(lambda: 1.0 in ear.heard(2), lambda: publish(broker.port, [("meter/power", b"1")]))
        many = [("hall/n/climate", json.dumps({"values": {"t": n}}).encode()) for n in range(200)]
        await publish(broker.port, many)
        await ear.until(lambda: len(ear.heard(0)) >= 200)
        assert ear.heard(0) == [float(n) for n in range(200)]
        broker.kill()
        broker.start()
        await ear.until(lambda: 2.0 in ear.heard(2), lambda: publish(broker.port, [("meter/power", b"2")]))
    finally:
        await ear.close()
    assert lost(ear.batches) == {}
    assert all(len(batch.readings) <= 5 for batch in ear.batches)
    assert all(batch.readings.time_ns.tolist() == [42] * len(batch.readings) for batch in ear.batches)
