"""The MQTT link of the cloud: subscribes by shard, hands messages over in order, publishes acknowledgements.

Promises: back-pressure reaches the broker (while the intake is full nothing is read from the socket); the connection
comes back by itself, with jitter; a broker that speaks only MQTT 3.1.1 is found out. Promises nothing about delivery:
QoS 1 is flow control here, and whatever is lost is sent again by the device. Refuses to know what a message says.
"""

from __future__ import annotations

import logging
import random
import ssl
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trueline_cloud.ingest import mqtt_packets as packets
from trueline_cloud.ingest.intake import Inbound, Intake
from trueline_cloud.ingest.mqtt_line import Line
from trueline_wire.envelope import MESSAGE_SIZE_MAX
from trueline_wire.errors import ConfigError, NeverRetry
from trueline_wire.topics import SHARDS, ack_topic, device_of, subscriptions

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MqttLink", "MqttSettings", "TlsSettings"]

_log = logging.getLogger(__name__)

_BACK_OFF_MIN_S: Final = 0.2
_BACK_OFF_MAX_S: Final = 10.0
_PATIENCE_S: Final = 10.0
"""A message that finds no room for so long is dropped: its device sends it again, s."""
_LOOP_S: Final = 1.0
_CONNACK_S: Final = 3.0
_GATHER_S: Final = 0.003
"""So long we let messages come together behind some that came: they cost less in company, and a commit waits longer."""
_ROOM_S: Final = 0.02
_UP: Final = frozenset({"data", "event", "control"})
_PORT_MAX: Final = 65_535
_IN_FLIGHT: Final = 200
_PLACES_MAX: Final = 20_000


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS 1.2 or later to the broker, its name checked.

    Attributes:
        ca: PEM file of authorities to believe; the system's if not given.
        certificate: our own PEM file, where the broker asks for one.
        key: its key.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: give both or none")

    def context(self) -> ssl.SSLContext:
        """What a socket is wrapped in.

        Raises:
            ConfigError: a file cannot be read.
        """
        try:
            context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate is not None:
                context.load_cert_chain(str(self.certificate), None if self.key is None else str(self.key))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"[mqtt.tls] ca {self.ca}, certificate {self.certificate}: {error}") from error
        return context


class MqttSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the broker is, and which shards are ours.

    Attributes:
        host: its name or address.
        port: its port.
        username: "" for none.
        password_file: the file that holds the password.
        keepalive_s: the broker hears of us at least so often, s.
        shards: first shard, and the one behind the last: [0, 64] is all.
        tls: None for no TLS.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    username: str = ""
    password_file: Path | None = None
    keepalive_s: int = 30
    shards: tuple[int, ...] = (0, SHARDS)
    tls: TlsSettings | None = None

    def __post_init__(self) -> None:
        if not 0 < self.port <= _PORT_MAX:
            raise ValueError(f"port {self.port}: 1 to {_PORT_MAX} are wanted")
        if self.keepalive_s < 5:  # noqa: PLR2004 - below it a slow commit looks like a death
            raise ValueError(f"keepalive_s {self.keepalive_s}: at least 5 are wanted")
        if len(self.shards) != 2 or not 0 <= self.shards[0] < self.shards[1] <= SHARDS:  # noqa: PLR2004 - from, to
            raise ValueError(f"shards {list(self.shards)}: the first and the one behind the last, 0 to {SHARDS}")

    @property
    def owned(self) -> range:
        """The shards that are ours."""
        return range(*self.shards)

    def password(self) -> str | None:
        """The content of the password file.

        Raises:
            ConfigError: it cannot be read.
        """
        if self.password_file is None:
            return None
        try:
            return self.password_file.read_text().strip()
        except OSError as error:
            raise ConfigError(f"[mqtt] password_file {self.password_file}: {error.strerror}") from error


class MqttLink:
    """One connection to a broker, kept alive by a thread of its own.

    Args:
        settings: see `MqttSettings`.
        intake: where messages go.
        presence: told (device, online, whether that was so before we came).
        rng: gives jitter.

    Attributes:
        connected: subscribed, and not disconnected since.
        strays: messages on topics that are none of ours.
        dropped: messages that found no room in time.
        connects: how often it connected.
    """

    def __init__(
        self,
        settings: MqttSettings,
        intake: Intake,
        presence: Callable[[str, bool, bool], None],
        rng: random.Random | None = None,
    ) -> None:
        self.connected = False
        self.strays = self.dropped = self.connects = 0
        self._settings = settings
        self._intake = intake
        self._presence = presence
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._places: dict[bytes, tuple[str, str]] = {}
        self._ack_topics: dict[str, bytes] = {}
        self._password = settings.password()
        self._tls = None if settings.tls is None else settings.tls.context()
        self._stopping = threading.Event()
        self._line: Line | None = None
        self._five = True
        self._paused = False
        self._held: deque[Inbound] = deque()
        self._held_numbers: deque[int] = deque()
        self._stuck_s: float | None = None
        self._cutter = packets.Cutter()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def pause(self) -> None:
        """Hand nothing over any more; answers still go out."""
        self._paused = True

    def stop(self) -> None:
        """Disconnect; messages that were not handed over yet stay with the broker or their devices."""
        self._stopping.set()
        if (line := self._line) is not None:
            line.wake()
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE_S)

    def answer(self, device: str, token: Any, acks: list[bytes]) -> None:  # noqa: ARG002 - topics need no token
        """Publish acknowledgements; lost ones are asked for again by resending."""
        line, five = self._line, self._five
        if line is None or not self.connected or not acks:
            return
        topic = self._ack_topics.get(device)
        if topic is None:
            if len(self._ack_topics) >= _PLACES_MAX:
                self._ack_topics.clear()
            topic = self._ack_topics[device] = ack_topic(device).encode()
        for ack in acks:
            line.offer(packets.publish(topic, ack, five=five))

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        back_off_s = _BACK_OFF_MIN_S
        while not self._stopping.is_set():
            accepted = self._serve()
            back_off_s = _BACK_OFF_MIN_S if accepted else min(_BACK_OFF_MAX_S, 2 * back_off_s)
            self._stopping.wait(back_off_s * self._rng.uniform(0.5, 1.0))

    def _serve(self) -> bool:
        """One connection, from connect to its end. Whether we were accepted; if not, the other version is next."""
        host, port = self._settings.host, self._settings.port
        accepted, line = False, None
        try:
            line = Line(host, port, self._tls)
            try:
                keepalive_s = self._introduce(line)
                accepted = keepalive_s is not None
                if keepalive_s is not None:
                    self._listen(line, keepalive_s)
                    line.send(packets.DISCONNECT)
            finally:
                if not accepted:  # there is a broker, but maybe it does not speak like this
                    self._five = not self._five
        except OSError as error:  # covers ssl.SSLError and a name that does not resolve
            if not self._stopping.is_set():
                _log.warning("broker %s:%d: %s", host, port, error)
        except packets.BrokenBroker as error:
            _log.warning("broker %s:%d: what it sent cannot be read: %s", host, port, error)
        finally:
            self.connected, self._line = False, None
            self._held.clear()
            self._held_numbers.clear()
            if line is not None:
                line.close()
        return accepted

    def _introduce(self, line: Line) -> float | None:
        """CONNECT, SUBSCRIBE. How often the broker wants to hear of us, s; None: it does not want us, or is silent."""
        settings, five = self._settings, self._five
        line.send(
            packets.connect(
                f"trueline-cloud-{self._rng.getrandbits(48):012x}",
                five=five,
                keepalive_s=settings.keepalive_s,
                in_flight=_IN_FLIGHT,
                size_max=MESSAGE_SIZE_MAX + 1024,
                username=settings.username,
                password=self._password,
            )
        )
        self._cutter = packets.Cutter()
        give_up_s = time.monotonic() + _CONNACK_S  # a broker may also answer a version it does not speak with silence
        while not self._stopping.is_set() and time.monotonic() < give_up_s:
            for first, body in self._cutter.cut(line.exchange(_CONNACK_S)):
                if first & 0xF0 != packets.CONNACK:
                    raise packets.BrokenBroker(f"packet {first:#x} before CONNACK")
                welcome = packets.read_connack(body, five=five)
                if welcome.refusal:
                    _log.warning("broker %s:%d refuses us: code %d", settings.host, settings.port, welcome.refusal)
                    return None
                line.send(packets.subscribe(subscriptions(settings.owned), five=five))
                return settings.keepalive_s if welcome.keepalive_s is None else welcome.keepalive_s
        return None

    def _listen(self, line: Line, keepalive_s: float) -> None:
        """Until the connection ends, which is an exception, or we are to stop."""
        self._line = line
        heard_s = said_s = time.monotonic()
        while not self._stopping.is_set():
            if self._held:
                self._hand_over(line, _ROOM_S)
            # What is not taken off the socket waits at the broker, and then with the devices.
            chunk = line.exchange(_ROOM_S if self._held else _LOOP_S, reading=not self._held)
            now = time.monotonic()
            if chunk:
                heard_s = now
                self._take(line, self._cutter.cut(chunk))
                time.sleep(_GATHER_S)
            elif self._held:
                heard_s = now
            if keepalive_s and now - said_s > keepalive_s / 2:
                line.send(packets.PINGREQ)
                said_s = now
            if keepalive_s and now - heard_s > 1.5 * keepalive_s:
                raise TimeoutError("nothing was heard of it for too long")

    def _take(self, line: Line, cut: list[tuple[int, bytes]]) -> None:
        five = self._five
        for first, body in cut:
            kind = first & 0xF0
            if kind == packets.PUBLISH:
                topic, payload, number, retained = packets.read_publish(first, body, five=five)
                inbound = self._inbound(topic, payload, retained=retained)
                if inbound is not None:
                    self._held.append(inbound)
                    self._held_numbers.append(number)
                elif number:
                    line.send(packets.pubacks([number]))
            elif kind == packets.SUBACK:
                self._subscribed(packets.read_suback(body, five=five), line)
            elif kind == packets.DISCONNECT[0]:
                raise ConnectionResetError(f"the broker ends it: reason {body[0] if body else 0:#x}")
            elif kind != packets.PINGRESP:
                raise packets.BrokenBroker(f"packet {first:#x}")
        if self._held:
            self._hand_over(line, 0.0)

    def _hand_over(self, line: Line, wait_s: float) -> None:
        """To the intake, as many as it has room for; these are confirmed to the broker."""
        now, numbers = time.monotonic(), self._held_numbers
        taken = self._intake.put_all(self._held, wait_s)
        if taken:
            self._stuck_s = None
        elif self._stuck_s is None:
            self._stuck_s = now
        elif now - self._stuck_s > _PATIENCE_S:
            self._stuck_s, taken = None, len(self._held)
            self.dropped += taken
        for _ in range(taken):
            self._held.popleft()
        if confirmed := [number for number in (numbers.popleft() for _ in range(taken)) if number]:
            line.send(packets.pubacks(confirmed))

    def _subscribed(self, refused: list[int], line: Line) -> None:
        host, port = self._settings.host, self._settings.port
        if refused:
            _log.error("broker %s:%d refuses a subscription: reason %#x", host, port, refused[0])
            return
        self.connects += 1
        self.connected = self._line is line
        _log.info("subscribed at %s:%d", host, port)

    def _inbound(self, topic: bytes, payload: bytes, *, retained: bool) -> Inbound | None:
        """What is for the intake; presence goes its own way, and strays nowhere."""
        if self._paused:
            return None
        place = self._places.get(topic)
        if place is None:
            try:
                place = device_of(topic.decode())
            except (NeverRetry, UnicodeDecodeError):
                self.strays += 1
                return None
            if len(self._places) >= _PLACES_MAX:
                self._places.clear()
            self._places[topic] = place
        device, channel = place
        if channel in _UP:
            return Inbound(self, device, payload)
        if channel == "presence":
            self._presence(device, payload == b"online", retained)
        else:
            self.strays += 1
        return None
