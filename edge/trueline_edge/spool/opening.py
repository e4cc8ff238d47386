"""Opening a spool: a database that is whole is used, one that is not is carved into a new one and set aside.

Promises: whatever is found, a start succeeds as long as the disk takes a few pages; what was lost is said. A new
database takes the old one's name only when it is complete and synced, so a kill in between loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import apsw

from trueline_edge.spool.book import Book
from trueline_edge.spool.carve import PAGE_SIZE, carve
from trueline_edge.spool.cells import Entry, Place
from trueline_edge.spool.files import set_aside, sync_folder
from trueline_edge.spool.records import TABLES, insert_record, places, read_all, transaction
from trueline_wire.errors import SpoolUnsafe

if TYPE_CHECKING:
    from pathlib import Path

    from trueline_edge.spool.files import Reserve

__all__ = ["WAL_PAGES_MAX", "Opened", "Salvage", "open_database", "says_damage", "suspect"]

WAL_PAGES_MAX: Final = 256
"""Pages in the write-ahead log before it is moved into the database."""

_BATCH: Final = 64
_REASON_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Salvage:
    """What was found when a damaged database was opened.

    Attributes:
        reason: what SQLite said of it.
        aside: where the damaged file is now.
        records: records carried over.
        records_lost: numbers for which no record was found; `rows` hands them out as damaged.
        rows_lost: readings rows they account for.
    """

    reason: str
    aside: Path
    records: int
    records_lost: int
    rows_lost: int


class Opened(NamedTuple):
    """A connection, what it knows beside its records, and what was mended on the way."""

    db: apsw.Connection
    book: Book
    salvage: Salvage | None


def suspect(path: Path) -> Path:
    """The mark that a read of this database failed, whatever a check of it says."""
    return path.with_name("spool.suspect")


def open_database(path: Path, reserve: Reserve, vfs: str | None = None) -> Opened:
    """The database at a path, made if it is not there, salvaged if it is damaged.

    Raises:
        SpoolUnsafe: not even a new database can be made here.
    """
    fresh = path.with_name(path.name + ".new")
    if fresh.exists() and not path.exists():
        fresh.rename(path)  # complete: only then was the old one set aside
    try:
        reason = "a read of it failed" if suspect(path).exists() else ""
        if not reason:
            try:
                return _open_whole(path, vfs)
            except (_DamagedError, apsw.SQLError) as error:
                reason = str(error)
            except apsw.Error as error:
                if _says_full(error) and reserve.take():
                    return _open_whole(path, vfs)
                if not says_damage(error):
                    raise
                reason = str(error)
        aside = _salvage(path, fresh, reserve, vfs)
        db, book, _ = _open_whole(path, vfs)
        return Opened(db, book, _account(db, book, reason[:_REASON_MAX], aside))
    except (apsw.Error, OSError, _DamagedError) as error:
        raise SpoolUnsafe(f"{path}: {error}") from error


def says_damage(error: apsw.Error) -> bool:
    """Whether an error speaks of the file and not of the disk: not a database, damaged, or shorter than it says."""
    short = getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHORT_READ
    return short or isinstance(error, (apsw.CorruptError, apsw.NotADBError))


def _says_full(error: apsw.Error) -> bool:
    """Whether there was no room to open it: for a page, or for the file in which SQLite shares its log's index."""
    return isinstance(error, apsw.FullError) or getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE


class _DamagedError(Exception):
    """SQLite's own check finds the database damaged; the message says how."""


def _open_whole(path: Path, vfs: str | None) -> Opened:
    db = _connect(path, vfs)
    try:
        problems = [str(row[0]) for row in db.execute("PRAGMA quick_check(3)")]
        if problems != ["ok"]:
            raise _DamagedError("; ".join(problems))
        db.execute(TABLES)
        return Opened(db, _load(db), None)
    except BaseException:
        db.close()
        raise


def _connect(path: Path, vfs: str | None) -> apsw.Connection:
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, vfs=vfs)
    db.set_busy_timeout(5000)
    db.execute(f"PRAGMA page_size={PAGE_SIZE}")
    wanted = [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("journal_size_limit", WAL_PAGES_MAX * (PAGE_SIZE + 24)),
        ("cache_size", -512),
    ]
    for name, value in wanted:
        db.execute(f"PRAGMA {name}={value}")
        got = db.pragma(name)
        if got != value:
            db.close()
            raise SpoolUnsafe(f"{path}: {name} is {got!r} where {value!r} was asked for")
    return db


def _load(db: apsw.Connection) -> Book:
    """Read the book, and mend what a flipped bit can do to keys and labels."""
    book = Book.load(db)
    moves: list[tuple[int, int | None]] = []
    for key, place in places(db):
        wanted = book.adopt(key, place) if place is not None else None
        if wanted != key:
            moves.append((key, wanted))
    if moves or book.damaged:
        with transaction(db):
            for key, wanted in moves:
                if wanted is None:
                    db.execute("DELETE FROM record WHERE key=?", (key,))
                else:
                    db.execute("UPDATE OR REPLACE record SET key=? WHERE key=?", (wanted, key))
            book.write_all(db)
    return book


# ---------------------------------------------------------------- salvage


def _salvage(path: Path, fresh: Path, reserve: Reserve, vfs: str | None) -> Path:
    """Carve a new database out of the old one, and set the old one aside; where it is now."""
    try:
        _carve_into(fresh, path, vfs, with_records=True)
    except apsw.FullError:  # no room for both: what is known of the records stays, and they are handed out as lost
        reserve.take()
        _carve_into(fresh, path, vfs, with_records=False)
    aside = set_aside(path)
    fresh.rename(path)
    suspect(path).unlink(missing_ok=True)
    sync_folder(path.parent)
    return aside


def _carve_into(fresh: Path, old: Path, vfs: str | None, *, with_records: bool) -> None:
    for suffix in ("", "-wal", "-shm"):
        fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)
    found: set[Place] = set()
    entries: dict[str, tuple[int, bytes]] = {}
    for label, body in carve(old):
        if isinstance(label, Place):
            found.add(label)
        elif isinstance(label, Entry) and body is not None:
            known = entries.get(label.name)
            if known is None or known[0] < label.generation:
                entries[label.name] = (label.generation, body)
    book = Book.of({name: body for name, (_, body) in entries.items()})
    keys = {place: book.adopt(0, place) for place in sorted(found)}
    db = _connect(fresh, vfs)
    try:
        db.execute(TABLES)
        with transaction(db):
            book.write_all(db)
        if with_records:
            _copy_records(db, old, keys)
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        db.close()


def _copy_records(db: apsw.Connection, old: Path, keys: dict[Place, int | None]) -> None:
    batch: list[tuple[int, Place, bytes]] = []
    for label, body in carve(old):
        key = keys.get(label) if isinstance(label, Place) else None
        if key is not None and body is not None and isinstance(label, Place):
            batch.append((key, label, body))
        if len(batch) >= _BATCH:
            _write_batch(db, batch)
    _write_batch(db, batch)


def _write_batch(db: apsw.Connection, batch: list[tuple[int, Place, bytes]]) -> None:
    with transaction(db):
        for key, place, body in batch:
            insert_record(db, key, place, body)
    batch.clear()


def _account(db: apsw.Connection, book: Book, reason: str, aside: Path) -> Salvage:
    """What came over, and what did not."""
    records, missing, rows = 0, 0, 0
    for epoch in book.epochs.values():
        for row in read_all(db, epoch):
            if row.message is None:
                missing += row.last - row.first + 1
                rows += row.rows
            else:
                records += 1
    return Salvage(reason, aside, records, missing, rows)
