"""A device and a cloud in one process: the real spool, sender, receiver and journal, joined by a perfect link.

Time is virtual and random choices are seeded, so a trial replays. What it carries are numbered rows.
"""

from __future__ import annotations

import functools
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from trueline_cloud.ingest.decode import FrameDecoder
from trueline_cloud.storage.journal import Journal
from trueline_cloud.storage.reader import JournalReader
from trueline_edge.spool.sqlite import SqliteSpool
from trueline_wire.columns import encode_columns
from trueline_wire.delivery import Outgoing, Receiver, Sender
from trueline_wire.envelope import Lane
from trueline_wire.keys import KeyRing, SigningKey
from trueline_wire.readings import Channel, Readings, Schema

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = "rot-1"
DEVICE_KEY = SigningKey(b"d" * 32)
CLOUD_KEY = SigningKey(b"c" * 32)
SCHEMA = Schema(device=DEVICE, stream="rows", channels=(Channel(name="id"), Channel(name="x")))
_START_NS = 1_700_000_000_000_000_000
_STEPS_MAX = 4000


def trusted() -> KeyRing:
    """Both keys."""
    ring = KeyRing()
    ring.trust(DEVICE, DEVICE_KEY.public)
    ring.trust("cloud", CLOUD_KEY.public)
    return ring


@functools.cache
def value_of(number: int) -> float:
    """The second channel of a row, all 52 bits of it, as its number says."""
    return random.Random(number).gauss(0, 1)


@functools.cache
def frame(first: int, rows: int) -> Outgoing:
    """A batch of the rows `first` to `first + rows - 1`."""
    numbers = np.arange(first, first + rows)
    times = _START_NS + numbers * 1_000_000
    values = np.stack([numbers.astype(np.float64), np.array([value_of(int(n)) for n in numbers])], axis=1)
    readings = Readings.raw(SCHEMA, times, values)
    return Outgoing(Lane.DATA, SCHEMA.encoded, rows, int(times[0]), int(times[-1]), encode_columns(readings))


def sizes(rng: random.Random, frames: int) -> list[int]:
    """Rows of each frame: mostly small, some over many pages."""
    return [rng.choice([1, 5, 20, 60, 200, 600, 2000]) for _ in range(frames)]


@dataclass
class Device:
    """The edge side: a spool in a folder, and a sender that starts anew with each of these.

    The checkpoint is the number of the next row of the source, so a device goes on where its spool stands.
    """

    folder: Path
    rng: random.Random
    spool: SqliteSpool = field(init=False)
    sender: Sender = field(init=False)

    def __post_init__(self) -> None:
        self.spool = SqliteSpool(self.folder, size_max_bytes=64 << 20)
        self.sender = Sender(self.spool, device=DEVICE, signer=DEVICE_KEY, verifier=trusted(), rng=self.rng)

    @property
    def next_row(self) -> int:
        """Where the source goes on."""
        return int(self.spool.checkpoint() or b"0")

    def measure(self, rows: int) -> None:
        """Append one frame."""
        first = self.next_row
        self.sender.append([frame(first, rows)], b"%d" % (first + rows))


@dataclass
class CloudSide:
    """The cloud side: a journal in a folder, and a receiver that starts anew with each of these."""

    folder: Path
    journal: Journal = field(init=False)
    receiver: Receiver[Readings] = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(self.folder / "journal.db")
        self.receiver = Receiver(self.journal, verifier=trusted(), signer=CLOUD_KEY, decode=FrameDecoder())

    def rows(self) -> Counter[int]:
        """How often each row is stored; a row whose values are wrong counts under -1."""
        reader = JournalReader(self.folder)
        found: Counter[int] = Counter()
        try:
            if reader.devices() and reader.streams(DEVICE):
                for batch in reader.readings(DEVICE, SCHEMA.stream, 0, 1 << 62):
                    for number, x in batch.value.tolist():
                        found[int(number) if value_of(int(number)) == x else -1] += 1
        finally:
            reader.close()
        return found


def drain(device: Device, cloud: CloudSide, *, steps_max: int = _STEPS_MAX) -> bool:
    """Carry messages until everything is acknowledged; False if that does not happen."""
    now_s = 0.0
    device.sender.connected(now_s)
    for _ in range(steps_max):
        now_s += 0.1
        messages = device.sender.poll(now_s)
        for message in messages:
            device.sender.confirmed(now_s)
            for reply in cloud.receiver.received(DEVICE, message.message):
                device.sender.received(reply.message, now_s)
        for reply in cloud.receiver.commit():
            device.sender.received(reply.message, now_s)
        if device.sender.drained:
            return True
        if not messages:
            now_s += 1.0
    return False


def copy_files(source: Path, target: Path, name: str) -> None:
    """A database and its log, as a kill would leave them."""
    target.mkdir(parents=True, exist_ok=True)
    for suffix in ("", "-wal"):
        path = source / (name + suffix)
        if path.exists():
            shutil.copyfile(path, target / path.name)


def flip(path: Path, rng: random.Random) -> int:
    """Flip one bit of a file; the offset of its byte."""
    data = bytearray(path.read_bytes())
    bit = rng.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    return bit // 8
