"""Readings out of other people's MQTT messages: JSON or plain numbers.

Promises: what waits between the broker and the stages is bounded in messages and bytes, and what does not fit is
counted as lost ("overrun"); the connection is made again by itself, with back-off. Refuses to promise what MQTT does
not: what a broker drops while we are away, nobody can count.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from trueline_edge.sources.messages import Message, MessageReader
from trueline_edge.sources.source import SYSTEM_CLOCK, Batch, ChannelConfig, Clock
from trueline_edge.sources.times import TimeReader, check_time_format, check_zone
from trueline_wire.errors import ConfigError
from trueline_wire.settings import Port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from trueline_wire.readings import Schema

__all__ = ["MqttSource", "MqttSourceConfig"]

log: Final = logging.getLogger(__name__)

_QUEUE_MAX: Final = 1_000_000
_QUEUE_BYTES_MAX: Final = 8 << 20
_RECONNECT_MAX_S: Final = 60


class MqttSourceConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="mqtt"
):
    """A broker other devices publish to. One message is one row.

    Channels a message does not mention are NaN in its row: what comes in messages of its own belongs in a stream of
    its own.

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
        queue_max: messages that may wait (and 8 MiB of them); more are lost, and counted ("overrun").
    """

    host: str
    port: Port = 1883
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

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("host must not be empty")
        check_time_format(self.time_format)
        check_zone(self.zone)
        if not 1 <= self.queue_max <= _QUEUE_MAX:
            raise ValueError(f"queue_max {self.queue_max} must be between 1 and {_QUEUE_MAX}")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file without username")
        if self.ca is not None and not self.tls:
            raise ValueError("ca without tls = true")

    def open(
        self, schema: Schema, channels: Sequence[ChannelConfig], *, rows_max: int, clock: Clock = SYSTEM_CLOCK
    ) -> MqttSource:
        """The source for a stream. Batches have at most `rows_max` rows."""
        return MqttSource(self, schema, channels, rows_max=rows_max, clock=clock)


class MqttSource:
    """Listens for one stream."""

    def __init__(
        self,
        config: MqttSourceConfig,
        schema: Schema,
        channels: Sequence[ChannelConfig],
        *,
        rows_max: int,
        clock: Clock,
    ) -> None:
        self._config = config
        self._name = f"{schema.device}/{schema.stream}"
        self._rows_max = rows_max
        self._clock = clock
        self._reader = MessageReader(
            schema,
            channels,
            topic=config.topic,
            time_field=config.time_field,
            times=TimeReader(config.time_format, config.zone, "earlier"),
        )
        self._inbox = _Inbox(config.queue_max)

    def resume(self, offset: bytes) -> None:
        """What was sent before we listen is gone: there is nowhere to go on from."""

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """What comes, for ever."""
        arrived = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._inbox.wake = lambda: loop.call_soon_threadsafe(arrived.set)
        client = self._connect()
        try:
            while True:
                await arrived.wait()
                arrived.clear()
                while True:
                    messages, overrun = self._inbox.take(self._rows_max)
                    if not messages and not overrun:
                        break
                    readings, malformed = self._reader.read(messages)
                    counts = {"overrun": overrun, "malformed_message": malformed}
                    if overrun or malformed:
                        log.warning("%s: lost messages: %s", self._name, counts)
                    yield Batch(readings, b"", {reason: count for reason, count in counts.items() if count})
        finally:
            self._inbox.wake = _nobody
            client.disconnect()
            client.loop_stop()
            if left := self._inbox.waiting:
                log.warning("%s: stopped with messages that nobody took: %d", self._name, left)

    def _connect(self) -> Any:
        import paho.mqtt.client as paho  # noqa: PLC0415 - a configuration can be checked without the extra
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415 - as above

        config = self._config
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)  # what every broker speaks
        if config.username is not None:
            client.username_pw_set(config.username, _password(config.password_file))
        if config.tls:
            client.tls_set(ca_certs=str(config.ca) if config.ca else None)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.reconnect_delay_set(1, _RECONNECT_MAX_S)
        client.connect_async(config.host, config.port)
        client.loop_start()
        return client

    # Called by paho's thread.

    def _on_connect(self, client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            log.warning("%s: the broker %s refuses us: %s", self._name, self._config.host, reason)
            return
        log.info("%s: listening to %s", self._name, ", ".join(self._reader.filters))
        client.subscribe([(topic, 1) for topic in self._reader.filters])

    def _on_disconnect(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        log.info("%s: the broker %s is gone: %s", self._name, self._config.host, reason)

    def _on_message(self, _client: Any, _userdata: Any, message: Any) -> None:
        self._inbox.put(Message(message.topic, message.payload, self._clock.wall_ns()))


def _nobody() -> None:
    """Nobody waits."""


class _Inbox:
    """A bounded queue between paho's thread and the loop."""

    def __init__(self, messages_max: int) -> None:
        self.wake: Callable[[], object] = _nobody
        self._messages_max = messages_max
        self._waiting: deque[Message] = deque()
        self._bytes = 0
        self._overrun = 0
        self._lock = threading.Lock()

    def put(self, message: Message) -> None:
        """Keep a message, or count it as lost."""
        with self._lock:
            size = len(message.payload)
            idle = not self._waiting and not self._overrun
            if len(self._waiting) < self._messages_max and self._bytes + size <= _QUEUE_BYTES_MAX:
                self._waiting.append(message)
                self._bytes += size
            else:
                self._overrun += 1
        if idle:
            self.wake()

    @property
    def waiting(self) -> int:
        """Messages not taken yet."""
        return len(self._waiting)

    def take(self, count: int) -> tuple[list[Message], int]:
        """At most `count` messages, and how many were lost since the last call."""
        with self._lock:
            taken = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
            self._bytes -= sum(len(message.payload) for message in taken)
            overrun, self._overrun = self._overrun, 0
        return taken, overrun


def _password(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return (path.read_text().splitlines() or [""])[0]
    except OSError as error:
        raise ConfigError(f"{path}: the password cannot be read: {error.strerror}") from error
