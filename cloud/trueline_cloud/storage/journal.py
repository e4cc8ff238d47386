"""The journal: commit point [2]. Frames as received, gaps, quarantine, rollups and lane state, in one transaction.

Promises: when `Journal.commit` returns, all of a group is synced (SQLite, WAL, synchronous=FULL); when it raises,
nothing of it is there. Two writers cannot both move a lane: each lane row is compared and swapped inside
BEGIN IMMEDIATE, so any number of processes may own shards of one journal. A failed sync ends this writer for good.
Refuses to know links, keys and what a frame's bytes say: it is handed what was decoded.

The seam to the lake (built later): rows of `frames` are keyed (incarnation, id). Ids grow and are never given twice in
one incarnation (AUTOINCREMENT), and every start of a writer is a new random incarnation, so a journal restored from an
older copy never reuses a key. An exporter takes ranges of ids of one incarnation, names the incarnation as its
application id, and retention then deletes only what was exported.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from typing import TYPE_CHECKING, Any, Final, NoReturn

import apsw
import numpy as np

from trueline_cloud.crash_points import reach
from trueline_cloud.storage.rollups import RECORD, merge, summarise_all
from trueline_cloud.storage.store import MINUTE_NS
from trueline_cloud.storage.tables import open_writer
from trueline_wire.delivery import Conflict, EpochState, LaneState, StoreFull
from trueline_wire.errors import NeverRetry, SpoolUnsafe
from trueline_wire.readings import Readings, Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from trueline_wire.delivery import Group, StoredFrame
    from trueline_wire.envelope import Lane

__all__ = ["Journal"]

_CHECKPOINT_PAGES: Final = 2_000
_CACHED_MAX: Final = 50_000
_REASON_CHARS_MAX: Final = 300
_INTEGER_MAX: Final = (1 << 63) - 1
_ROWS_SANE: Final = 1 << 48
"""No gap is counted larger: an authentic device that claims 2^63 missing rows must not overflow anybody's sum."""

_INSERT_FRAME: Final = """
INSERT INTO frames (incarnation_id, lane_id, epoch, number, stream_id, schema_id, time_first, time_last, rows, stored,
                    received_ns, checksum, message) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"""
_SET_LANE: Final = """
UPDATE lanes SET version = ?, heard_ns = ?, lost = ?, alarms = ?, frames = frames + ?, bytes = bytes + ?,
    cells = cells + ?, rows_stored = rows_stored + ?, rows_thinned = rows_thinned + ?,
    rows_quarantined = rows_quarantined + ?, records_quarantined = records_quarantined + ?
WHERE id = ? AND version = ?"""
_PUT_EPOCH: Final = "INSERT OR REPLACE INTO epochs VALUES (?,?,?,?,?,?,?,?,?,?,?)"
_FIND_ROLLUP: Final = "SELECT columns FROM rollups WHERE stream_id = ? AND minute = ? AND schema_id = ?"
_PUT_ROLLUP: Final = "INSERT OR REPLACE INTO rollups VALUES (?,?,?,?)"
_ROLLUP_VALUES: Final = 200_000
"""Values that are summed up in one go, at most (and one stream's more): it bounds memory."""


class _Totals:
    """What one group adds to a lane's running totals."""

    __slots__ = ("bytes", "cells", "frames", "quarantined", "records_quarantined", "stored", "thinned")

    def __init__(self) -> None:
        self.frames = self.bytes = self.cells = self.stored = self.thinned = 0
        self.quarantined = self.records_quarantined = 0


class _Stream:
    """A stream as this writer last saw it."""

    __slots__ = ("id", "newest_schema_id", "span_max_ns")

    def __init__(self, id_: int, newest_schema_id: int, span_max_ns: int) -> None:
        self.id, self.newest_schema_id, self.span_max_ns = id_, newest_schema_id, span_max_ns


class Journal:
    """The receiver's store on SQLite (`trueline_wire.delivery.Store[Readings]`). For one thread.

    Args:
        path: the database file; made if it is not there.
        quarantine_records_max: records kept aside, at most; the oldest go first, their count stays in the ledger.
        quarantine_bytes_max: bytes kept aside, at most; the oldest lose their bytes first.
        now_ns: the cloud's clock, ns since 1970.
        committed: told of each group once it is synced.

    Raises:
        ConfigError: the file is not a journal this version knows.
        SpoolUnsafe: the disk said no.
    """

    def __init__(
        self,
        path: Path,
        *,
        quarantine_records_max: int = 10_000,
        quarantine_bytes_max: int = 64 * 1024 * 1024,
        now_ns: Callable[[], int] = time.time_ns,
        committed: Callable[[Group[Readings]], None] = lambda _group: None,
    ) -> None:
        self.path: Final = path
        self._quarantine_max = (quarantine_records_max, quarantine_bytes_max)
        self._now_ns = now_ns
        self._committed = committed
        self._unsafe = ""
        self._wal_pages = 0
        self._incarnation_id: int | None = None
        self._forget()
        try:
            self._db = open_writer(path)
            self._db.set_wal_hook(self._note_wal)
            self._journal = bytes(self._value("SELECT value FROM meta WHERE key = 'journal'"))
            self.incarnation: Final = os.urandom(8)
        except apsw.Error as error:
            raise SpoolUnsafe(f"journal {path}: {error}") from error

    # ------------------------------------------------------------ the port

    @property
    def journal(self) -> bytes:
        """Eight random bytes given to this journal when it was made."""
        return self._journal

    def lane(self, device: str, lane: Lane) -> LaneState:
        """A lane's state as committed; an empty one if the lane is unknown."""
        row = self._row(
            "SELECT l.id, version, lost, alarms FROM lanes l JOIN devices d ON d.id = device_id"
            " WHERE device = ? AND lane = ?",
            (device, int(lane)),
        )
        if row is None:
            return LaneState()
        epochs = self._run(
            'SELECT epoch, last, "end", parent, orphaned, rows_start, rows, head, rows_head FROM epochs'
            " WHERE lane_id = ? ORDER BY position",
            (row[0],),
        )
        state = LaneState(
            version=row[1], epochs=tuple(_epoch(e) for e in epochs), lost=json.loads(row[2]), alarms=json.loads(row[3])
        )
        self._remember(device, lane, state)
        return state

    def schema(self, device: str, schema_hash: bytes) -> bytes | None:
        """An encoded schema of a device."""
        found = self._encoded.get((device, schema_hash))
        if found is None:
            row = self._row(
                "SELECT encoded FROM schemas s JOIN devices d ON d.id = device_id WHERE device = ? AND hash = ?",
                (device, schema_hash),
            )
            if row is None:
                return None
            found = self._encoded[device, schema_hash] = bytes(row[0])
        return found

    def commit(self, group: Group[Readings]) -> None:
        """Commit all of a group in one synced transaction, or nothing of it.

        Raises:
            Conflict: a lane's version is no longer the one the group builds on, or the journal stayed locked.
            StoreFull: no room.
            SpoolUnsafe: a sync failed; the process must end.
        """
        try:
            self._begin()
            self._write(group)
            reach("in_commit")
            self._run("COMMIT")
            reach("after_commit")
        except apsw.Error as error:
            self._failed(error)
        except BaseException:
            self._roll_back()
            raise
        for (device, lane), (_, state) in group.lanes.items():
            self._remember(device, lane, state)
        self._checkpoint()
        self._committed(group)

    # ------------------------------------------------------------ beside the port

    def presence(self, online: dict[str, bool]) -> None:
        """Note which devices say they are there. Nothing depends on it but what people see.

        Raises:
            StoreFull: no room.
            SpoolUnsafe: a sync failed.
        """
        try:
            self._begin()
            for device, there in online.items():
                self._run("UPDATE devices SET online = ? WHERE id = ?", (there, self._device_id(device)))
            self._run("COMMIT")
        except apsw.Error as error:
            self._failed(error)

    def expire(self, before_ns: int, frames: int = 200) -> int:
        """Delete up to `frames` of the oldest frames that were received before `before_ns`. Totals stay right.

        Gaps, ledger and one-minute rollups stay; the space is used again.

        Returns:
            How many were deleted.

        Raises:
            SpoolUnsafe: a sync failed.
        """
        try:
            self._begin()
            old = list(self._run("SELECT id, lane_id, stored, received_ns FROM frames ORDER BY id LIMIT ?", (frames,)))
            old = [row for row in old if row[3] < before_ns]
            self._db.executemany("DELETE FROM frames WHERE id = ?", [(row[0],) for row in old])
            self._db.executemany(
                "UPDATE lanes SET frames_expired = frames_expired + 1, rows_expired = rows_expired + ? WHERE id = ?",
                [(row[2], row[1]) for row in old],
            )
            self._run("COMMIT")
        except apsw.Error as error:
            self._failed(error)
        self._checkpoint()
        return len(old)

    def quarantine_size(self) -> tuple[int, int]:
        """Records kept aside, and their bytes."""
        records, size = self._row("SELECT count(*), ifnull(sum(length(message)), 0) FROM quarantine") or (0, 0)
        return records, size

    def close(self) -> None:
        """Let go of the file. What was committed stays."""
        self._db.close()

    # ------------------------------------------------------------ one transaction

    def _write(self, group: Group[Readings]) -> None:
        now_ns = self._now_ns()
        if self._incarnation_id is None:
            self._run("INSERT INTO incarnations (incarnation, opened_ns) VALUES (?,?)", (self.incarnation, now_ns))
            self._incarnation_id = self._db.last_insert_rowid()
        lanes = {key: self._lane_id(*key) for key in group.lanes}
        totals = {key: _Totals() for key in group.lanes}
        for device, encoded in group.schemas:
            self._put_schema(device, encoded)
        frames, batches = self._frame_rows(group.frames, lanes, totals, now_ns)
        for item in group.quarantine:
            total = totals[item.device, item.lane]
            total.quarantined += min(item.rows, _ROWS_SANE)
            total.records_quarantined += 1
        self._compare_and_swap(group, lanes, totals, now_ns)  # before what would collide with another writer's rows
        if frames:
            self._db.executemany(_INSERT_FRAME, frames)
            for part in _parts(batches):
                self._roll_up(part, batches)
        for gap, rows in group.gaps:
            self._run(
                "INSERT INTO gaps VALUES (?,?,?,?,?,?,?,?)",
                (
                    *(lanes[gap.device, gap.lane], gap.epoch, gap.first, gap.last, min(rows, _ROWS_SANE), gap.reason),
                    *(gap.time_first, min(gap.time_last, _INTEGER_MAX)),
                ),
            )
        for item in group.quarantine:
            key = item.device, item.lane
            reason = item.reason[:_REASON_CHARS_MAX]
            self._run(
                "INSERT INTO quarantine (lane_id, epoch, number, rows, reason, received_ns, message)"
                " VALUES (?,?,?,?,?,?,?)",
                (lanes[key], item.epoch, item.number, item.rows, reason, now_ns, item.message),
            )
        if group.quarantine:
            self._cap_quarantine()

    def _frame_rows(
        self,
        frames: list[StoredFrame[Readings]],
        lanes: dict[tuple[str, Lane], int],
        totals: dict[tuple[str, Lane], _Totals],
        now_ns: int,
    ) -> tuple[list[tuple[Any, ...]], dict[tuple[int, int], list[Readings]]]:
        """The frames as rows of their table, and their readings by (stream, schema). Adds them to the totals."""
        rows: list[tuple[Any, ...]] = []
        batches: dict[tuple[int, int], list[Readings]] = {}
        for record, message, readings in frames:
            key = record.device, record.lane
            schema_id, stream = self._schema_of(record.device, readings.schema)
            span = record.time_last - record.time_first
            if span > stream.span_max_ns or stream.newest_schema_id != schema_id:
                stream.span_max_ns, stream.newest_schema_id = max(span, stream.span_max_ns), schema_id
                self._run(
                    "UPDATE streams SET span_max_ns = ?, newest_schema_id = ? WHERE id = ?",
                    (stream.span_max_ns, schema_id, stream.id),
                )
            rows.append(
                (
                    *(self._incarnation_id, lanes[key], record.epoch, record.number, stream.id, schema_id),
                    *(record.time_first, record.time_last, record.rows, record.stored, now_ns),
                    *(zlib.crc32(message), message),
                )
            )
            batches.setdefault((stream.id, schema_id), []).append(readings)
            total = totals[key]
            total.frames += 1
            total.bytes += len(message)
            total.cells += readings.value.size
            total.stored += record.stored
            total.thinned += min(record.rows - record.stored, _ROWS_SANE)
        return rows, batches

    def _roll_up(self, keys: list[tuple[int, int]], batches: dict[tuple[int, int], list[Readings]]) -> None:
        """Add the readings of some (stream, schema), all of as many channels, to their minutes."""
        which, minutes, records = summarise_all([batches[key] for key in keys], MINUTE_NS)
        places = [
            (keys[at][0], minute, keys[at][1]) for at, minute in zip(which.tolist(), minutes.tolist(), strict=True)
        ]
        known: list[bytes] = []
        merged: list[int] = []
        for at, place in enumerate(places):
            row = self._row(_FIND_ROLLUP, place)
            if row is not None:
                merged.append(at)
                known.append(row[0])
        if merged:
            before = np.frombuffer(b"".join(known), RECORD).reshape(len(known), -1)
            records[merged] = merge(before, records[merged])
        packed, size = records.tobytes(), records[0].nbytes
        rows = (
            (stream, minute, schema, packed[at * size : (at + 1) * size])
            for at, (stream, minute, schema) in enumerate(places)
        )
        self._db.executemany(_PUT_ROLLUP, rows)

    def _compare_and_swap(
        self,
        group: Group[Readings],
        lanes: dict[tuple[str, Lane], int],
        totals: dict[tuple[str, Lane], _Totals],
        now_ns: int,
    ) -> None:
        """Move all lanes of a group from the versions it builds on. Nobody else can move them until we are done."""
        moved: list[tuple[Any, ...]] = []
        epochs: list[tuple[Any, ...]] = []
        for key, (base, state) in group.lanes.items():
            total, lane_id = totals[key], lanes[key]
            moved.append(
                (
                    *(state.version, now_ns),
                    json.dumps(state.lost) if state.lost else "{}",
                    json.dumps(state.alarms) if state.alarms else "{}",
                    *(total.frames, total.bytes, total.cells, total.stored, total.thinned),
                    *(total.quarantined, total.records_quarantined, lane_id, base),
                )
            )
            epochs += self._epoch_rows(lane_id, key, base, state)
        before = self._db.total_changes()
        self._db.executemany(_SET_LANE, moved)
        if self._db.total_changes() - before != len(moved):
            raise Conflict("a lane is no longer at the version a group builds on")
        self._db.executemany(_PUT_EPOCH, epochs)

    def _epoch_rows(
        self, lane_id: int, key: tuple[str, Lane], base: int, state: LaneState
    ) -> Iterable[tuple[Any, ...]]:
        """The epochs that are not as we last saw them; all, where we do not know."""
        known = self._states.get(key)
        if known is None or known.version != base or len(known.epochs) > len(state.epochs):
            self._run("DELETE FROM epochs WHERE lane_id = ?", (lane_id,))
            before: tuple[EpochState, ...] = ()
        else:
            before = known.epochs
        for position, epoch in enumerate(state.epochs):
            if position < len(before) and (before[position] is epoch or before[position] == epoch):
                continue
            yield (
                *(lane_id, epoch.epoch, position, epoch.last, epoch.end, epoch.parent, epoch.orphaned),
                *(epoch.rows_start, min(epoch.rows, _INTEGER_MAX), epoch.head, min(epoch.rows_head, _INTEGER_MAX)),
            )

    def _lane_id(self, device: str, lane: Lane) -> int:
        """The id of a lane; one that is new begins at version 0. Ids are never given to another lane."""
        found = self._lane_ids.get((device, lane))
        if found is None:
            key = self._device_id(device), int(lane)
            self._run(
                "INSERT OR IGNORE INTO lanes (device_id, lane, version, heard_ns, lost, alarms)"
                " VALUES (?,?,0,0,'{}','{}')",
                key,
            )
            found = int(self._value("SELECT id FROM lanes WHERE device_id = ? AND lane = ?", key))
            self._lane_ids[device, lane] = found
        return found

    def _device_id(self, device: str) -> int:
        found = self._devices.get(device)
        if found is None:
            self._run("INSERT OR IGNORE INTO devices (device) VALUES (?)", (device,))
            found = self._devices[device] = int(self._value("SELECT id FROM devices WHERE device = ?", (device,)))
        return found

    def _put_schema(self, device: str, encoded: bytes) -> None:
        try:
            schema = Schema.decode(encoded)
        except NeverRetry:
            return  # its frames cannot be decoded either, and go to quarantine with that reason
        self._schema_of(device, schema)

    def _schema_of(self, device: str, schema: Schema) -> tuple[int, _Stream]:
        known = self._schemas.get((device, schema.hash))
        if known is not None:
            return known
        device_id = self._device_id(device)
        self._run("INSERT OR IGNORE INTO streams (device_id, stream) VALUES (?,?)", (device_id, schema.stream))
        row = self._row(
            "SELECT id, newest_schema_id, span_max_ns FROM streams WHERE device_id = ? AND stream = ?",
            (device_id, schema.stream),
        )
        stream = self._streams.setdefault(row[0], _Stream(*row)) if row else _Stream(0, 0, 0)
        self._run(
            "INSERT OR IGNORE INTO schemas (device_id, hash, stream_id, encoded) VALUES (?,?,?,?)",
            (device_id, schema.hash, stream.id, schema.encoded),
        )
        schema_id = int(
            self._value("SELECT id FROM schemas WHERE device_id = ? AND hash = ?", (device_id, schema.hash))
        )
        if stream.newest_schema_id == 0:
            self._run("UPDATE streams SET newest_schema_id = ? WHERE id = ?", (schema_id, stream.id))
            stream.newest_schema_id = schema_id
        self._schemas[device, schema.hash] = schema_id, stream
        return schema_id, stream

    def _cap_quarantine(self) -> None:
        records_max, bytes_max = self._quarantine_max
        self._run(
            "DELETE FROM quarantine WHERE id <= (SELECT id FROM quarantine ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (records_max,),
        )
        self._run(
            "UPDATE quarantine SET message = NULL WHERE message IS NOT NULL AND id <="
            " (SELECT max(id) FROM (SELECT id, sum(length(message)) OVER (ORDER BY id DESC) AS size"
            "  FROM quarantine) WHERE size > ?)",
            (bytes_max,),
        )

    # ------------------------------------------------------------ the connection

    def _begin(self) -> None:
        if self._unsafe:
            raise SpoolUnsafe(self._unsafe)
        self._run("BEGIN IMMEDIATE")

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> apsw.Cursor:
        return self._db.execute(statement, values)

    def _row(self, statement: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        return self._db.execute(statement, values).fetchone()

    def _value(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        return self._db.execute(statement, values).get

    def _note_wal(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self._wal_pages = pages
        return 0

    def _checkpoint(self) -> None:
        if self._wal_pages < _CHECKPOINT_PAGES:
            return
        try:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except (apsw.BusyError, apsw.FullError):
            return  # what was committed stays in the log, and the next commit tries again
        except apsw.Error as error:
            self._failed(error)

    def _failed(self, error: apsw.Error) -> NoReturn:
        """Leave the journal as it was, and say what the caller does next."""
        self._roll_back()
        if isinstance(error, (apsw.BusyError, apsw.LockedError)):
            raise Conflict(f"journal {self.path} is locked by another writer: {error}") from error
        if isinstance(error, apsw.FullError) or _no_space(error):
            raise StoreFull(f"journal {self.path}: {error}") from error
        if isinstance(error, (apsw.IOError, apsw.CorruptError, apsw.CantOpenError, apsw.ReadOnlyError)):
            self._unsafe = f"journal {self.path}: {error}"
            raise SpoolUnsafe(self._unsafe) from error
        raise error

    def _roll_back(self) -> None:
        self._forget()
        if self._db.in_transaction:
            self._run("ROLLBACK")

    def _forget(self) -> None:
        """What is cached may have been rolled back."""
        self._incarnation_id = None
        self._devices: dict[str, int] = {}
        self._streams: dict[int, _Stream] = {}
        self._schemas: dict[tuple[str, bytes], tuple[int, _Stream]] = {}
        self._encoded: dict[tuple[str, bytes], bytes] = {}
        self._states: dict[tuple[str, Lane], LaneState] = {}
        self._lane_ids: dict[tuple[str, Lane], int] = {}

    def _remember(self, device: str, lane: Lane, state: LaneState) -> None:
        if len(self._states) > _CACHED_MAX or len(self._schemas) > _CACHED_MAX or len(self._encoded) > _CACHED_MAX:
            incarnation_id = self._incarnation_id
            self._forget()
            self._incarnation_id = incarnation_id
        self._states[device, lane] = state


def _parts(batches: dict[tuple[int, int], list[Readings]]) -> Iterable[list[tuple[int, int]]]:
    """Keys whose readings have as many channels, in parts that are not too large to be summed up in one go."""
    by_width: dict[int, list[tuple[int, int]]] = {}
    for key, readings in batches.items():
        by_width.setdefault(readings[0].value.shape[1], []).append(key)
    for keys in by_width.values():
        part: list[tuple[int, int]] = []
        values = 0
        for key in keys:
            part.append(key)
            values += sum(batch.value.size for batch in batches[key])
            if values >= _ROLLUP_VALUES:
                yield part
                part, values = [], 0
        if part:
            yield part


def _epoch(row: tuple[Any, ...]) -> EpochState:
    epoch, last, end, parent, orphaned, rows_start, rows, head, rows_head = row
    return EpochState(
        epoch=bytes(epoch),
        last=last,
        end=end,
        parent=parent,
        orphaned=bool(orphaned),
        rows_start=rows_start,
        rows=rows,
        head=head,
        rows_head=rows_head,
    )


def _no_space(error: apsw.Error) -> bool:
    """Whether an I/O error is a full disk in disguise (growing the shared memory file of the WAL)."""
    return getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE
