"""How a link is described: the tables `[[link]]`, in order of preference."""

from __future__ import annotations

from pathlib import Path

import msgspec

from trueline_wire.settings import Port

__all__ = ["CoapLinkConfig", "LinkConfig", "MqttLinkConfig", "TlsConfig"]

_KEEPALIVE_MAX_S = 65535


class TlsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS 1.2 or later, with the broker's name checked. There is no way to switch the check off.

    Attributes:
        ca: PEM file of the authorities trusted; the system's where left out.
        certificate: PEM file of the device's own certificate, where the broker asks for one.
        key: PEM file of its key.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: give both or neither")


class MqttLinkConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="protocol", tag="mqtt"
):
    """An MQTT broker (5, and 3.1.1 where it knows no better).

    Attributes:
        host: name or address.
        port: 1883 plain, 8883 with TLS.
        username: leave out where the broker asks for none.
        password_file: file whose first line is the password; passwords never stand in a configuration.
        keepalive_s: how often the link is probed when nothing is said.
        tls: the table `[link.tls]`; without it the link is plain.
    """

    host: str
    port: Port = 1883
    username: str | None = None
    password_file: Path | None = None
    keepalive_s: int = 30
    tls: TlsConfig | None = None

    def __post_init__(self) -> None:
        _check_host(self.host)
        if not 1 <= self.keepalive_s <= _KEEPALIVE_MAX_S:
            raise ValueError(f"keepalive_s {self.keepalive_s} must be between 1 and {_KEEPALIVE_MAX_S}")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file without username")


class CoapLinkConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="protocol", tag="coap"
):
    """The cloud's CoAP port, over UDP. Frames are signed; they are not encrypted.

    Attributes:
        host: name or address.
        port: 5683 by custom.
    """

    host: str
    port: Port = 5683

    def __post_init__(self) -> None:
        _check_host(self.host)


LinkConfig = MqttLinkConfig | CoapLinkConfig


def _check_host(host: str) -> None:
    if not host:
        raise ValueError("host must not be empty")
