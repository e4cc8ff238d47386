"""The agent's configuration: TOML in, frozen types out, every mistake named at once.

The types are defined in the rooms they configure and composed here; what one room cannot see (a stage that names a
channel its stream does not have) is checked here. Relative paths are relative to the configuration's folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from trueline_edge.publish.config import LinkConfig
from trueline_edge.sources import ChannelConfig, JoinConfig, SimulatedConfig, SourceConfig
from trueline_edge.spool.config import SpoolConfig
from trueline_edge.stages import Detect, Predict, StageChoice, Timing
from trueline_wire.columns import VALUES_MAX
from trueline_wire.errors import ConfigError
from trueline_wire.frame import ROWS_MAX
from trueline_wire.readings import CHANNELS_MAX, Channel, Schema
from trueline_wire.settings import Objection, OpenPort, load_toml
from trueline_wire.topics import DEVICE_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["AgentConfig", "CloudConfig", "FrameConfig", "MetricsConfig", "StreamConfig", "load_config"]

_PUBLIC_KEY_SIZE: Final = 32
_INTERVAL_MAX_S: Final = 3600.0
_NAME_MAX: Final = 256
_SOURCE_KEYS: Final = ("column", "topic", "field", "signal")
"""Channel keys that mean something to one kind of source alone."""


DeviceId = Annotated[
    str,
    msgspec.Meta(
        pattern="^[A-Za-z0-9._-]{1,64}$",
        extra={"hint": "1 to 64 of A-Z a-z 0-9 . _ - : the id becomes a topic, a path and a file name"},
    ),
]


class CloudConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom the device believes.

    Attributes:
        public_key: the cloud's Ed25519 public key, base64 (`trueline-cloud key` prints it); 32 bytes here.
    """

    public_key: bytes

    def __post_init__(self) -> None:
        if len(self.public_key) != _PUBLIC_KEY_SIZE:
            raise ValueError(
                f"public_key has {len(self.public_key)} bytes, not {_PUBLIC_KEY_SIZE}: "
                "copy what `trueline-cloud key` prints"
            )


class FrameConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a frame is cut: at whichever comes first.

    Attributes:
        rows_max: rows in a frame, at most.
        interval_s: seconds a row waits for its frame, at most.
    """

    rows_max: int = 600
    interval_s: float = 10.0

    def __post_init__(self) -> None:
        if not 1 <= self.rows_max <= ROWS_MAX:
            raise ValueError(f"rows_max {self.rows_max} must be between 1 and {ROWS_MAX}")
        if not 0.0 < self.interval_s <= _INTERVAL_MAX_S:
            raise ValueError(f"interval_s {self.interval_s} must be above 0 and at most {_INTERVAL_MAX_S:.0f}")


class MetricsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prometheus text on http://host:port/metrics.

    Attributes:
        host: keep it on loopback, or in a network you trust: it has no password.
        port: 0 takes any free port, printed in the log.
    """

    host: str = "127.0.0.1"
    port: OpenPort = 9464


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

    def objections(self) -> Iterator[Objection]:
        """What does not fit together in this stream."""
        if not 0 < len(self.name) <= _NAME_MAX:
            yield Objection(("name",), f"1 to {_NAME_MAX} characters are wanted")
        names = [channel.name for channel in self.channels]
        if not 0 < len(names) <= CHANNELS_MAX:
            yield Objection(("channel",), f"{len(names)} channels: 1 to {CHANNELS_MAX} are wanted")
        for position, name in _twice(names):
            yield Objection(("channel", position, "name"), f"{name!r} names two channels of stream {self.name!r}")
        for position, channel in enumerate(self.channels):
            for key in _SOURCE_KEYS:
                if getattr(channel, key) and key not in self.source.channel_keys:
                    yield Objection(
                        ("channel", position, key), "the source of this stream does not use it", "leave it out"
                    )
        if isinstance(self.source, JoinConfig):
            for misfit in self.source.misfits(names):
                yield misfit._replace(path=("source", *misfit.path))
        yield from self._misfits()[0]

    def interval_s(self) -> float | None:
        """Nominal time from row to row, by the stage `timing` or the source; None where neither says."""
        for stage in self.stages:
            if isinstance(stage, Timing) and stage.interval_s is not None:
                return stage.interval_s
        match self.source:
            case SimulatedConfig(rate_hz=rate_hz):
                return 1.0 / rate_hz
            case JoinConfig(period_s=period_s):
                return period_s
        return None

    def event_streams(self) -> list[str]:
        """Names of the streams in which its detectors tell events."""
        return [f"{self.name}.{stage.name}" for stage in self.stages if isinstance(stage, Detect) and stage.event_rows]

    def channels_out(self) -> int:
        """How many channels leave the last stage; as many as come in where the stages do not fit."""
        return self._misfits()[1]

    def _misfits(self) -> tuple[list[Objection], int]:
        """What does not fit between the stages, each asked about the schema the one before gives out."""
        found: list[Objection] = []
        try:
            schema = self.schema("")
        except ValueError:  # said of the channels themselves
            return found, len(self.channels)
        for position, stage in enumerate(self.stages):
            misfits = list(stage.objections(schema))
            if isinstance(stage, Detect | Predict) and not misfits and (interval_s := self.interval_s()) is not None:
                misfits += stage.misfits_in_time(interval_s)
            if schema.thinning is not None:
                misfits.append(Objection((), "stands behind a stage that leaves rows out", "put that one last"))
            if not misfits and stage.kind != "judge":
                try:
                    schema = stage.stage(schema).schema
                except (ConfigError, ValueError) as error:
                    misfits = [Objection((), str(error))]
            found += [misfit._replace(path=("stage", position, *misfit.path)) for misfit in misfits]
            if misfits and stage.kind != "judge":
                break  # what comes out of it is not known
        return found, len(schema.channels)

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

    device: DeviceId
    state: Path
    cloud: CloudConfig
    links: tuple[LinkConfig, ...] = msgspec.field(name="link")
    streams: tuple[StreamConfig, ...] = msgspec.field(name="stream")
    spool: SpoolConfig = SpoolConfig()
    frame: FrameConfig = FrameConfig()
    metrics: MetricsConfig | None = None

    def __post_init__(self) -> None:
        if not DEVICE_ID.fullmatch(self.device):  # the pattern above is for editors, and looser
            raise ValueError(f"device {self.device!r} is not a device id")

    def objections(self) -> Iterator[Objection]:
        """What no single room can see."""
        if not self.links:
            yield Objection(("link",), "no link", "add a table [[link]]")
        if not self.streams:
            yield Objection(("stream",), "no stream", "add a table [[stream]]")
        for position, name in _twice([stream.name for stream in self.streams]):
            yield Objection(("stream", position, "name"), f"{name!r} names two streams")
        names = {stream.name for stream in self.streams}
        for position, stream in enumerate(self.streams):
            for taken in names.intersection(stream.event_streams()):
                yield Objection(
                    ("stream", position), f"its events are a stream {taken!r}, and there is one", "rename it"
                )
        for position, stream in enumerate(self.streams):
            channels = stream.channels_out()
            if self.frame.rows_max * channels > VALUES_MAX:
                hint = f"rows_max of at most {VALUES_MAX // channels}"
                yield Objection(("stream", position), f"a frame holds {VALUES_MAX} values at most", hint)


def load_config(path: Path) -> AgentConfig:
    """Read a configuration.

    Raises:
        ConfigError: lists every mistake with key path, line and hint.
    """
    return load_toml(path, AgentConfig)


def _twice(names: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Positions at which a name stands that has been used before."""
    for position, name in enumerate(names):
        if name in names[:position]:
            yield position, name
