"""An agent and its cloud in one process: a link that hands each message straight to a receiver on a real journal."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import numpy as np

from trueline_cloud.ingest.decode import FrameDecoder
from trueline_cloud.storage.journal import Journal
from trueline_cloud.storage.reader import JournalReader
from trueline_edge.config import AgentConfig, CloudConfig, FrameConfig, StreamConfig
from trueline_edge.publish.config import MqttLinkConfig
from trueline_edge.sources import ChannelConfig, ReplayConfig
from trueline_edge.spool.config import SpoolConfig
from trueline_edge.spool.sqlite import SqliteSpool
from trueline_wire.delivery import Receiver
from trueline_wire.keys import KeyRing, SigningKey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trueline_edge.publish.link import Events
    from trueline_wire.delivery import SpoolRow, Transmit

DEVICE = "pump-7"
CLOUD_KEY = SigningKey(b"c" * 32)


class DirectLink:
    """A link to a cloud in this process; `works` takes it down and up."""

    name = "direct"

    def __init__(self, folder: Path, device_key: SigningKey) -> None:
        ring = KeyRing()
        ring.trust(DEVICE, device_key.public)
        folder.mkdir(parents=True, exist_ok=True)
        self.works = True
        self._folder = folder
        self._journal = Journal(folder / "journal.db")
        self._receiver = Receiver(self._journal, verifier=ring, signer=CLOUD_KEY, decode=FrameDecoder())
        self._events: Events | None = None

    async def run(self, events: Events) -> None:
        try:
            while True:
                if self.works and self._events is None:
                    self._events = events
                    events.connected(window_frames=32, message_max=1 << 16)
                elif not self.works and self._events is not None:
                    self._events = None
                    events.disconnected()
                await asyncio.sleep(0.01)
        finally:
            self._events = None

    def send(self, transmit: Transmit) -> None:
        if self._events is None:
            return
        replies = self._receiver.received(DEVICE, transmit.message) + self._receiver.commit()
        self._events.confirmed()
        for reply in replies:
            self._events.received(reply.message)

    def lost(self) -> dict[str, int]:
        """What the ledger says the device did not spool, by reason."""
        reader = JournalReader(self._folder)
        try:
            return {reason: count for lane in reader.ledger() for reason, count in lane.lost_before_spool.items()}
        finally:
            reader.close()

    def values(self, stream: str = "valve") -> list[float]:
        """The first channel of all stored rows, in time order."""
        reader = JournalReader(self._folder)
        try:
            if not reader.devices():
                return []
            batches = list(reader.readings(DEVICE, stream, 0, 1 << 62))
        finally:
            reader.close()
        return [float(v) for batch in batches for v in np.asarray(batch.value)[:, 0]]


def write_csv(path: Path, rows: int) -> Path:
    """A file of numbered rows, one a second; the second column is noise."""
    rng = random.Random(rows)
    lines = [f"{1_600_000_000 + n},{n},{rng.random()!r}" for n in range(rows)]
    path.write_text("time,id,x\n" + "\n".join(lines) + "\n")
    return path


def config_of(folder: Path, source: ReplayConfig, *, rows_max: int = 50, interval_s: float = 5.0) -> AgentConfig:
    """One stream `valve` of the channels `id` and `x`."""
    return AgentConfig(
        device=DEVICE,
        state=folder / "state",
        cloud=CloudConfig(public_key=CLOUD_KEY.public),
        links=(MqttLinkConfig(host="127.0.0.1", port=1),),
        streams=(
            StreamConfig(name="valve", source=source, channels=(ChannelConfig(name="id"), ChannelConfig(name="x"))),
        ),
        spool=SpoolConfig(size_max_bytes=64 << 20),
        frame=FrameConfig(rows_max=rows_max, interval_s=interval_s),
    )


def device_key(config: AgentConfig) -> SigningKey:
    return SigningKey.load_or_create(config.state / "device.key")


class DyingSpool(SqliteSpool):
    """A spool whose process is killed at its n-th append, just before or just after the commit."""

    dies_at = 0
    after = False

    def append(self, rows: Sequence[SpoolRow], schemas: Sequence[bytes], checkpoint: bytes | None) -> None:
        type(self).dies_at -= 1
        if self.dies_at == 0 and not self.after:
            raise KilledError
        super().append(rows, schemas, checkpoint)
        if self.dies_at == 0:
            raise KilledError


class KilledError(Exception):
    """Stands for the end of a process."""
