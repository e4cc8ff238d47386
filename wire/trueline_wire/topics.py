"""Where messages travel: MQTT topic names, CoAP paths, and which shard a device belongs to.

    tl/1/<shard>/<device>/data      records of the data lane, device to cloud
    tl/1/<shard>/<device>/event     records of the event lane, device to cloud
    tl/1/<shard>/<device>/control   STATUS and SCHEMA, device to cloud
    tl/1/<shard>/<device>/ack       acknowledgements, cloud to device
    tl/1/<shard>/<device>/presence  "online" or "offline", retained; the last will says "offline"

Over CoAP a device POSTs the same messages to /tl/1/<device>; the answer's payload is the acknowledgement.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from trueline_wire.errors import NeverRetry

__all__ = ["SHARDS", "ack_topic", "coap_path", "device_of", "presence_topic", "shard_of", "subscriptions", "up_topic"]

SHARDS: Final = 64
"""Devices hash into this many shards. Never change it: it is part of the wire."""

DEVICE_ID: Final = re.compile(r"(?!\.+\Z)[A-Za-z0-9._-]{1,64}")
"""What a device may be called: it is a topic level, a path segment and a file name (so dots alone are no name)."""

_ROOT: Final = "tl/1"


def shard_of(device: str) -> int:
    """The shard of a device, 0 to 63: the first byte of the SHA-256 of its id, modulo 64."""
    return hashlib.sha256(device.encode()).digest()[0] % SHARDS


def up_topic(device: str, channel: str) -> str:
    """Where a device publishes: `channel` is "data", "event" or "control"."""
    return f"{_ROOT}/{shard_of(device)}/{device}/{channel}"


def ack_topic(device: str) -> str:
    """Where a device listens for acknowledgements."""
    return f"{_ROOT}/{shard_of(device)}/{device}/ack"


def presence_topic(device: str) -> str:
    """Where a device's presence is retained."""
    return f"{_ROOT}/{shard_of(device)}/{device}/presence"


def subscriptions(shards: range | None = None) -> list[str]:
    """The filters a consumer of these shards subscribes to (None: all shards in one filter each)."""
    levels = ["+"] if shards is None or len(shards) == SHARDS else [str(shard) for shard in shards]
    return [f"{_ROOT}/{level}/+/{channel}" for level in levels for channel in ("data", "event", "control", "presence")]


def device_of(topic: str) -> tuple[str, str]:
    """The device and the last level of a topic.

    Raises:
        NeverRetry: not one of our topics, or the shard is not the device's.
    """
    parts = topic.split("/")
    if len(parts) != 5 or parts[:2] != ["tl", "1"] or not DEVICE_ID.fullmatch(parts[3]):  # noqa: PLR2004 - tl/1/s/d/c
        raise NeverRetry(f"topic {topic[:120]!r} is not tl/1/<shard>/<device>/<channel>")
    if parts[2] != str(shard_of(parts[3])):
        raise NeverRetry(f"device {parts[3]!r} belongs to shard {shard_of(parts[3])}, not {parts[2][:8]!r}")
    return parts[3], parts[4]


def coap_path(device: str) -> tuple[str, ...]:
    """The path segments a device POSTs to."""
    return ("tl", "1", device)
