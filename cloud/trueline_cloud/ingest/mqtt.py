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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from trueline_cloud.ingest.intake import Inbound, Intake
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
        """What paho wants.

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
        self._places: dict[str, tuple[str, str]] = {}
        self._password = settings.password()
        self._tls = None if settings.tls is None else settings.tls.context()
        self._stopping = threading.Event()
        self._client: paho.Client | None = None
        self._reached = self._accepted = self._paused = False
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
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE_S)

    def answer(self, device: str, token: Any, acks: list[bytes]) -> None:  # noqa: ARG002 - topics need no token
        """Publish acknowledgements; lost ones are asked for again by resending."""
        client = self._client
        if client is not None and self.connected:
            topic = ack_topic(device)
            for ack in acks:
                client.publish(topic, ack, qos=0)

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        protocol, back_off_s = MQTTProtocolVersion.MQTTv5, _BACK_OFF_MIN_S
        while not self._stopping.is_set():
            self._reached = self._accepted = False
            self._serve(protocol)
            if self._reached and not self._accepted:  # there is a broker, but it does not speak like this
                other = protocol is MQTTProtocolVersion.MQTTv5
                protocol = MQTTProtocolVersion.MQTTv311 if other else MQTTProtocolVersion.MQTTv5
            back_off_s = _BACK_OFF_MIN_S if self._accepted else min(_BACK_OFF_MAX_S, 2 * back_off_s)
            self._stopping.wait(back_off_s * self._rng.uniform(0.5, 1.0))

    def _serve(self, protocol: MQTTProtocolVersion) -> None:
        """One connection, from connect to its end."""
        client = self._client = self._make(protocol)
        settings = self._settings
        try:
            if protocol is MQTTProtocolVersion.MQTTv5:
                wishes = Properties(PacketTypes.CONNECT)
                wishes.MaximumPacketSize = MESSAGE_SIZE_MAX + 1024
                wishes.ReceiveMaximum = _IN_FLIGHT
                client.connect(settings.host, settings.port, settings.keepalive_s, clean_start=True, properties=wishes)
            else:
                client.connect(settings.host, settings.port, settings.keepalive_s)
            self._reached = True
            give_up_s = time.monotonic() + _CONNACK_S
            while not self._stopping.is_set() and client.loop(_LOOP_S) == MQTTErrorCode.MQTT_ERR_SUCCESS:
                if not self._accepted and time.monotonic() > give_up_s:
                    break  # a broker may also answer a version it does not speak with silence
            client.disconnect()
            client.loop(_LOOP_S)
        except OSError as error:  # covers ssl.SSLError and a name that does not resolve
            _log.warning("broker %s:%d: %s", settings.host, settings.port, error)
        except Exception:  # noqa: BLE001 - a hostile broker's bytes: paho raises many kinds; the connection is over
            _log.exception("broker %s:%d: what it sent cannot be read", settings.host, settings.port)
        finally:
            self.connected = False
            self._client = None

    def _make(self, protocol: MQTTProtocolVersion) -> paho.Client:
        name = f"trueline-cloud-{self._rng.getrandbits(48):012x}"
        five = protocol is MQTTProtocolVersion.MQTTv5
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, clean_session=None if five else True, protocol=protocol
        )
        if self._settings.username:
            client.username_pw_set(self._settings.username, self._password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        return client

    def _on_connect(self, client: paho.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            _log.warning("broker %s:%d refuses us: %s", self._settings.host, self._settings.port, reason)
            return
        self._accepted = True
        client.subscribe([(topic, 1) for topic in subscriptions(self._settings.owned)])

    def _on_subscribe(self, _client: Any, _userdata: Any, _mid: Any, reasons: list[Any], _properties: Any) -> None:
        refused = [reason for reason in reasons if reason.is_failure]
        if refused:
            _log.error("broker %s:%d refuses a subscription: %s", self._settings.host, self._settings.port, refused[0])
            return
        self.connects += 1
        self.connected = True
        _log.info("subscribed at %s:%d", self._settings.host, self._settings.port)

    def _on_disconnect(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self.connected = False
        if not self._stopping.is_set():
            _log.warning("broker %s:%d: disconnected: %s", self._settings.host, self._settings.port, reason)

    def _on_message(self, _client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        if self._paused:
            return
        try:
            topic = message.topic
            place = self._places.get(topic) or device_of(topic)
        except (NeverRetry, UnicodeDecodeError):
            self.strays += 1
            return
        if topic not in self._places:
            if len(self._places) >= _PLACES_MAX:
                self._places.clear()
            self._places[topic] = place
        device, channel = place
        if channel == "presence":
            self._presence(device, message.payload == b"online", message.retain)
        elif channel not in _UP:
            self.strays += 1
        elif not self._intake.put(Inbound(self, device, message.payload), _PATIENCE_S):
            self.dropped += 1
