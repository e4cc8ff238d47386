"""The agent's configuration: TOML in, frozen types out, every mistake named at once.

The types are defined in the rooms they configure and composed here; what one room cannot see (a stage that names a
channel its stream does not have) is checked here. Relative paths are relative to the configuration's folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from trueline_edge.publish.config import LinkConfig
from trueline_edge.sources import ChannelConfig, SourceConfig
from trueline_edge.spool.config import SpoolConfig
from trueline_edge.stages import StageChoice
from trueline_wire.readings import Channel, Schema

__all__ = ["AgentConfig", "CloudConfig", "FrameConfig", "MetricsConfig", "StreamConfig", "load_config"]


class CloudConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom the device believes.

    Attributes:
        public_key: the cloud's Ed25519 public key, base64 (`trueline-cloud key` prints it); 32 bytes here.
    """

    public_key: bytes


class FrameConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a frame is cut: at whichever comes first.

    Attributes:
        rows_max: rows in a frame, at most.
        interval_s: seconds a row waits for its frame, at most.
    """

    rows_max: int = 600
    interval_s: float = 10.0


class MetricsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prometheus text on http://host:port/metrics.

    Attributes:
        host: keep it on loopback, or in a network you trust: it has no password.
        port: 0 takes any free port, printed in the log.
    """

    host: str = "127.0.0.1"
    port: int = 9464


class StreamConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stream: channels sampled together, where they come from, and what judges them.

    Attributes:
        name: unique on the device.
        lane: "data", or "event", which never waits behind a backlog of data.
        source: where the readings come from.
        channels: the table `[[stream.channel]]`, one for each column.
        stages: the table `[[stream.stage]]`, in order.
    """

    name: str
    source: SourceConfig
    lane: Literal["data", "event"] = "data"
    channels: tuple[ChannelConfig, ...] = msgspec.field(name="channel")
    stages: tuple[StageChoice, ...] = msgspec.field(name="stage", default=())

    def schema(self, device: str) -> Schema:
        """What the columns of this stream mean on this device."""
        return Schema(
            device=device,
            stream=self.name,
            channels=tuple(
                Channel(name=c.name, unit=c.unit, resolution=c.resolution, sensor=c.sensor) for c in self.channels
            ),
        )


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All an agent needs to know.

    Attributes:
        device: the device's id, 1 to 64 of A-Z a-z 0-9 . _ -
        state: folder for the device's key and spool.
        cloud: whom the device believes.
        links: the table `[[link]]`, in order of preference.
        streams: the table `[[stream]]`.
        spool: see `SpoolConfig`.
        frame: see `FrameConfig`.
        metrics: no metrics are served where left out.
    """

    device: str
    state: Path
    cloud: CloudConfig
    links: tuple[LinkConfig, ...] = msgspec.field(name="link")
    streams: tuple[StreamConfig, ...] = msgspec.field(name="stream")
    spool: SpoolConfig = SpoolConfig()
    frame: FrameConfig = FrameConfig()
    metrics: MetricsConfig | None = None


def load_config(path: Path) -> AgentConfig:
    """Read a configuration.

    Raises:
        ConfigError: lists every mistake with key path, line and hint.
    """
    raise NotImplementedError(path)
