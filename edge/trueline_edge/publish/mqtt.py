"""MQTT on paho: QoS 1 as flow control and nothing more, a clean session, one client object per connection.

Promises: speaks MQTT 5 first and 3.1.1 where 5 is refused; no message outlives its connection (a new client for each);
the broker's Receive Maximum and Maximum Packet Size are kept; a broker that sends rubbish, sends too much or hangs up
is left and tried again later, with jitter. Presence is retained; the last will says "offline".

All of paho runs in one thread of this link: its client is not safe to write from two.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from paho.mqtt.client import Client, MQTTErrorCode, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from trueline_edge.publish.link import RETRY_MAX_S, Backoff, fits
from trueline_wire.envelope import MESSAGE_SIZE_MAX
from trueline_wire.topics import ack_topic, presence_topic, up_topic

if TYPE_CHECKING:
    import random

    from trueline_edge.publish.config import MqttLinkConfig
    from trueline_edge.publish.link import Events
    from trueline_wire.delivery import Transmit

__all__ = ["MqttLink"]

_LOG: Final = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S: Final = 10.0
_ANSWER_TIMEOUT_S: Final = {MQTTProtocolVersion.MQTTv5: 3.0, MQTTProtocolVersion.MQTTv311: 10.0}
"""Some brokers answer a version they do not know with silence, so the first attempt is a short one."""
_KEPT_FREE: Final = 4
"""Messages of the broker's Receive Maximum kept for events, control and presence."""
_TOPIC_OVERHEAD: Final = 160
_PACKET_IN_MAX: Final = 4 * MESSAGE_SIZE_MAX
_QOS2_MAX: Final = 64
_OUTBOX_MAX: Final = 256
_STEADY_S: Final = 10.0
_GOODBYE_S: Final = 1.0


class _BoundedClient(Client):  # type: ignore[misc]  # paho is not typed for us
    """Leaves a broker that announces a larger packet than an agent takes, before a byte of it is read or held."""

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > _PACKET_IN_MAX:  # paho asks for what is left of the packet
            raise ConnectionAbortedError(f"the broker announces a packet of {bufsize} bytes")
        received: bytes = super()._sock_recv(bufsize)
        return received


class _Left(Exception):  # noqa: N818 - says what is the case
    """This connection is over; the message says why."""


class MqttLink:
    """A link to an MQTT broker.

    Args:
        config: see `MqttLinkConfig`.
        device: the device's id.
        rng: gives the jitter.
        retry_max_s: the longest wait before the broker is tried again.
    """

    def __init__(
        self, config: MqttLinkConfig, device: str, *, rng: random.Random, retry_max_s: float = RETRY_MAX_S
    ) -> None:
        self._config = config
        self._device = device
        self._backoff = Backoff(rng, retry_max_s)
        self._protocol = MQTTProtocolVersion.MQTTv5
        self._session: _Session | None = None

    @property
    def name(self) -> str:
        """Protocol and address."""
        return f"mqtt://{self._config.host}:{self._config.port}"

    async def run(self, events: Events) -> None:
        """See `Link.run`."""
        loop = asyncio.get_running_loop()
        stop = threading.Event()
        done = asyncio.Event()

        def work() -> None:
            try:
                self._keep_up(events, stop)
            finally:
                with contextlib.suppress(RuntimeError):  # the loop may be gone before a slow connect is
                    loop.call_soon_threadsafe(done.set)

        thread = threading.Thread(target=work, name=self.name, daemon=True)
        thread.start()
        try:
            await done.wait()
            raise RuntimeError(f"{self.name}: the link's thread ended by itself")
        finally:
            stop.set()
            session = self._session
            if session is not None:
                session.wake()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * _GOODBYE_S):
                    await done.wait()

    def send(self, transmit: Transmit) -> None:
        """See `Link.send`."""
        session = self._session
        if session is not None:
            session.put(transmit)

    def _keep_up(self, events: Events, stop: threading.Event) -> None:
        while not stop.is_set():
            stop.wait(self._connect_once(events, stop))

    def _connect_once(self, events: Events, stop: threading.Event) -> float:
        """One connection, from beginning to end; how long to wait before the next."""
        began_s = time.monotonic()
        try:
            # Made anew each time: nothing is left of the last one, and renewed certificates are read.
            session = _Session(self._config, self._device, self._protocol, events, stop)
        except OSError as error:  # a password or certificate that cannot be read, yet
            _LOG.warning("no connection can be tried", extra={"link": self.name, "reason": str(error)})
            return self._backoff.next_s()
        with contextlib.closing(session):
            self._session = session
            try:
                session.run()
            except (_Left, OSError) as error:
                _LOG.warning("link lost", extra={"link": self.name, "reason": str(error) or repr(error)})
            finally:
                self._session = None
        if session.was_up and time.monotonic() - began_s > _STEADY_S:
            self._backoff.reset()
        if session.reached and not session.answered and self._other_protocol():
            return 0.0
        return self._backoff.next_s()

    def _other_protocol(self) -> bool:
        """Try the other version next. True: at once, without a wait."""
        downgrade = self._protocol == MQTTProtocolVersion.MQTTv5
        self._protocol = MQTTProtocolVersion.MQTTv311 if downgrade else MQTTProtocolVersion.MQTTv5
        return bool(downgrade)


class _Session:
    """One connection, from its first packet to its last."""

    def __init__(
        self,
        config: MqttLinkConfig,
        device: str,
        protocol: MQTTProtocolVersion,
        events: Events,
        stop: threading.Event,
    ) -> None:
        self.reached = False
        """TCP (and TLS) worked."""
        self.answered = False
        """The broker took this version of the protocol (or refused for another reason)."""
        self.was_up = False
        self._config = config
        self._device = device
        self._events = events
        self._stop = stop
        self._over: str | None = None
        self._message_max = MESSAGE_SIZE_MAX
        self._window = 1 << 16
        self._receive_max = 1 << 16
        self._outbox: deque[Transmit] = deque(maxlen=_OUTBOX_MAX)
        self._ours: set[int] = set()
        self._client = self._make_client(protocol)
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.settimeout(0.0)
        self._wake_out.settimeout(0.0)

    def _make_client(self, protocol: MQTTProtocolVersion) -> Client:
        is_old = protocol == MQTTProtocolVersion.MQTTv311
        client = _BoundedClient(
            CallbackAPIVersion.VERSION2,
            client_id=f"trueline-{self._device}",
            clean_session=True if is_old else None,
            protocol=protocol,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(65535)  # bounded here instead, by what the broker says
        client.will_set(presence_topic(self._device), b"offline", qos=1, retain=True)
        config = self._config
        if config.username is not None:
            password = None
            if config.password_file is not None:
                password = config.password_file.read_text().partition("\n")[0].strip()
            client.username_pw_set(config.username, password)
        if config.tls is not None:
            paths = (config.tls.ca, config.tls.certificate, config.tls.key)
            client.tls_set(*(None if path is None else str(path) for path in paths))
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    # ------------------------------------------------------------ from other threads

    def put(self, transmit: Transmit) -> None:
        """Queue a message for this connection."""
        if not fits(transmit.message, self._message_max):
            _LOG.error("message too large for this link", extra={"bytes": len(transmit.message)})
            self._events.confirmed()
            return
        self._outbox.append(transmit)
        self.wake()

    def wake(self) -> None:
        """Look at the queue, or at the stop."""
        with contextlib.suppress(OSError):  # full: it will wake; closed: there is nobody to wake
            self._wake_out.send(b"w")

    # ------------------------------------------------------------ in the link's thread

    def run(self) -> None:
        """Connect and stay.

        Raises:
            _Left: it is over.
            OSError: the network says no.
        """
        # Foreign bytes: paho raises many kinds on packets it cannot read, and each means the same to us.
        try:
            self._connect()
            self._turn_until(lambda: False)
        except (_Left, OSError):
            raise
        except Exception as error:
            raise _Left(f"the broker sent what cannot be read: {error!r}"[:200]) from error

    def _connect(self) -> None:
        keepalive = self._config.keepalive_s
        if self._client.protocol == MQTTProtocolVersion.MQTTv5:
            self._client.connect(self._config.host, self._config.port, keepalive, clean_start=True)
        else:
            self._client.connect(self._config.host, self._config.port, keepalive)
        self.reached = True
        timeout_s = _ANSWER_TIMEOUT_S[self._client.protocol]
        deadline = time.monotonic() + timeout_s
        self._turn_until(lambda: self.was_up or time.monotonic() > deadline)
        if not self.was_up and not self._stop.is_set():
            raise _Left(f"no answer within {timeout_s:.0f} s")

    def _turn_until(self, finished: Any) -> None:
        """Read, write and keep alive until something finishes, the link is stopped, or it is over."""
        with selectors.DefaultSelector() as selector:
            sock: Any = self._client.socket()
            if sock is None:
                raise _Left(self._over or "closed")
            selector.register(self._wake_in, selectors.EVENT_READ)
            selector.register(sock, selectors.EVENT_READ)
            while not finished():
                if self._stop.is_set():
                    self._say_goodbye()
                    return
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._client.want_write() else 0)
                selector.modify(sock, wanted)
                pending = getattr(sock, "pending", None)
                ready = selector.select(0.0 if pending is not None and pending() else 1.0)
                mask = {key.fileobj: events for key, events in ready}
                self._turn(sock, mask, readable=bool(pending is not None and pending()))

    def _turn(self, sock: Any, mask: dict[Any, int], *, readable: bool) -> None:
        if self._wake_in in mask:
            with contextlib.suppress(BlockingIOError):
                self._wake_in.recv(4096)
        events = mask.get(sock, 0)
        if readable or events & selectors.EVENT_READ:
            self._take(self._client.loop_read())
            self._check_bounds()
        if events & selectors.EVENT_WRITE:
            self._take(self._client.loop_write())
        self._take(self._client.loop_misc())
        while self.was_up and self._outbox and len(self._ours) < max(self._receive_max - 1, 1):
            self._publish(self._outbox.popleft())

    def _publish(self, transmit: Transmit) -> None:
        info = self._client.publish(up_topic(self._device, transmit.channel), transmit.message, qos=1)
        self._take(info.rc)
        self._ours.add(info.mid)

    def _take(self, code: MQTTErrorCode) -> None:
        if self._over is not None or code not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_AGAIN):
            raise _Left(self._over or code.name)

    def _check_bounds(self) -> None:
        """A broker may not make us hold more than we mean to."""
        client: Any = self._client
        if len(client._in_messages) > _QOS2_MAX:  # noqa: SLF001 - paho does not bound them
            raise _Left("the broker sends more than an agent takes")

    def _say_goodbye(self) -> None:
        if not self.was_up:
            return
        last = self._client.publish(presence_topic(self._device), b"offline", qos=1, retain=True)
        deadline = time.monotonic() + _GOODBYE_S
        while not last.is_published() and time.monotonic() < deadline:
            self._take(self._client.loop(0.05))
        self._client.disconnect()

    def close(self) -> None:
        """Let go of everything; tell that the link is down if it was up."""
        sock: Any = self._client.socket()
        if sock is not None:
            sock.close()
        self._wake_in.close()
        self._wake_out.close()
        if self.was_up:
            self._events.disconnected()

    # ------------------------------------------------------------ paho's callbacks

    def _on_connect(self, client: Client, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        unsupported = reason.value in (0x84, 0x01)
        self.answered = not unsupported
        if reason.is_failure:
            self._over = f"refused: {reason}"
            return
        receive_max = getattr(properties, "ReceiveMaximum", 65535)
        # Its setter refuses on a connection, for fear of messages in flight: here there are none yet.
        client._max_inflight_messages = receive_max  # noqa: SLF001 - as above
        self._window = max(receive_max - _KEPT_FREE, 1)
        packet_max = getattr(properties, "MaximumPacketSize", MESSAGE_SIZE_MAX + _TOPIC_OVERHEAD)
        self._message_max = min(MESSAGE_SIZE_MAX, packet_max - _TOPIC_OVERHEAD)
        client.subscribe(ack_topic(self._device), qos=1)

    def _on_subscribe(self, client: Client, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self._over = f"subscription refused: {reasons[0]}"
            return
        client.publish(presence_topic(self._device), b"online", qos=1, retain=True)
        self.was_up = True
        self._events.connected(window_frames=self._window, message_max=self._message_max)

    def _on_disconnect(self, _client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._over = self._over or f"disconnected: {reason}"

    def _on_publish(self, _client: Client, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        if mid not in self._ours:
            return
        self._ours.discard(mid)
        if reason.is_failure:
            _LOG.warning("the broker did not take a message", extra={"reason": str(reason)})
        self._events.confirmed()

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.topic == ack_topic(self._device) and len(message.payload) <= MESSAGE_SIZE_MAX:
            self._events.received(bytes(message.payload))
