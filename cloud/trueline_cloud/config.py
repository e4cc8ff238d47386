"""The service's configuration: one TOML file, composed of what each room says it needs.

Promises: settings that exist are valid, and paths in them are relative to the file's folder. Refuses to act on them.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Final

import msgspec

from trueline_cloud.ingest.coap import CoapSettings
from trueline_cloud.ingest.mqtt import MqttSettings
from trueline_cloud.ingest.worker import CommitSettings
from trueline_wire.errors import ConfigError
from trueline_wire.settings import load_toml

__all__ = ["CloudSettings", "HttpSettings", "JournalSettings", "load_settings", "read_token"]

_PORT_MAX: Final = 65_535
_TOKEN_SIZE_MIN: Final = 16


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where pages and API are.

    Attributes:
        host: address; anything but loopback asks for a token.
        port: 0 is any free port, named in the line `ready`.
        token_file: the file that holds the token, at least 16 characters.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token_file: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= _PORT_MAX:
            raise ValueError(f"port {self.port}: 0 to {_PORT_MAX} are wanted")
        if self.token_file is None and not _is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} can be reached from elsewhere: name a token_file beside it, or bind to 127.0.0.1"
            )


class JournalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When is committed, and what is kept how long.

    Attributes:
        commit_interval_ms: an open group is committed so long after its first message, ms.
        retention_days: frames received so long ago are deleted, days; 0 keeps them for ever.
        quarantine_records_max: records kept aside, at most.
        quarantine_bytes_max: their bytes, at most.
    """

    commit_interval_ms: float = 100.0
    retention_days: float = 0.0
    quarantine_records_max: int = 10_000
    quarantine_bytes_max: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        if not 0 <= self.commit_interval_ms <= 5_000:  # noqa: PLR2004 - a CoAP request waits no longer
            raise ValueError(f"commit_interval_ms {self.commit_interval_ms}: 0 to 5000 are wanted")
        if self.retention_days < 0:
            raise ValueError(f"retention_days {self.retention_days}: 0 (for ever) or more is wanted")
        for name in ("quarantine_records_max", "quarantine_bytes_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: at least 1 is wanted")

    @property
    def commit(self) -> CommitSettings:
        """As the ingest thread wants it."""
        return CommitSettings(interval_s=self.commit_interval_ms / 1000, retention_days=self.retention_days)


class CloudSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it.

    Attributes:
        state: the folder for key, journal and enrolled devices.
        mqtt: None: no MQTT.
        coap: None: no CoAP.
        http: pages and API.
        journal: the store.
    """

    state: Path
    mqtt: MqttSettings | None = None
    coap: CoapSettings | None = None
    http: HttpSettings = HttpSettings()
    journal: JournalSettings = JournalSettings()


def load_settings(path: Path | None) -> CloudSettings:
    """The settings in a file; without one: state/cloud here, MQTT, CoAP and HTTP at their usual ports on loopback.

    Raises:
        ConfigError: the file has mistakes; the message lists every one.
    """
    if path is None:
        return CloudSettings(state=Path("state/cloud"), mqtt=MqttSettings(), coap=CoapSettings())
    return load_toml(path, CloudSettings)


def read_token(http: HttpSettings) -> str | None:
    """The token the API asks for.

    Raises:
        ConfigError: the file cannot be read, or what it holds is guessed too easily.
    """
    if http.token_file is None:
        return None
    try:
        token = http.token_file.read_text().strip()
    except OSError as error:
        raise ConfigError(f"[http] token_file {http.token_file}: {error.strerror}") from error
    if len(token) < _TOKEN_SIZE_MIN:
        raise ConfigError(
            f"[http] token_file {http.token_file}: at least {_TOKEN_SIZE_MIN} characters are wanted;"
            " `openssl rand -hex 32` makes a good one"
        )
    return token
