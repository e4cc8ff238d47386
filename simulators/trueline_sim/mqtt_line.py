"""One MQTT connection that many virtual devices share, on asyncio: paho does the protocol, the loop does the waiting.

Promises: comes back by itself, with jitter, after the broker was away. Promises nothing about what was published: that
is what acknowledgements are for. Refuses to know what it carries.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

__all__ = ["LineUser", "MqttLine"]

_KEEPALIVE_S: Final = 60
_RECONNECT_S: Final = (0.5, 2.0)
_SUBSCRIBE_AT_ONCE: Final = 100


class LineUser(Protocol):
    """Who is behind a line. Called in the loop's thread."""

    def line_up(self, line: MqttLine) -> None:
        """Connected and subscribed."""

    def line_down(self, line: MqttLine) -> None:
        """The connection is gone."""

    def line_message(self, topic: str, payload: bytes) -> None:
        """A message came."""

    def line_confirmed(self, mid: int, line: MqttLine) -> None:
        """The broker has taken what `publish` gave this number."""


class MqttLine:
    """See the module.

    Args:
        name: client id.
        host: of the broker.
        port: of the broker.
        topics: to subscribe to, QoS 0: a lost acknowledgement is followed by another.
        user: who is told.
    """

    def __init__(self, name: str, host: str, port: int, *, topics: Sequence[str], user: LineUser) -> None:
        self._address: Final = (host, port)
        self._topics: Final = topics
        self._user: Final = user
        self._rng: Final = random.Random(name)
        self._task: asyncio.Task[None] | None = None
        self._gone: Final = asyncio.Event()
        self._client: Final = self._make_client(name)
        self.up = False
        """Whether it can carry messages now."""

    def _make_client(self, name: str) -> Any:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv311, clean_session=True)
        client.max_inflight_messages_set(1000)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = lambda _c, _u, message: self._user.line_message(message.topic, message.payload)
        client.on_publish = lambda _c, _u, mid, _reason, _properties: self._user.line_confirmed(mid, self)
        client.on_socket_open = lambda c, _u, sock: self._loop.add_reader(sock, c.loop_read)
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = lambda c, _u, sock: self._loop.add_writer(sock, c.loop_write)
        client.on_socket_unregister_write = lambda _c, _u, sock: self._loop.remove_writer(sock)
        return client

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_event_loop()

    def open(self) -> None:
        """Connect, and stay connected, until `close`."""
        self._task = asyncio.get_running_loop().create_task(self._stay_connected_forever())

    async def close(self) -> None:
        """Say goodbye."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._client.disconnect()
        self._client.loop_write()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Hand a message over, QoS 1. Returns the number `line_confirmed` will name."""
        number: int = self._client.publish(topic, payload, qos=1, retain=retain).mid
        return number

    async def _stay_connected_forever(self) -> None:
        while True:
            self._gone.clear()
            try:
                self._client.connect(*self._address, keepalive=_KEEPALIVE_S)
            except OSError:
                await asyncio.sleep(self._rng.uniform(*_RECONNECT_S))
                continue
            while not self._gone.is_set():
                self._client.loop_misc()
                await asyncio.sleep(1.0)
            await asyncio.sleep(self._rng.uniform(*_RECONNECT_S))

    def _on_connect(self, client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            return
        for start in range(0, len(self._topics), _SUBSCRIBE_AT_ONCE):
            client.subscribe([(topic, 0) for topic in self._topics[start : start + _SUBSCRIBE_AT_ONCE]])
        self.up = True
        self._user.line_up(self)

    def _on_disconnect(self, _client: Any, _userdata: Any, _flags: Any, _reason: Any, _properties: Any) -> None:
        self._gone.set()
        if self.up:
            self.up = False
            self._user.line_down(self)

    def _on_socket_close(self, _client: Any, _userdata: Any, sock: socket.socket) -> None:
        self._loop.remove_reader(sock)
