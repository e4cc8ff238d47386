"""A device that says what it is told to, and a journal's worth of groups made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from trueline_wire.columns import encode_columns
from trueline_wire.control import SchemaMessage, Status
from trueline_wire.delivery import EpochState, Group, LaneState, StoredFrame
from trueline_wire.envelope import Lane
from trueline_wire.frame import Ancestor, Data, Gap, Open, seal_record
from trueline_wire.keys import SigningKey
from trueline_wire.readings import Channel, Readings, Schema

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

SECOND_NS = 1_000_000_000
START_NS = 1_770_000_000 * SECOND_NS


class Machine:
    """A device with one stream in the data lane, and full control over what it says.

    Every message it makes is authentic; its counts are right unless a test bends them.
    """

    def __init__(self, name: str = "pump-7", *, channels: int = 2, seed: int = 1) -> None:
        self.name = name
        self.key = SigningKey(seed.to_bytes(32, "big"))
        self.epoch = seed.to_bytes(8, "big")
        self.schema = Schema(
            device=name, stream="valve", channels=tuple(Channel(name=f"c{n}") for n in range(channels))
        )
        self.rng = np.random.default_rng(seed)
        self.number = 1
        self.rows = 0

    def readings(self, rows: int = 10, *, start_ns: int | None = None, **columns: ArrayLike) -> Readings:
        """One reading a second, values with two decimals, u 0.1, all passed; `columns` put in place of these."""
        start_ns = START_NS + self.rows * SECOND_NS if start_ns is None else start_ns
        shape = rows, len(self.schema.channels)
        made: dict[str, Any] = {
            "time_ns": start_ns + SECOND_NS * np.arange(rows),
            "value": np.round(self.rng.normal(20, 1, shape), 2),
            "u": np.full(shape, 0.1, np.float32),
            "flag": np.full(shape, 1, np.uint8),
            "reason": np.zeros(shape, np.uint32),
        }
        return Readings(self.schema, **(made | columns))

    def opening(self) -> list[bytes]:
        """Its schema, and the OPEN of its epoch."""
        return [self.schema_message(), seal_record(Open(self.name, Lane.DATA, self.epoch, 0), self.key)]

    def schema_message(self) -> bytes:
        """Its schema."""
        return SchemaMessage(self.name, self.schema.encoded).seal(self.key)

    def record(self, readings: Readings, **bent: Any) -> Data:
        """The next record of its epoch; `bent` fields are put in place of the right ones."""
        self.number += 1
        record = Data(
            device=self.name,
            lane=Lane.DATA,
            epoch=self.epoch,
            number=self.number,
            rows_before=self.rows,
            rows=len(readings),
            schema=readings.schema.hash,
            stored=len(readings),
            time_first=int(readings.time_ns.min()),
            time_last=int(readings.time_ns.max()),
            body=encode_columns(readings),
        )
        self.rows += len(readings)
        return replace(record, **bent)

    def frame(self, readings: Readings | None = None, **bent: Any) -> bytes:
        """The next frame, signed."""
        return seal_record(self.record(self.readings() if readings is None else readings, **bent), self.key)

    def gap(self, numbers: int, rows: int, reason: str = "dropped") -> Gap:
        """A gap in place of the next records."""
        first, self.number = self.number + 1, self.number + numbers
        self.rows += rows
        return Gap(self.name, Lane.DATA, self.epoch, first, self.number, 0, self.rows, reason)

    def status(self, **lost: int) -> bytes:
        """What it holds."""
        own = Ancestor(self.epoch, self.number, 0, self.rows)
        return Status(self.name, Lane.DATA, (own,), lost, START_NS).seal(self.key)

    def state(self, version: int) -> LaneState:
        """The lane as a receiver would write it once all it said so far has come."""
        epoch = EpochState(epoch=self.epoch, last=self.number, rows=self.rows, head=self.number, rows_head=self.rows)
        return LaneState(version=version, epochs=(epoch,))

    def group(self, *batches: Readings, base: int = 0) -> Group[Readings]:
        """A group that stores batches in this machine's lane, on top of version `base`."""
        group: Group[Readings] = Group()
        for batch in batches:
            record = self.record(batch)
            group.frames.append(StoredFrame(record, seal_record(record, self.key), batch))
        group.lanes[self.name, Lane.DATA] = base, self.state(base + 1)
        if base == 0:
            group.schemas.append((self.name, self.schema.encoded))
        return group
