"""A spool and a store in memory that can be killed, filled, restored and rotted: the ports of delivery, made to suffer.

What a method changed before it was killed is durable; what it had not changed is not there. Each write goes past the
`Judge` first.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter, defaultdict
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Literal, TypeAlias

from trueline_wire.delivery import Conflict, EpochState, Group, LaneState, SpoolFull, SpoolRow, StoreFull
from trueline_wire.errors import SpoolUnsafe
from trueline_wire.frame import Ancestor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from delivery_judge import Judge

    from trueline_wire.envelope import Lane

Ids: TypeAlias = tuple[int, ...]
Moment = Literal["before", "between", "after"]


class Killed(BaseException):
    """The process ends here. Nothing may catch it."""


@dataclass
class Fuse:
    """Burns once, at the next write: before it, after it, or (store only) between its frames and its rollups."""

    moment: Moment | None = None
    sync_fails: bool = False

    def burn(self, moment: Moment) -> None:
        """End the process if this is the moment."""
        if self.moment == moment:
            self.moment = None
            if self.sync_fails:
                raise SpoolUnsafe("the sync failed")
            raise Killed


@dataclass
class _Card:
    """What is on a device's card."""

    epochs: defaultdict[Lane, list[Ancestor]] = field(default_factory=lambda: defaultdict(list))
    rows: defaultdict[bytes, list[SpoolRow]] = field(default_factory=lambda: defaultdict(list))
    floors: Counter[bytes] = field(default_factory=Counter)
    """Epoch -> numbers up to here are done with."""
    schemas: dict[bytes, bytes] = field(default_factory=dict)
    checkpoint: bytes | None = None

    def image(self) -> _Card:
        """A copy that shares only what never changes."""
        return _Card(
            defaultdict(list, {lane: list(epochs) for lane, epochs in self.epochs.items()}),
            defaultdict(list, {epoch: list(rows) for epoch, rows in self.rows.items()}),
            copy(self.floors),
            dict(self.schemas),
            self.checkpoint,
        )


class CrashySpool:
    """A `Spool`.

    Args:
        device: whose card it is.
        judge: sees every write.
        capacity: records that fit.
        eager: an epoch drained while it was the newest is released as soon as the next one opens, not at the next
            `delete` (both are within the port's contract).
    """

    def __init__(self, device: str, judge: Judge, *, capacity: int = 1 << 30, eager: bool = False) -> None:
        self.device, self.capacity, self.eager = device, capacity, eager
        self.is_full = False
        self.fuse = Fuse()
        self._judge = judge
        self._card = _Card()

    # ---------------------------------------------- the port

    def epochs(self, lane: Lane) -> list[Ancestor]:
        return list(self._card.epochs[lane])

    def rows(self, lane: Lane, epoch: bytes, first: int, frames: int) -> list[SpoolRow]:
        rows = self._card.rows[epoch]
        at = bisect_left(rows, first, key=lambda row: row.last)
        return list(islice(rows, at, at + frames))

    def append(self, rows: Sequence[SpoolRow], schemas: Sequence[bytes], checkpoint: bytes | None) -> None:
        self._begin()
        if len(rows) + sum(map(len, self._card.rows.values())) > self.capacity:
            self._judge.causes.add((self.device, "dropped"))
            raise SpoolFull
        lanes = {row.lane for row in rows}
        self._judge.appended(self.device, [known for lane in lanes for known in self._card.epochs[lane]], rows)
        for row in rows:
            self._append(row)
        for schema in schemas:
            self._card.schemas[hashlib.sha256(schema).digest()[:8]] = schema
        if checkpoint is not None:
            self._card.checkpoint = checkpoint
        self.fuse.burn("after")

    def _begin(self) -> None:
        self.fuse.burn("before")
        if self.is_full:
            raise SpoolFull

    def _append(self, row: SpoolRow) -> None:
        epochs = self._card.epochs[row.lane]
        if row.first == 1:
            epochs.append(Ancestor(row.epoch, row.last, row.rows_after, row.rows_after))
            if self.eager:
                self._release(row.lane)
        at = next(index for index, known in enumerate(epochs) if known.epoch == row.epoch)
        epochs[at] = replace(epochs[at], end=row.last, rows_end=row.rows_after)
        self._card.rows[row.epoch].append(row)

    def delete(self, lane: Lane, epoch: bytes, last: int) -> None:
        self._begin()
        rows = self._card.rows[epoch]
        gone = bisect_left(rows, last + 1, key=lambda row: row.last)
        self._judge.deleted(self.device, rows[:gone])
        del rows[:gone]
        self._card.floors[epoch] = max(last, self._card.floors[epoch])
        self._release(lane)
        self.fuse.burn("after")

    def _release(self, lane: Lane) -> None:
        epochs = self._card.epochs[lane]
        for at, known in enumerate(epochs[:-1]):
            if not known.released and self._card.floors[known.epoch] >= known.end:
                epochs[at] = replace(known, released=True)

    def replace(self, rows: Sequence[SpoolRow], by: SpoolRow) -> None:
        self._begin()
        held = self._card.rows[by.epoch]
        at = bisect_left(held, rows[0].last if rows else by.last, key=lambda row: row.last)
        if [row[:6] for row in held[at : at + len(rows)]] != [row[:6] for row in rows]:
            raise AssertionError("replaces rows that are not there, or not neighbours")
        if at and held[at - 1].last >= by.first:
            raise AssertionError("a GAP over rows that are still there")
        hashes = [self._judge.schema_of(row) for row in rows]
        gone = any(known is not None and known not in self._card.schemas for known in hashes)
        self._judge.replaced(self.device, rows, by, schema_gone=gone)
        held[at : at + len(rows)] = [by]
        if by.first <= self._card.floors[by.epoch]:
            self._take_back(by)
        self.fuse.burn("after")

    def _take_back(self, gap: SpoolRow) -> None:
        """A record below the floor: its epoch is not released (any more)."""
        self._card.floors[gap.epoch] = gap.first - 1
        epochs = self._card.epochs[gap.lane]
        for at, known in enumerate(epochs):
            if known.epoch == gap.epoch:
                epochs[at] = replace(known, released=False)

    def schema(self, schema_hash: bytes) -> bytes | None:
        return self._card.schemas.get(schema_hash)

    def checkpoint(self) -> bytes | None:
        return self._card.checkpoint

    # ---------------------------------------------- what befalls it

    def all_rows(self) -> Iterator[SpoolRow]:
        """Every record that waits."""
        for rows in self._card.rows.values():
            yield from rows

    @property
    def image(self) -> _Card:
        """A copy of the card as it is now."""
        return self._card.image()

    def clone(self) -> CrashySpool:
        """A second card with the same contents."""
        twin = CrashySpool(self.device, self._judge, capacity=self.capacity, eager=self.eager)
        twin._card = self.image
        self._judge.unsure.add(self.device)
        return twin

    def restore(self, image: _Card) -> None:
        """Put an older (or blank) card in the place of this one, which is destroyed."""
        self._judge.unsure.add(self.device)
        ends = {known.epoch: known.end for epochs in image.epochs.values() for known in epochs}
        destroyed = self._judge.destroyed
        revived = any(end > destroyed.get(name, end) for name, end in ends.items())
        for name, epoch in self._judge.epochs.items():
            if epoch.device == self.device:
                destroyed[name] = min(ends.get(name, 0), destroyed.get(name, epoch.end))
                if revived:  # a line given up before goes on: which one is the orphan cannot be known
                    self._judge.late.add(name)
        self._card = image.image()

    def rot(self, pick: int) -> None:
        """One bit of one stored record flips."""
        held = [rows for rows in self._card.rows.values() if rows]
        if held:
            self._judge.causes.add((self.device, "corrupt"))
            rows = held[pick % len(held)]
            at = pick // len(held) % len(rows)
            rows[at] = rows[at]._replace(message=None)

    def lose_row(self, pick: int) -> None:
        """One record is no longer there, and left no trace but its number."""
        held = [rows for rows in self._card.rows.values() if rows]
        if held:
            self._judge.causes.update((self.device, cause) for cause in ("corrupt", "cloud restored"))
            rows = held[pick % len(held)]
            del rows[pick // len(held) % len(rows)]

    def lose_schemas(self) -> None:
        """Every schema on the card becomes unreadable."""
        self._judge.causes.add((self.device, "schema_lost"))
        self._card.schemas.clear()


@dataclass
class _Journal:
    """What is in the journal."""

    lanes: dict[tuple[str, Lane], LaneState] = field(default_factory=dict)
    frames: defaultdict[tuple[str, Lane], list[tuple[bytes, Ids]]] = field(default_factory=lambda: defaultdict(list))
    aside: defaultdict[bytes, set[int]] = field(default_factory=lambda: defaultdict(set))
    schemas: dict[tuple[str, bytes], bytes] = field(default_factory=dict)
    rollups: Counter[tuple[str, bytes]] = field(default_factory=Counter)


class CrashyStore:
    """A `Store` of row ids.

    Args:
        judge: sees every commit.
        journal: its id.
    """

    def __init__(self, judge: Judge, journal: bytes = b"journal1") -> None:
        self.journal = journal
        self.fuse = Fuse()
        self.is_full = False
        self._judge = judge
        self._now = _Journal()

    # ---------------------------------------------- the port

    def lane(self, device: str, lane: Lane) -> LaneState:
        return self._now.lanes.get((device, lane)) or LaneState()

    def schema(self, device: str, schema_hash: bytes) -> bytes | None:
        return self._now.schemas.get((device, schema_hash))

    def commit(self, group: Group[Ids]) -> None:
        self.fuse.burn("before")
        if self.is_full:
            raise StoreFull
        self.compare(group)
        self._judge.committed({key: self.lane(*key) for key in group.lanes}, group)
        self.write(group)
        self.fuse.burn("after")

    def compare(self, group: Group[Ids]) -> None:
        """The compare of compare-and-swap."""
        for key, (version, _) in group.lanes.items():
            if self.lane(*key).version != version:
                raise Conflict

    def write(self, group: Group[Ids]) -> None:
        """Frames and rollups in one transaction: a kill between them leaves neither."""
        self.fuse.burn("between")
        self.write_lanes(group)
        self.write_rollups(group)

    def write_lanes(self, group: Group[Ids]) -> None:
        """All but the rollups."""
        for key, (_, state) in group.lanes.items():
            self._now.lanes[key] = state
        for stored in group.frames:
            record = stored.record
            self._now.frames[record.device, record.lane].append((record.schema, stored.decoded))
        for gap, _ in group.gaps:
            self._now.aside[gap.epoch].update(range(gap.first, gap.last + 1))
        for aside in group.quarantine:
            self._now.aside[aside.epoch].add(aside.number)
        for device, schema in group.schemas:
            self._now.schemas[device, hashlib.sha256(schema).digest()[:8]] = schema

    def write_rollups(self, group: Group[Ids]) -> None:
        """One count of rows for each stream."""
        for stored in group.frames:
            self._now.rollups[stored.record.device, stored.record.schema] += len(stored.decoded)

    # ---------------------------------------------- what befalls it, and what the judge looks at

    @property
    def lanes(self) -> dict[tuple[str, Lane], LaneState]:
        """All lanes."""
        return self._now.lanes

    @property
    def frames(self) -> dict[tuple[str, Lane], list[tuple[bytes, Ids]]]:
        """For each lane the stored frames: schema hash and row ids."""
        return self._now.frames

    @property
    def aside(self) -> defaultdict[bytes, set[int]]:
        """For each epoch the numbers that are gaps or in quarantine."""
        return self._now.aside

    @property
    def rollups(self) -> Counter[tuple[str, bytes]]:
        """Rows stored of each stream."""
        return self._now.rollups

    def epoch(self, device: str, lane: Lane, epoch: bytes) -> EpochState | None:
        """What is known of one epoch."""
        return next((known for known in self.lane(device, lane).epochs if known.epoch == epoch), None)

    @property
    def image(self) -> _Journal:
        """A copy of the journal as it is now."""
        now = self._now
        return _Journal(
            dict(now.lanes),
            defaultdict(list, {key: list(frames) for key, frames in now.frames.items()}),
            defaultdict(set, {epoch: set(numbers) for epoch, numbers in now.aside.items()}),
            dict(now.schemas),
            copy(now.rollups),
        )

    def restore(self, image: _Journal) -> None:
        """Go back to an older copy, with the same journal id."""
        for epoch in self._judge.epochs.values():
            self._judge.causes.add((epoch.device, "cloud restored"))
        self._now = image
        self._now = self.image

    def lose_schemas(self) -> None:
        """Forget every schema."""
        self._now.schemas.clear()
