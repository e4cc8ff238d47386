"""The spool on SQLite: what waits for its acknowledgement survives kill -9, power cuts, full disks and flipped bits.

Promises:
- A change is one transaction in a write-ahead log with synchronous=FULL: synced before the call returns, or not there.
- Every piece carries a digest, checked on every read. A damaged record is handed out as damaged, with its numbers and
  counts intact; a hole where a record should be is handed out the same way.
- A damaged database never stops the start: what proves itself is carved out of it into a new one, the old file is set
  aside, and what was lost is said (`salvage`) and comes out of `rows` as damaged records.
- At most `size_max_bytes` of pages in use, besides a log of about 1 MiB and the reserve. Freed pages are used again.
- `replace` and `delete` succeed on a full disk: a reserve file makes room for them. Until the disk has room for the
  reserve again, the database does not grow. Where not even overwriting works, they too say SpoolFull.
- After a failed sync or any other broken word of the disk every call raises SpoolUnsafe.

Refuses to know what a record says. One connection, one thread at a time, one process on a folder (a lock sees to it).
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import apsw

from trueline_edge.spool.book import Book, Epoch
from trueline_edge.spool.carve import PAGE_SIZE, carve
from trueline_edge.spool.cells import Entry, Place, digest_of, pack_place, unpack_label
from trueline_edge.spool.files import Lock, Reserve, set_aside
from trueline_wire.delivery import SpoolFull, SpoolRow
from trueline_wire.envelope import Lane
from trueline_wire.errors import SpoolUnsafe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from trueline_wire.frame import Ancestor

__all__ = ["Salvage", "SqliteSpool"]

_WAL_PAGES_MAX: Final = 256
_RESERVE_BYTES: Final = _WAL_PAGES_MAX * PAGE_SIZE + 256 * 1024
"""Enough to move a whole log into a database that has to grow for it, and to write one more GAP."""
_QUARANTINE_ROWS_MAX: Final = 64
_MESSAGE_MAX: Final = 1 << 19

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS record (key INTEGER PRIMARY KEY, label BLOB, label_copy BLOB, digest BLOB, body BLOB);
CREATE TABLE IF NOT EXISTS state (slot INTEGER PRIMARY KEY, label BLOB, label_copy BLOB, digest BLOB, body BLOB);
CREATE TABLE IF NOT EXISTS state_copy (slot INTEGER PRIMARY KEY, label BLOB, label_copy BLOB, digest BLOB, body BLOB);
CREATE TABLE IF NOT EXISTS quarantine (id INTEGER PRIMARY KEY AUTOINCREMENT, label BLOB, digest BLOB, body BLOB);
"""


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


class SqliteSpool:
    """A `trueline_wire.delivery.Spool` in a folder.

    Args:
        folder: made if it is not there; holds spool.db, spool.lock and spool.reserve.
        size_max_bytes: pages in use, at most.
        vfs: name of an SQLite VFS; tests bring their own disks.

    Attributes:
        was_clean: the last owner said `close(clean=True)`.
        salvage: set if the database found here was damaged.

    Raises:
        ConfigError: another process uses the folder, or it cannot be written.
        SpoolUnsafe: not even a new database can be made here.
    """

    def __init__(self, folder: Path, *, size_max_bytes: int = 256 << 20, vfs: str | None = None) -> None:
        self.size_max_bytes: Final = size_max_bytes
        self.salvage: Salvage | None = None
        self._path = folder / "spool.db"
        self._suspect = folder / "spool.suspect"
        self._vfs = vfs
        self._unsafe: str | None = None
        self._wal_pages = 0
        self._lock = Lock(folder / "spool.lock")
        self._reserve = Reserve(folder / "spool.reserve", _RESERVE_BYTES)
        self._book = Book()
        try:
            self._db = self._open_or_salvage()
            self.was_clean = self._book.get("clean") is not None
            if self.was_clean:
                with suppress(SpoolFull):
                    self._essential(lambda: self._book.drop(self._db, "clean"))
        except BaseException:
            self._lock.release()
            raise
        self._reserve.maybe_refill()

    # ------------------------------------------------------------ opening

    def _open_or_salvage(self) -> apsw.Connection:
        reason = "a read of it failed" if self._suspect.exists() else ""
        if self._path.exists() and not reason:
            try:
                db = self._connect()
                problems = [str(row[0]) for row in db.execute("PRAGMA quick_check(3)")]
                if problems == ["ok"]:
                    db.execute(_TABLES)
                    self._load(db)
                    return db
                reason = "; ".join(problems)
                db.close()
            except (apsw.NotADBError, apsw.CorruptError, apsw.SQLError) as error:
                reason = str(error)
            except apsw.Error as error:
                raise SpoolUnsafe(f"{self._path}: {error}") from error
        try:
            if reason:
                return self._salvaged(reason)
            db = self._connect()
            db.execute(_TABLES)
        except apsw.Error as error:
            raise SpoolUnsafe(f"{self._path}: {error}") from error
        return db

    def _connect(self) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        db = apsw.Connection(str(self._path), flags=flags, vfs=self._vfs)
        db.set_busy_timeout(5000)
        db.execute(f"PRAGMA page_size={PAGE_SIZE}")
        wanted = [
            ("journal_mode", "wal"),
            ("synchronous", 2),
            ("journal_size_limit", _WAL_PAGES_MAX * (PAGE_SIZE + 24)),
            ("cache_size", -512),
        ]
        for name, value in wanted:
            db.execute(f"PRAGMA {name}={value}")
            got = db.pragma(name)
            if got != value:
                raise SpoolUnsafe(f"{self._path}: {name} is {got!r} where {value!r} was asked for")
        self._wal_pages = 0
        db.set_wal_hook(self._count_wal)  # and so no checkpoint but ours, whose failures we see
        return db

    def _count_wal(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _load(self, db: apsw.Connection) -> None:
        """Read the book, and mend what a flipped bit can do to keys and labels."""
        book = Book.load(db)
        moves: list[tuple[int, int | None]] = []
        for key, place in _places(db):
            wanted = book.adopt(key, place) if place is not None else None
            if wanted != key:
                moves.append((key, wanted))
        if moves or book.damaged:
            with _transaction(db):
                for key, wanted in moves:
                    if wanted is None:
                        db.execute("DELETE FROM record WHERE key=?", (key,))
                    else:
                        db.execute("UPDATE OR REPLACE record SET key=? WHERE key=?", (wanted, key))
                book.write_all(db)
        self._book = book

    def _salvaged(self, reason: str) -> apsw.Connection:
        aside = set_aside(self._path)
        places: set[Place] = set()
        entries: dict[str, tuple[int, bytes]] = {}
        for cell in carve(aside):
            if isinstance(cell.label, Entry) and cell.body is not None:
                known = entries.get(cell.label.name)
                if known is None or known[0] < cell.label.generation:
                    entries[cell.label.name] = (cell.label.generation, cell.body)
            elif isinstance(cell.label, Place):
                places.add(cell.label)
        book = Book.of({name: body for name, (_, body) in entries.items()})
        keys = {place: book.adopt(0, place) for place in sorted(places)}
        db = self._connect()
        db.execute(_TABLES)
        with _transaction(db):
            for cell in carve(aside):
                key = keys.get(cell.label) if isinstance(cell.label, Place) else None
                if key is not None and cell.body is not None and isinstance(cell.label, Place):
                    _insert(db, key, cell.label, cell.body)
            book.write_all(db)
        self._book = book
        self._suspect.unlink(missing_ok=True)
        records, missing, rows = 0, 0, 0
        for epoch in book.epochs.values():
            for row in self._read_all(db, epoch):
                if row.message is None:
                    missing += row.last - row.first + 1
                    rows += row.rows
                else:
                    records += 1
        self.salvage = Salvage(reason[:500], aside, records, missing, rows)
        return db

    # ------------------------------------------------------------ the port

    def epochs(self, lane: Lane) -> list[Ancestor]:
        """See `Spool.epochs`."""
        self._check()
        return [epoch.ancestor for epoch in self._book.of_lane(lane)]

    def rows(self, lane: Lane, epoch: bytes, first: int, frames: int) -> list[SpoolRow]:
        """See `Spool.rows`."""
        self._check()
        known = self._book.epochs.get((lane, epoch))
        if known is None or frames <= 0:
            return []
        try:
            return self._read(self._db, known, first, frames)
        except apsw.Error as error:
            raise self._broken(error) from error

    def append(self, rows: Sequence[SpoolRow], schemas: Sequence[bytes], checkpoint: bytes | None) -> None:
        """See `Spool.append`."""

        def work() -> None:
            for row in rows:
                if row.message is None or len(row.message) > _MESSAGE_MAX:
                    raise ValueError("a row to append carries its message")
                key = self._book.extend(self._db, row)
                _insert(self._db, key, _place(row), row.message)
            for schema in schemas:
                self._book.add_schema(self._db, schema)
            if checkpoint is not None:
                self._book.put(self._db, "checkpoint", checkpoint)
            if self.used_bytes > self.size_max_bytes:
                raise SpoolFull(f"{self.size_max_bytes} bytes are in use")
            if not may_grow and int(str(self._db.pragma("page_count"))) * PAGE_SIZE > self._path.stat().st_size:
                raise SpoolFull("the disk is full")

        may_grow = self._reserve.maybe_refill()
        self._write(work)

    def delete(self, lane: Lane, epoch: bytes, last: int) -> None:
        """See `Spool.delete`."""
        known = self._book.epochs.get((lane, epoch))
        if known is None:
            self._check()
            return

        def work() -> None:
            top = self._maybe_before(self._db, known, last + 1)
            self._db.execute(
                "DELETE FROM record WHERE key BETWEEN ? AND ?", (known.key(0), known.key(min(last, known.head)))
            )
            following = self._maybe_first(known)
            floor = min(last, known.head, following.first - 1 if following else known.head)
            if floor > known.floor:
                if following and floor == following.first - 1:
                    counted = following.rows_after - following.rows
                elif floor == known.head:
                    counted = known.rows_end
                else:  # all that is left is damaged
                    counted = top.rows_after if top else known.floor_rows
                self._book.change(self._db, known, floor=floor, floor_rows=counted)
            self._book.release_drained(self._db)

        self._essential(work)
        self._reserve.maybe_refill()

    def replace(self, rows: Sequence[SpoolRow], by: SpoolRow) -> None:
        """See `Spool.replace`."""
        known = self._book.epochs[by.lane, by.epoch]
        message = by.message
        if message is None:
            raise ValueError("the record that replaces others carries its message")
        first = min([by.first, *(row.first for row in rows)])
        damaged = [row for row in rows if row.message is None]
        keep = True

        def work() -> None:
            nonlocal keep
            if keep:
                keep = False  # on a second try, on a full disk, there is no room for what cannot be read anyway
                for row in damaged:
                    self._quarantine(known.key(row.last))
            for row in rows:
                self._db.execute(
                    "DELETE FROM record WHERE key BETWEEN ? AND ?", (known.key(row.first), known.key(row.last))
                )
            _insert(self._db, known.key(by.last), _place(by), message)
            start = by.rows_after - by.rows
            if by.first <= known.floor or (rows and first == known.floor + 1 < by.first):
                self._book.change(self._db, known, floor=by.first - 1, floor_rows=start, released=False)

        self._essential(work)

    def schema(self, schema_hash: bytes) -> bytes | None:
        """See `Spool.schema`."""
        self._check()
        return self._book.get(f"schema/{schema_hash.hex()}")

    def checkpoint(self) -> bytes | None:
        """See `Spool.checkpoint`."""
        self._check()
        return self._book.get("checkpoint")

    # ------------------------------------------------------------ beside the port

    @property
    def journal(self) -> bytes | None:
        """The pinned journal id."""
        return self._book.get("journal")

    @journal.setter
    def journal(self, journal: bytes) -> None:
        with suppress(SpoolFull):  # not kept yet: whoever pins it comes again while it is not
            self._essential(lambda: self._book.put(self._db, "journal", journal))

    @property
    def used_bytes(self) -> int:
        """Bytes of pages in use: messages and everything around them."""
        pages = int(str(self._db.pragma("page_count"))) - int(str(self._db.pragma("freelist_count")))
        return pages * PAGE_SIZE

    @property
    def rows_released(self) -> int:
        """Rows of both lanes that were acknowledged, dropped ones whose gap was acknowledged included."""
        newest = {epoch.lane: epoch for epoch in self._book.epochs.values()}
        waiting = {lane: next((e for e in self._book.of_lane(lane) if not e.released), None) for lane in newest}
        return sum((first.floor_rows if first else newest[lane].rows_end) for lane, first in waiting.items())

    @property
    def quarantined(self) -> int:
        """Damaged records kept aside."""
        count: int = self._db.execute("SELECT count(*) FROM quarantine").get
        return count

    def close(self, *, clean: bool) -> None:
        """Let go of the folder. `clean` says that nothing was left unsaid; the next owner learns it."""
        try:
            if clean and self._unsafe is None:
                with suppress(SpoolFull):
                    self._essential(lambda: self._book.put(self._db, "clean", b"1"))
            self._db.close()
        finally:
            self._lock.release()

    # ------------------------------------------------------------ reading

    def _read(self, db: apsw.Connection, epoch: Epoch, first: int, frames: int) -> list[SpoolRow]:
        """Records in order, holes as damaged records."""
        before = self._maybe_before(db, epoch, first)
        number, counted = (before.last, before.rows_after) if before else (epoch.floor, epoch.floor_rows)
        found: list[SpoolRow] = []

        def hole(until: int, rows_until: int) -> None:
            if number < until and first <= until:
                rows = max(rows_until - counted, 0)
                found.append(SpoolRow(epoch.lane, epoch.epoch, number + 1, until, rows, rows_until, None))

        cursor = db.execute(
            "SELECT label, label_copy, digest, body FROM record WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?",
            (epoch.key(max(first, 0)), epoch.key(epoch.head), frames),
        )
        exhausted = True
        for label, copy, digest, body in cursor:
            place = _either(label, copy)
            if place is None or place.epoch != epoch.epoch or place.first <= number:
                continue  # what it was is a hole now
            hole(place.first - 1, place.rows_after - place.rows)
            good = digest_of(pack_place(place), body) == digest
            found.append(SpoolRow(Lane(place.lane), *place[1:], body if good else None))
            number, counted = place.last, place.rows_after
            exhausted = len(found) < frames
        if exhausted:
            hole(epoch.head, epoch.rows_end)
        return found[:frames]

    def _maybe_before(self, db: apsw.Connection, epoch: Epoch, first: int) -> Place | None:
        query = "SELECT label, label_copy FROM record WHERE key BETWEEN ? AND ? ORDER BY key DESC"
        for label, copy in db.execute(query, (epoch.key(0), epoch.key(max(first, 1) - 1))):
            place = _either(label, copy)
            if place is not None:
                return place
        return None

    def _maybe_first(self, epoch: Epoch) -> Place | None:
        query = "SELECT label, label_copy FROM record WHERE key BETWEEN ? AND ? ORDER BY key"
        for label, copy in self._db.execute(query, (epoch.key(0), epoch.key(epoch.head))):
            place = _either(label, copy)
            if place is not None:
                return place
        return None

    def _read_all(self, db: apsw.Connection, epoch: Epoch) -> Iterator[SpoolRow]:
        number = epoch.floor + 1
        while chunk := self._read(db, epoch, number, 16):
            yield from chunk
            number = chunk[-1].last + 1

    # ------------------------------------------------------------ writing

    def _write(self, work: Callable[[], None]) -> None:
        """Run work in one synced transaction.

        Raises:
            SpoolFull: no room; nothing was written.
            SpoolUnsafe: the disk broke its word.
        """
        self._check()
        before = self._book.copy()
        try:
            with _transaction(self._db):
                work()
        except apsw.FullError as error:
            self._book = before
            self._move_log()  # so that the log can be written again from its start
            raise SpoolFull(f"{self._path.parent}: the disk is full") from error
        except apsw.Error as error:
            raise self._broken(error) from error
        except BaseException:
            self._book = before
            raise
        if self._wal_pages >= _WAL_PAGES_MAX:
            self._move_log()

    def _essential(self, work: Callable[[], None]) -> None:
        """Run work that makes room, or that must not fail for want of it."""
        try:
            return self._write(work)
        except SpoolFull:
            if not self._reserve.take():
                raise
            self._move_log()  # while there is room for it to become part of the database
        try:
            return self._write(work)
        except SpoolFull:  # the log had to go first
            return self._write(work)

    def _move_log(self) -> None:
        """Move the write-ahead log into the database, synced both ways."""
        try:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except (apsw.FullError, apsw.BusyError):
            return  # weather: the log goes on growing until the next try
        except apsw.Error as error:
            raise self._broken(error) from error
        self._wal_pages = 0

    def _quarantine(self, key: int) -> None:
        self._db.execute(
            "INSERT INTO quarantine (label, digest, body) SELECT label, digest, body FROM record WHERE key=?", (key,)
        )
        self._db.execute(
            "DELETE FROM quarantine WHERE id <= (SELECT max(id) FROM quarantine) - ?", (_QUARANTINE_ROWS_MAX,)
        )

    def _check(self) -> None:
        if self._unsafe is not None:
            raise SpoolUnsafe(self._unsafe)

    def _broken(self, error: apsw.Error) -> SpoolUnsafe:
        self._unsafe = f"{self._path}: {error} (SQLite code {getattr(error, 'extendedresult', 0)})"
        if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
            descriptor = os.open(self._suspect, os.O_WRONLY | os.O_CREAT, 0o600)  # the next start carves
            os.close(descriptor)
        return SpoolUnsafe(self._unsafe)


@contextmanager
def _transaction(db: apsw.Connection) -> Iterator[None]:
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _either(label: bytes, copy: bytes) -> Place | None:
    for candidate in (label, copy):
        place = unpack_label(candidate) if isinstance(candidate, bytes) else None
        if isinstance(place, Place):
            return place
    return None


def _places(db: apsw.Connection) -> Iterator[tuple[int, Place | None]]:
    for key, label, copy in db.execute("SELECT key, label, label_copy FROM record ORDER BY key"):
        yield key, _either(label, copy)


def _place(row: SpoolRow) -> Place:
    return Place(int(row.lane), row.epoch, row.first, row.last, row.rows, row.rows_after)


def _insert(db: apsw.Connection, key: int, place: Place, body: bytes) -> None:
    label = pack_place(place)
    db.execute("INSERT OR REPLACE INTO record VALUES (?,?,?,?,?)", (key, label, label, digest_of(label, body), body))
