"""The journal's read side (`store.Reader`), on a connection that cannot write.

Promises: what one method answers is one snapshot. A stored frame is compared with its checksum before it is decoded: a
flipped bit is reported, never handed on. Refuses to know the writer: both only know the tables.

Queries that touch many rows let SQLite put them into one row: stepping through them from Python would hand the
interpreter lock back and forth with a busy ingest thread once a row.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from trueline_cloud.storage import rollups
from trueline_cloud.storage.rollups import RECORD, Records
from trueline_cloud.storage.store import MINUTE_NS, DeviceInfo, LaneLedger, NeverHeardOfError, Rollup, worst_verdict
from trueline_cloud.storage.tables import JOURNAL_NAME, open_reader
from trueline_wire.columns import decode_columns
from trueline_wire.envelope import Lane, open_envelope
from trueline_wire.errors import NeverRetry
from trueline_wire.frame import Data, read_record
from trueline_wire.readings import Readings, Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from trueline_wire.keys import Verifier

__all__ = ["FrameRow", "JournalReader"]

_LANES: Final = """
SELECT l.id, device, lane, heard_ns, lost, alarms, frames, bytes, cells, rows_stored, rows_thinned, rows_quarantined,
       (SELECT json_group_object(reason, n)
        FROM (SELECT reason, CAST(total(rows) AS INTEGER) AS n FROM gaps WHERE lane_id = l.id
              GROUP BY reason HAVING n > 0)),
       (SELECT json_array(count(*), max(CASE WHEN NOT orphaned THEN max(rows, rows_head) END),
                          CAST(total(CASE WHEN orphaned THEN 0 ELSE max(0, rows_head - rows) END) AS INTEGER),
                          CAST(total(CASE WHEN orphaned THEN max(0, rows_head - rows) ELSE 0 END) AS INTEGER),
                          max(orphaned),
                          max(rows_head))
        FROM epochs WHERE lane_id = l.id)
FROM lanes l JOIN devices d ON d.id = l.device_id"""

_ROLLUPS: Final = """
SELECT s.newest_schema_id, group_concat(minute), group_concat(schema_id), min(schema_id) = max(schema_id),
       CAST(group_concat(columns, '') AS BLOB)
FROM devices d JOIN streams s ON s.device_id = d.id
LEFT JOIN rollups r ON r.stream_id = s.id AND minute >= ? AND minute < ?
WHERE device = ? AND stream = ? AND newest_schema_id > 0"""

_FRAMES_AT_ONCE: Final = 64


class FrameRow(NamedTuple):
    """A stored frame, for those who check it."""

    device: str
    lane: str
    epoch: bytes
    number: int
    rows: int
    stored: int
    checksum: int
    message: bytes


class _BelievesAll:
    """What is in the journal was verified before it was stored (`ledger --verify` verifies it again)."""

    def verify(self, name: str, key_id: bytes, signature: bytes, message: bytes) -> None:
        """Whoever it was."""


class JournalReader:
    """See `store.Reader`.

    Args:
        path: the journal, or the folder it is in.
        corrupt: told of each stored frame that is skipped because its bytes are no longer what was stored.

    Raises:
        ConfigError: there is no journal, or not one this version reads.
    """

    def __init__(self, path: Path, corrupt: Callable[[str], None] = lambda _what: None) -> None:
        self._db = open_reader(path / JOURNAL_NAME if path.is_dir() else path)
        self._corrupt = corrupt
        self._verifier: Final[Verifier] = _BelievesAll()
        self._decoded: dict[int, Schema] = {}

    # ------------------------------------------------------------ the port

    def devices(self) -> list[DeviceInfo]:
        """All devices the store has heard of, by name."""
        with self._db:
            lanes: dict[str, list[LaneLedger]] = {}
            for ledger in self.ledger():
                lanes.setdefault(ledger.device, []).append(ledger)
            rows = self._all(
                "SELECT device, online, (SELECT json_group_array(stream) FROM (SELECT stream FROM streams"
                " WHERE device_id = d.id AND newest_schema_id > 0 ORDER BY stream)) FROM devices d ORDER BY device"
            )
        return [
            DeviceInfo(
                device=device,
                last_heard_ns=max((lane.as_of_ns for lane in lanes.get(device, [])), default=0),
                online=None if online is None else bool(online),
                streams=json.loads(streams),
                verdict=worst_verdict([lane.verdict for lane in lanes.get(device, [])]),
            )
            for device, online, streams in rows
        ]

    def streams(self, device: str) -> list[Schema]:
        """The newest schema of each stream of a device, by name.

        Raises:
            NeverHeardOfError: no such device.
        """
        rows = self._all(
            "SELECT newest_schema_id FROM streams WHERE device_id = ? AND newest_schema_id > 0 ORDER BY stream",
            (self._device_id(device),),
        )
        return [self._schema(schema_id) for (schema_id,) in rows]

    def span(self, device: str, stream: str) -> tuple[int, int] | None:
        """Time of a stream's first and last stored reading, ns since 1970; None where it has none.

        Raises:
            NeverHeardOfError: no such device or stream.
        """
        stream_id, _, span_max_ns = self._stream(device, stream)
        with self._db:
            ((first_ns, newest_ns),) = self._all(
                "SELECT (SELECT min(time_first) FROM frames WHERE stream_id = ?1),"
                " (SELECT max(time_first) FROM frames WHERE stream_id = ?1)",
                (stream_id,),
            )
            if first_ns is None:
                return None
            # A frame that begins earlier may end later, by no more than the longest frame.
            ((last_ns,),) = self._all(
                "SELECT max(time_last) FROM frames WHERE stream_id = ? AND time_first >= ?",
                (stream_id, max(newest_ns - span_max_ns, -(1 << 63))),
            )
        return first_ns, last_ns

    def ledger(self, device: str | None = None) -> list[LaneLedger]:
        """The lanes of one device, or of all, by device and lane.

        Raises:
            NeverHeardOfError: no such device.
        """
        if device is not None:
            self._device_id(device)
        where = "" if device is None else " WHERE device = ?"
        rows = self._all(f"{_LANES}{where} ORDER BY device, lane", () if device is None else (device,))
        return [_ledger(*row[1:]) for row in rows]

    def readings(self, device: str, stream: str, start_ns: int, end_ns: int) -> Iterator[Readings]:
        """Stored readings with start_ns <= time < end_ns, frame by frame in order of the frames' first time.

        Raises:
            NeverHeardOfError: no such device or stream.
        """
        stream_id, _, span_max_ns = self._stream(device, stream)
        return self._readings(stream_id, span_max_ns, start_ns, end_ns)

    def rollup(self, device: str, stream: str, start_ns: int, end_ns: int, step_ns: int) -> Rollup:
        """Readings with start_ns <= time < end_ns, summed up in steps aligned to multiples of `step_ns` since 1970.

        Raises:
            NeverHeardOfError: no such device or stream.
            ValueError: the step is not positive.
        """
        if step_ns <= 0:
            raise ValueError(f"a step of {step_ns} ns: it must be positive")
        if step_ns % MINUTE_NS == 0:
            minutes, records, schema = self._minutes(device, stream, start_ns // MINUTE_NS, -(-end_ns // MINUTE_NS))
            step, records = rollups.group(minutes * MINUTE_NS // step_ns, records)
        else:
            stream_id, schema_id, span_max_ns = self._stream(device, stream)
            schema = self._schema(schema_id)
            parts = [
                (step, _matched(records, batch.schema, schema))
                for batch in self._readings(stream_id, span_max_ns, start_ns, end_ns)
                for step, records in [rollups.summarise(batch, step_ns)]
            ]
            parts.append((np.empty(0, np.int64), np.empty((0, len(schema.channels)), RECORD)))
            step, records = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
            order = np.argsort(step, kind="stable")
            step, records = rollups.group(step[order], records[order])
        return _answer(step * step_ns, records, schema)

    def close(self) -> None:
        """Let go of the connection."""
        self._db.close()

    # ------------------------------------------------------------ beside the port

    def frames(self, device: str | None = None) -> Iterator[FrameRow]:
        """All stored frames, of one device or of all, in the order of their ids."""
        statement = (
            "SELECT f.id, device, lane, epoch, number, rows, stored, checksum, message FROM frames f"
            " JOIN lanes l ON l.id = lane_id JOIN devices d ON d.id = device_id"
            " WHERE f.id > ? AND (?2 IS NULL OR device = ?2) ORDER BY f.id LIMIT ?"
        )
        newest = 0
        while rows := self._all(statement, (newest, device, _FRAMES_AT_ONCE)):
            for newest, name, lane, *rest in rows:  # noqa: B007 - the last one is where the next step starts
                yield FrameRow(name, Lane(lane).name.lower(), *rest)

    def expired(self, device: str, lane: str) -> tuple[int, int]:
        """Frames and rows of a lane that retention has deleted."""
        frames, rows = self._all(
            "SELECT frames_expired, rows_expired FROM lanes WHERE device_id = ? AND lane = ?",
            (self._device_id(device), int(Lane[lane.upper()])),
        )[0]
        return frames, rows

    def check(self) -> list[str]:
        """What SQLite finds wrong with the file: nothing, it is hoped."""
        return [line for (line,) in self._all("PRAGMA integrity_check") if line != "ok"]

    # ------------------------------------------------------------ reading

    def _readings(self, stream_id: int, span_max_ns: int, start_ns: int, end_ns: int) -> Iterator[Readings]:
        statement = (
            "SELECT id, time_first, schema_id, checksum, message FROM frames WHERE stream_id = ?1"
            " AND (time_first, id) > (?2, ?3) AND time_first < ?4 AND time_last >= ?5 ORDER BY time_first, id LIMIT ?6"
        )
        reached = (max(start_ns - span_max_ns - 1, -(1 << 63)), 0)
        while rows := self._all(statement, (stream_id, *reached, end_ns, start_ns, _FRAMES_AT_ONCE)):
            for frame_id, time_first, schema_id, checksum, message in rows:
                reached = time_first, frame_id
                batch = self._decode(schema_id, checksum, message)
                if batch is None:
                    continue
                inside = (batch.time_ns >= start_ns) & (batch.time_ns < end_ns)
                if inside.all():
                    yield batch
                elif inside.any():
                    yield _cut(batch, inside)

    def _decode(self, schema_id: int, checksum: int, message: bytes) -> Readings | None:
        schema = self._schema(schema_id)
        try:
            if zlib.crc32(message) != checksum:
                raise NeverRetry("its bytes are no longer what was stored")
            record = read_record(open_envelope(message, schema.device, self._verifier))
            if not isinstance(record, Data):
                raise NeverRetry("it is not a frame")
            return decode_columns(record.body, schema, record.stored)
        except NeverRetry as error:
            self._corrupt(f"a frame of stream {schema.stream!r} of {schema.device} is skipped: {error.reason}")
            return None

    def _minutes(self, device: str, stream: str, first: int, last: int) -> tuple[NDArray[np.int64], Records, Schema]:
        newest, minutes, schema_ids, alike, columns = self._all(_ROLLUPS, (first, last, device, stream))[0]
        if newest is None:
            raise NeverHeardOfError(f"{device}/{stream}")
        schema = self._schema(newest)
        if minutes is None:
            return np.empty(0, np.int64), np.empty((0, len(schema.channels)), RECORD), schema
        minute, flat = np.fromstring(minutes, np.int64, sep=","), np.frombuffer(columns, RECORD)
        if alike:
            stored = self._schema(int(schema_ids.partition(",")[0]))
            return minute, _matched(flat.reshape(len(minute), -1), stored, schema), schema
        schema_id = [int(known) for known in schema_ids.split(",")]
        widths = {known: len(self._schema(known).channels) for known in set(schema_id)}
        ends = np.cumsum([widths[known] for known in schema_id])
        records = np.concatenate(
            [
                _matched(flat[end - widths[known] : end][None, :], self._schema(known), schema)
                for end, known in zip(ends.tolist(), schema_id, strict=True)
            ]
        )
        order = np.argsort(minute, kind="stable")
        return minute[order], records[order], schema

    def _device_id(self, device: str) -> int:
        rows = self._all("SELECT id FROM devices WHERE device = ?", (device,))
        if not rows:
            raise NeverHeardOfError(device)
        return int(rows[0][0])

    def _stream(self, device: str, stream: str) -> tuple[int, int, int]:
        rows = self._all(
            "SELECT id, newest_schema_id, span_max_ns FROM streams WHERE device_id = ? AND stream = ?"
            " AND newest_schema_id > 0",
            (self._device_id(device), stream),
        )
        if not rows:
            raise NeverHeardOfError(f"{device}/{stream}")
        stream_id, schema_id, span_max_ns = rows[0]
        return stream_id, schema_id, span_max_ns

    def _schema(self, schema_id: int) -> Schema:
        if schema_id not in self._decoded:
            ((encoded,),) = self._all("SELECT encoded FROM schemas WHERE id = ?", (schema_id,))
            self._decoded[schema_id] = Schema.decode(encoded)
        return self._decoded[schema_id]

    def _all(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        return self._db.execute(statement, values).fetchall()


def _ledger(
    device: str,
    lane: int,
    heard_ns: int,
    lost: str,
    alarms: str,
    frames: int,
    size: int,
    cells: int,
    stored: int,
    thinned: int,
    quarantined: int,
    gaps: str,
    epochs: str,
) -> LaneLedger:
    missing: dict[str, int] = json.loads(gaps)
    count, head, pending, orphaned, orphans, head_of_any = json.loads(epochs)
    head, pending, orphaned = head or head_of_any or 0, pending or 0, orphaned or 0
    if missing:
        verdict = "missing"
    elif orphans:
        verdict = "orphaned"
    else:
        verdict = "pending" if pending else "complete"
    return LaneLedger(
        device=device,
        lane=Lane(lane).name.lower(),
        verdict=verdict,
        as_of_ns=heard_ns,
        rows_head=head,
        rows_stored=stored,
        rows_thinned=thinned,
        rows_quarantined=quarantined,
        rows_missing=sum(missing.values()),
        rows_pending=pending,
        rows_orphaned=orphaned,
        missing_by_reason=missing,
        lost_before_spool=json.loads(lost),
        alarms=json.loads(alarms),
        frames=frames,
        epochs=count,
        bytes=size,
        values=cells,
    )


def _cut(batch: Readings, inside: NDArray[np.bool_]) -> Readings:
    return Readings(
        batch.schema,
        batch.time_ns[inside],
        batch.value[inside],
        batch.u[inside],
        batch.flag[inside],
        batch.reason[inside],
    )


def _matched(records: Records, stored: Schema, wanted: Schema) -> Records:
    """Records of one schema under the channels of another: by name; a channel it did not have is nothing counted."""
    names, wishes = [c.name for c in stored.channels], [c.name for c in wanted.channels]
    if names == wishes:
        return records
    matched = np.zeros((len(records), len(wishes)), RECORD)
    matched["min"], matched["max"] = np.inf, -np.inf
    for column, name in enumerate(wishes):
        if name in names:
            matched[:, column] = records[:, names.index(name)]
    return matched


def _answer(time_ns: NDArray[np.int64], records: Records, schema: Schema) -> Rollup:
    count = records["count"].astype(np.int64)
    nothing = count == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = records["sum"] / count
        u = np.sqrt(records["u2"] / records["count_u"]).astype(np.float32)
    return Rollup(
        time_ns=time_ns,
        count=count,
        mean=mean,
        minimum=np.where(nothing, np.nan, records["min"]),
        maximum=np.where(nothing, np.nan, records["max"]),
        u=u,
        flag=records["flag"].copy(),
        schema=schema,
    )
