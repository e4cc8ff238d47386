"""What the service's configuration promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trueline_cloud.config import HttpSettings, load_settings, read_token
from trueline_cloud.ingest.coap import CoapSettings
from trueline_cloud.ingest.mqtt import MqttSettings
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def test_without_a_file() -> None:
    """Without a file everything listens on loopback at its usual port."""
    settings = load_settings(None)
    assert (settings.mqtt, settings.coap) == (MqttSettings(), CoapSettings())
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 8080)


def test_file(tmp_path: Path) -> None:
    """A file says what it says; links it does not name are off; paths are relative to it."""
    path = tmp_path / "cloud.toml"
    path.write_text('state = "here"\n[mqtt]\nport = 1884\nshards = [0, 32]\n[journal]\ncommit_interval_ms = 50\n')
    settings = load_settings(path)
    assert settings.state == tmp_path / "here"
    assert settings.mqtt is not None
    assert (settings.mqtt.port, settings.mqtt.owned) == (1884, range(32))
    assert settings.coap is None
    assert settings.journal.commit.interval_s == 0.05


def test_every_mistake_is_named(tmp_path: Path) -> None:
    """All mistakes are named at once, with key and line."""
    path = tmp_path / "cloud.toml"
    path.write_text(
        'state = "s"\n[mqtt]\nprot = 1\n[coap]\nport = 70000\n[journal]\nretention_days = -1\n'
        '[http]\nhost = "0.0.0.0"\n'
    )
    with pytest.raises(ConfigError) as raised:
        load_settings(path)
    for word in ("mqtt.prot", "coap.port", "journal.retention_days", "token_file", "line 3", "line 5", "line 7"):
        assert word in str(raised.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "cloud.example"])  # noqa: S104 - what is refused
def test_elsewhere_needs_a_token(host: str, tmp_path: Path) -> None:
    """HTTP that can be reached from elsewhere is refused without a token file."""
    with pytest.raises(ValueError, match="token_file"):
        HttpSettings(host=host)
    assert HttpSettings(host=host, token_file=tmp_path / "token").host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    """Loopback is served without a token."""
    assert read_token(HttpSettings(host=host)) is None


def test_token(tmp_path: Path) -> None:
    """A token is the file's content without its line end; one that is short or missing is refused."""
    path = tmp_path / "token"
    http = HttpSettings(token_file=path)
    with pytest.raises(ConfigError, match="No such file"):
        read_token(http)
    path.write_text("short\n")
    with pytest.raises(ConfigError, match="at least 16"):
        read_token(http)
    path.write_text("0123456789abcdef\n")
    assert read_token(http) == "0123456789abcdef"
