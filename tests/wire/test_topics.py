"""Topics, paths and shards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_wire.errors import NeverRetry
from trueline_wire.topics import (
    SHARDS,
    ack_topic,
    coap_path,
    device_of,
    presence_topic,
    shard_of,
    subscriptions,
    up_topic,
)

DEVICES = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", fullmatch=True)


@given(DEVICES, st.sampled_from(["data", "event", "control"]))
def test_a_topic_names_its_device(device: str, channel: str) -> None:
    """What is published is understood, and lies in a shard of its own."""
    assert device_of(up_topic(device, channel)) == (device, channel)
    assert device_of(ack_topic(device)) == (device, "ack")
    assert device_of(presence_topic(device)) == (device, "presence")
    assert 0 <= shard_of(device) < SHARDS
    assert coap_path(device) == ("tl", "1", device)


def test_shards_never_change() -> None:
    """A device stays in its shard: the number is part of the wire."""
    assert [shard_of(device) for device in ("pump-7", "skab-valve-1", "a")] == [26, 34, 10]
    assert up_topic("pump-7", "data") == "tl/1/26/pump-7/data"


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "tl/1/26/pump-7",
        "tl/1/26/pump-7/data/more",
        "tl/2/63/pump-7/data",
        "xx/1/63/pump-7/data",
        "tl/1/62/pump-7/data",
        "tl/1/026/pump-7/data",
        "tl/1/+/pump-7/data",
        "tl/1/26//data",
        "tl/1/26/pump 7/data",
        "tl/1/26/../data",
        "tl/1/26/./data",
        "tl/1/26/pump-7\n/data",
        f"tl/1/26/{'a' * 65}/data",
    ],
)
def test_foreign_topics_are_refused(topic: str) -> None:
    """Another root, version or shard, and names that are no device's (or would climb out of a folder), are refused."""
    with pytest.raises(NeverRetry):
        device_of(topic)


def test_a_consumer_subscribes_to_its_shards() -> None:
    """All shards take four filters; some shards take four each, and together they miss nothing."""
    assert subscriptions() == [f"tl/1/+/+/{channel}" for channel in ("data", "event", "control", "presence")]
    assert subscriptions(range(SHARDS)) == subscriptions()
    halves = subscriptions(range(32)) + subscriptions(range(32, 64))
    assert len(halves) == len(set(halves)) == 4 * SHARDS
    assert "tl/1/26/+/event" in halves
