"""Records in the database: written, read in order, and what is missing between them handed out as damaged.

Works on a connection somebody else owns; each function is part of the caller's transaction.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from trueline_edge.spool.cells import Place, digest_of, pack_place, unpack_label
from trueline_wire.delivery import SpoolRow
from trueline_wire.envelope import Lane

if TYPE_CHECKING:
    from collections.abc import Iterator

    import apsw

    from trueline_edge.spool.book import Epoch

__all__ = [
    "TABLES",
    "delete_records",
    "insert_record",
    "maybe_first",
    "maybe_last",
    "place_of",
    "places",
    "read_all",
    "read_rows",
    "transaction",
]

TABLES: Final = """
CREATE TABLE IF NOT EXISTS record (key INTEGER PRIMARY KEY, label BLOB, label_copy BLOB, digest BLOB, body BLOB);
CREATE TABLE IF NOT EXISTS state (slot INTEGER PRIMARY KEY, label BLOB, label_copy BLOB, digest BLOB, body BLOB);
CREATE TABLE IF NOT EXISTS state_copy (slot INTEGER PRIMARY KEY, label BLOB, label_copy BLOB, digest BLOB, body BLOB);
CREATE TABLE IF NOT EXISTS quarantine (id INTEGER PRIMARY KEY AUTOINCREMENT, label BLOB, digest BLOB, body BLOB);
"""

_READ_ROWS: Final = 16


@contextmanager
def transaction(db: apsw.Connection) -> Iterator[None]:
    """All of what is done inside, or nothing of it."""
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def place_of(row: SpoolRow) -> Place:
    """Where a row stands."""
    return Place(int(row.lane), row.epoch, row.first, row.last, row.rows, row.rows_after)


def insert_record(db: apsw.Connection, key: int, place: Place, body: bytes) -> None:
    """Write a record, its label twice, its digest beside it."""
    label = pack_place(place)
    db.execute("INSERT OR REPLACE INTO record VALUES (?,?,?,?,?)", (key, label, label, digest_of(label, body), body))


def delete_records(db: apsw.Connection, epoch: Epoch, first: int, last: int) -> None:
    """Delete the records that end within these numbers."""
    db.execute("DELETE FROM record WHERE key BETWEEN ? AND ?", (epoch.key(first), epoch.key(last)))


def places(db: apsw.Connection) -> Iterator[tuple[int, Place | None]]:
    """Key and place of every record in the order of keys; None for a place that cannot be read."""
    for key, label, copy in db.execute("SELECT key, label, label_copy FROM record ORDER BY key"):
        yield key, _either(label, copy)


def maybe_last(db: apsw.Connection, epoch: Epoch, below: int) -> Place | None:
    """The last record of an epoch that ends below a number."""
    query = "SELECT label, label_copy FROM record WHERE key BETWEEN ? AND ? ORDER BY key DESC"
    found = db.execute(query, (epoch.key(0), epoch.key(max(below, 1) - 1)))
    return next((place for label, copy in found if (place := _either(label, copy)) is not None), None)


def maybe_first(db: apsw.Connection, epoch: Epoch) -> Place | None:
    """The first record of an epoch."""
    query = "SELECT label, label_copy FROM record WHERE key BETWEEN ? AND ? ORDER BY key"
    found = db.execute(query, (epoch.key(0), epoch.key(epoch.head)))
    return next((place for label, copy in found if (place := _either(label, copy)) is not None), None)


def read_rows(db: apsw.Connection, epoch: Epoch, first: int, frames: int) -> list[SpoolRow]:
    """Up to `frames` records with `last` >= `first`, in order; damaged ones and holes without their message."""
    before = maybe_last(db, epoch, first)
    number, counted = (before.last, before.rows_after) if before else (epoch.floor, epoch.floor_rows)
    found: list[SpoolRow] = []

    def hole(until: int, rows_until: int) -> None:
        if number < until and first <= until:
            rows = max(rows_until - counted, 0)
            found.append(SpoolRow(epoch.lane, epoch.epoch, number + 1, until, rows, rows_until, None))

    query = "SELECT label, label_copy, digest, body FROM record WHERE key BETWEEN ? AND ? ORDER BY key"
    for label, copy, digest, body in db.execute(query, (epoch.key(max(first, 0)), epoch.key(epoch.head))):
        place = _either(label, copy)
        if place is None or place.epoch != epoch.epoch or place.first <= number:
            continue  # what it was is a hole now
        hole(place.first - 1, place.rows_after - place.rows)
        good = digest_of(pack_place(place), body) == digest
        found.append(SpoolRow(Lane(place.lane), *place[1:], body if good else None))
        number, counted = place.last, place.rows_after
        if len(found) >= frames:
            return found[:frames]
    hole(epoch.head, epoch.rows_end)
    return found


def read_all(db: apsw.Connection, epoch: Epoch) -> Iterator[SpoolRow]:
    """All records of an epoch, as `read_rows` gives them, a few at a time."""
    number = epoch.floor + 1
    while chunk := read_rows(db, epoch, number, _READ_ROWS):
        yield from chunk
        number = chunk[-1].last + 1


def _either(label: bytes, copy: bytes) -> Place | None:
    for candidate in (label, copy):
        place = unpack_label(candidate) if isinstance(candidate, bytes) else None
        if isinstance(place, Place):
            return place
    return None
