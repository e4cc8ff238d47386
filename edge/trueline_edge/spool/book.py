"""What the spool knows beside its records: epochs, schemas, the checkpoint. Small, in memory, and on disk twice.

Every entry stands in two tables, so on two pages: one damaged page never costs an epoch or the checkpoint.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from trueline_edge.spool.cells import Entry, Place, digest_of, pack_entry, unpack_label
from trueline_wire.envelope import Lane
from trueline_wire.frame import SCHEMA_HASH_SIZE, Ancestor

if TYPE_CHECKING:
    import apsw

    from trueline_wire.delivery import SpoolRow

__all__ = ["KEY_SPAN", "Book", "Epoch"]

KEY_SPAN: Final = 1 << 40
"""Numbers in one epoch, at most: a record's key is its epoch's ordinal times this, plus its last number."""

_TABLES: Final = ("state", "state_copy")
_RELEASED_MAX: Final = 64
_SCHEMAS_MAX: Final = 1024
_EPOCH: Final = struct.Struct(">B8sQQQQQ?")


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch of a lane. Numbers up to `floor` (rows up to `floor_rows`) are not held any more."""

    lane: Lane
    epoch: bytes
    ordinal: int
    head: int
    rows_start: int
    rows_end: int
    floor: int
    floor_rows: int
    released: bool = False

    @property
    def ancestor(self) -> Ancestor:
        """As the sender wants it."""
        return Ancestor(self.epoch, self.head, self.rows_start, self.rows_end, self.released)

    def key(self, last: int) -> int:
        """The key of the record that ends with this number."""
        return self.ordinal * KEY_SPAN + last

    def pack(self) -> bytes:
        """As it is kept."""
        return _EPOCH.pack(
            self.lane,
            self.epoch,
            self.head,
            self.rows_start,
            self.rows_end,
            self.floor,
            self.floor_rows,
            self.released,
        )

    @classmethod
    def unpack(cls, ordinal: int, body: bytes) -> Epoch:
        """Back from how it is kept."""
        lane, epoch, *counts, released = _EPOCH.unpack(body)
        head, rows_start, rows_end, floor, floor_rows = counts
        return cls(Lane(lane), epoch, ordinal, head, rows_start, rows_end, floor, floor_rows, released)


@dataclass(slots=True)
class Book:
    """All entries. Changes go to the database and to memory; who rolls one back takes an older `copy` of the other.

    Attributes:
        entries: name -> (slot, generation, body).
        epochs: by lane and id, in the order they were opened.
        damaged: an entry was found in one table only, or not whole.
        revived: epochs that only their records knew.
    """

    entries: dict[str, tuple[int, int, bytes]] = field(default_factory=dict)
    epochs: dict[tuple[Lane, bytes], Epoch] = field(default_factory=dict)
    damaged: bool = False
    revived: set[tuple[Lane, bytes]] = field(default_factory=set)

    @classmethod
    def load(cls, db: apsw.Connection) -> Book:
        """What both tables together know."""
        best: dict[str, tuple[int, int, bytes]] = {}
        whole = []
        for table in _TABLES:
            good, seen = set(), 0
            for slot, *columns in db.execute(f"SELECT slot, label, label_copy, digest, body FROM {table}"):  # noqa: S608 - ours
                seen += 1
                entry = _read_entry(*columns)
                if entry is None:
                    continue
                (name, generation), body = entry, columns[3]
                good.add((slot, name, generation))
                if name not in best or best[name][1] < generation:
                    best[name] = (slot, generation, body)
            whole.append(good if seen == len(good) else None)
        book = cls(best, damaged=whole[0] is None or whole[0] != whole[1])
        if len({slot for slot, _, _ in best.values()}) != len(best):
            book = cls.of({name: body for name, (_, _, body) in best.items()})
        book.epochs = _epochs_in(book.entries)
        return book

    @classmethod
    def of(cls, bodies: dict[str, bytes]) -> Book:
        """A book of these entries, not yet written."""
        book = cls({name: (slot, 1, bodies[name]) for slot, name in enumerate(sorted(bodies), 1)}, damaged=True)
        book.epochs = _epochs_in(book.entries)
        return book

    def copy(self) -> Book:
        """As it is now."""
        return Book(dict(self.entries), dict(self.epochs), self.damaged, set(self.revived))

    def get(self, name: str) -> bytes | None:
        """The body of an entry."""
        found = self.entries.get(name)
        return found[2] if found else None

    def put(self, db: apsw.Connection, name: str, body: bytes) -> None:
        """Set an entry."""
        known = self.entries.get(name)
        slot = known[0] if known else max((slot for slot, _, _ in self.entries.values()), default=0) + 1
        generation = known[1] + 1 if known else 1
        self.entries[name] = (slot, generation, body)
        _write_entry(db, slot, Entry(name, generation), body)

    def drop(self, db: apsw.Connection, name: str) -> None:
        """Forget an entry."""
        slot, *_ = self.entries.pop(name)
        for table in _TABLES:
            db.execute(f"DELETE FROM {table} WHERE slot=?", (slot,))  # noqa: S608 - ours

    def write_all(self, db: apsw.Connection) -> None:
        """Write everything anew: after damage."""
        top = max((slot for slot, _, _ in self.entries.values()), default=0)
        for slot, identity in enumerate(sorted(self.revived), top + 1):
            epoch = self.epochs[identity]
            self.entries[f"epoch/{epoch.ordinal}"] = (slot, 1, epoch.pack())
        for table in _TABLES:
            db.execute(f"DELETE FROM {table}")  # noqa: S608 - ours
        for name, (slot, generation, body) in self.entries.items():
            _write_entry(db, slot, Entry(name, generation), body)
        self.damaged = False
        self.revived.clear()

    # ------------------------------------------------------------ schemas

    def add_schema(self, db: apsw.Connection, schema: bytes) -> None:
        """Keep an encoded schema, unless it is known."""
        name = f"schema/{hashlib.sha256(schema).digest()[:SCHEMA_HASH_SIZE].hex()}"
        if self.get(name) == schema:
            return
        self.put(db, name, schema)
        names = [name for name in self.entries if name.startswith("schema/")]
        for old in names[:-_SCHEMAS_MAX]:
            self.drop(db, old)

    # ------------------------------------------------------------ epochs

    def of_lane(self, lane: Lane) -> list[Epoch]:
        """The epochs of a lane, oldest first."""
        return sorted((e for e in self.epochs.values() if e.lane == lane), key=lambda epoch: epoch.ordinal)

    def extend(self, db: apsw.Connection, row: SpoolRow) -> int:
        """Count a new row in, opening its epoch if it is new; return the row's key.

        Raises:
            ValueError: its numbers do not follow the head.
        """
        known = self.epochs.get((row.lane, row.epoch))
        if known is None:
            self._forget_old(db, row.lane)
            ordinal = max((epoch.ordinal for epoch in self.epochs.values()), default=0) + 1
            start = row.rows_after - row.rows
            known = Epoch(row.lane, row.epoch, ordinal, row.first - 1, start, start, row.first - 1, start)
        if row.first != known.head + 1 or row.last < row.first:
            raise ValueError(f"numbers {row.first} to {row.last} do not follow {known.head}")
        opened = (row.lane, row.epoch) not in self.epochs
        changed = self.change(db, known, head=row.last, rows_end=row.rows_after)
        if opened:
            self.release_drained(db)
        return changed.key(row.last)

    def change(self, db: apsw.Connection, epoch: Epoch, **fields: Any) -> Epoch:
        """Set fields of an epoch."""
        changed = replace(self.epochs.get((epoch.lane, epoch.epoch), epoch), **fields)
        self.epochs[epoch.lane, epoch.epoch] = changed
        self.put(db, f"epoch/{changed.ordinal}", changed.pack())
        return changed

    def release_drained(self, db: apsw.Connection) -> None:
        """Release epochs that hold nothing, all but each lane's newest."""
        for lane in Lane:
            for epoch in self.of_lane(lane)[:-1]:
                if not epoch.released and epoch.floor == epoch.head:
                    self.change(db, epoch, released=True)

    def adopt(self, key: int, place: Place) -> int | None:
        """The key a record found on disk should have; None if it should not be there.

        A record of an epoch that the book has lost brings the epoch back, as far as its records know it.
        """
        identity = (Lane(place.lane), place.epoch)
        known = self.epochs.get(identity)
        if known is None or identity in self.revived:
            known = self._revive(key, place)
        return known.key(place.last) if known.floor < place.first and place.last <= known.head else None

    def _revive(self, key: int, place: Place) -> Epoch:
        identity = (Lane(place.lane), place.epoch)
        known = self.epochs.get(identity)
        before = place.rows_after - place.rows
        if known is None:
            taken = {epoch.ordinal for epoch in self.epochs.values()}
            ordinal = key // KEY_SPAN
            if ordinal == 0 or ordinal in taken:
                ordinal = max(taken, default=0) + 1
            known = Epoch(*identity, ordinal, place.last, before, place.rows_after, place.first - 1, before)
        if place.first <= known.floor:
            known = replace(known, floor=place.first - 1, floor_rows=before, rows_start=min(known.rows_start, before))
        if place.last > known.head:
            known = replace(known, head=place.last, rows_end=place.rows_after)
        self.revived.add(identity)
        self.damaged = True
        self.epochs[identity] = known
        return known

    def _forget_old(self, db: apsw.Connection, lane: Lane) -> None:
        released = [epoch for epoch in self.of_lane(lane) if epoch.released]
        for epoch in released[: 1 - _RELEASED_MAX]:
            del self.epochs[epoch.lane, epoch.epoch]
            self.drop(db, f"epoch/{epoch.ordinal}")


def _epochs_in(entries: dict[str, tuple[int, int, bytes]]) -> dict[tuple[Lane, bytes], Epoch]:
    found = [
        Epoch.unpack(int(name.removeprefix("epoch/")), body)
        for name, (_, _, body) in entries.items()
        if name.startswith("epoch/")
    ]
    return {(epoch.lane, epoch.epoch): epoch for epoch in sorted(found, key=lambda epoch: epoch.ordinal)}


def _write_entry(db: apsw.Connection, slot: int, entry: Entry, body: bytes) -> None:
    label = pack_entry(entry)
    for table in _TABLES:
        db.execute(
            f"INSERT OR REPLACE INTO {table} VALUES (?,?,?,?,?)",  # noqa: S608 - ours
            (slot, label, label, digest_of(label, body), body),
        )


def _read_entry(label: Any, copy: Any, digest: Any, body: Any) -> Entry | None:
    """The entry of a row, if its digest is right."""
    for candidate in (label, copy):
        entry = unpack_label(candidate) if isinstance(candidate, bytes) else None
        if isinstance(entry, Entry) and isinstance(body, bytes) and digest_of(candidate, body) == digest:
            return entry
    return None
