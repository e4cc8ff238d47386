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
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import apsw

from trueline_edge.spool.carve import PAGE_SIZE
from trueline_edge.spool.files import Lock, Reserve
from trueline_edge.spool.opening import WAL_PAGES_MAX, Salvage, open_database, says_damage, suspect
from trueline_edge.spool.records import (
    delete_records,
    insert_record,
    maybe_first,
    maybe_last,
    place_of,
    read_rows,
    transaction,
)
from trueline_wire.delivery import SpoolFull, SpoolRow
from trueline_wire.errors import SpoolUnsafe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from trueline_wire.envelope import Lane
    from trueline_wire.frame import Ancestor

__all__ = ["Salvage", "SqliteSpool"]

_RESERVE_BYTES: Final = WAL_PAGES_MAX * PAGE_SIZE + 256 * 1024
"""Enough to move a whole log into a database that has to grow for it, and to write one more GAP."""
_QUARANTINE_ROWS_MAX: Final = 64
_MESSAGE_MAX: Final = 1 << 19


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
        self._path = folder / "spool.db"
        self._unsafe: str | None = None
        self._wal_pages = 0
        self._lock = Lock(folder / "spool.lock")
        self._reserve = Reserve(folder / "spool.reserve", _RESERVE_BYTES)
        try:
            self._db, self._book, self.salvage = open_database(self._path, self._reserve, vfs)
            self._db.set_wal_hook(self._count_wal)  # and so no checkpoint but ours, whose failures we see
            self.was_clean = self._book.get("clean") is not None
            if self.was_clean:
                with suppress(SpoolFull):
                    self._essential(lambda: self._book.drop(self._db, "clean"))
        except BaseException:
            self._lock.release()
            raise
        self._reserve.maybe_refill()

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
            return read_rows(self._db, known, first, frames)
        except apsw.Error as error:
            raise self._broken(error) from error

    def append(self, rows: Sequence[SpoolRow], schemas: Sequence[bytes], checkpoint: bytes | None) -> None:
        """See `Spool.append`."""

        def work() -> None:
            for row in rows:
                if row.message is None or len(row.message) > _MESSAGE_MAX:
                    raise ValueError("a row to append carries its message")
                key = self._book.extend(self._db, row)
                insert_record(self._db, key, place_of(row), row.message)
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
            top = maybe_last(self._db, known, last + 1)
            delete_records(self._db, known, 0, min(last, known.head))
            following = maybe_first(self._db, known)
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
                delete_records(self._db, known, row.first, row.last)
            insert_record(self._db, known.key(by.last), place_of(by), message)
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
            with transaction(self._db):
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
        if self._wal_pages >= WAL_PAGES_MAX:
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

    def _count_wal(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

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
        if says_damage(error):
            descriptor = os.open(suspect(self._path), os.O_WRONLY | os.O_CREAT, 0o600)  # the next start carves
            os.close(descriptor)
        return SpoolUnsafe(self._unsafe)
