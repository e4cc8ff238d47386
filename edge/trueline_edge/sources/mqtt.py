"""Readings out of other people's MQTT messages: JSON or plain numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import msgspec

from trueline_edge.sources.source import SYSTEM_CLOCK, ChannelConfig, Clock, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trueline_wire.readings import Schema

__all__ = ["MqttSourceConfig"]


class MqttSourceConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="mqtt"
):
    """A broker other devices publish to. One message is one row; channels it does not mention are NaN in it.

    Attributes:
        host: name or address.
        port: 1883 plain, 8883 with TLS.
        username: leave out where the broker asks for none.
        password_file: file whose first line is the password.
        tls: true for TLS, with the broker's name checked.
        ca: PEM file of the authorities trusted; the system's where left out.
        topic: topic filter of all channels that name none.
        time_field: where in a JSON payload the time is; the moment of arrival where left out.
        time_format: as in a replay: "iso", "s", "ms", "us", "ns", or a strptime format.
        zone: IANA name of the zone of local times.
        queue_max: messages that may wait; more are lost, and counted ("overrun").
    """

    host: str
    port: int = 1883
    username: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca: Path | None = None
    topic: str = "#"
    time_field: str = ""
    time_format: str = "iso"
    zone: str = "UTC"
    queue_max: int = 10_000

    channel_keys: ClassVar = ("topic", "field")

    def open(
        self, schema: Schema, channels: Sequence[ChannelConfig], *, rows_max: int, clock: Clock = SYSTEM_CLOCK
    ) -> Source:
        """The source for a stream. Batches have at most `rows_max` rows."""
        raise NotImplementedError
