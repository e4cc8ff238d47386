"""The journal's tables, and how its connections are opened.

Promises: a journal made here is synced before its name can be found, and a journal of a later format is refused with a
word. Refuses to know what is written where and when (`journal`) and what it adds up to (`reader`).

    meta          journal id
    incarnations  one random id for each start of a writer: a restored journal goes on under another name
    devices       names, presence
    lanes         version (compare-and-swap), what the device lost and alarmed, and running totals of what was stored
    epochs        of each lane, in the order they became known
    streams       of each device, with the newest schema and the longest time span of one frame
    schemas       by device and hash
    frames        whole signed messages, as received
    gaps          numbers that will not come, rows that are missing by them, and why
    quarantine    numbered records that could not be understood; capped
    rollups       one row for each stream, minute and schema: packed columns (`rollups.RECORD`)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import apsw

from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FORMAT", "JOURNAL_NAME", "open_reader", "open_writer"]

JOURNAL_NAME: Final = "journal.db"
FORMAT: Final = 1
"""Version of the tables (SQLite's user_version)."""

_PAGE_BYTES: Final = 8192
_CACHE_KIB: Final = 16 * 1024
"""Few pages are written again and again, and the system keeps the others: more would only fill up slowly."""
_BUSY_TIMEOUT_MS: Final = 10_000

_TABLES: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE incarnations (id INTEGER PRIMARY KEY AUTOINCREMENT, incarnation BLOB NOT NULL, opened_ns INTEGER NOT NULL);
CREATE TABLE devices (id INTEGER PRIMARY KEY, device TEXT NOT NULL UNIQUE, online INTEGER);
CREATE TABLE lanes (
    id INTEGER PRIMARY KEY, device_id INTEGER NOT NULL, lane INTEGER NOT NULL,
    version INTEGER NOT NULL, heard_ns INTEGER NOT NULL, lost TEXT NOT NULL, alarms TEXT NOT NULL,
    frames INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, cells INTEGER NOT NULL DEFAULT 0,
    rows_stored INTEGER NOT NULL DEFAULT 0, rows_thinned INTEGER NOT NULL DEFAULT 0,
    rows_quarantined INTEGER NOT NULL DEFAULT 0, records_quarantined INTEGER NOT NULL DEFAULT 0,
    frames_expired INTEGER NOT NULL DEFAULT 0, rows_expired INTEGER NOT NULL DEFAULT 0,
    UNIQUE (device_id, lane)
);
CREATE TABLE epochs (
    lane_id INTEGER NOT NULL, epoch BLOB NOT NULL, position INTEGER NOT NULL, last INTEGER NOT NULL, "end" INTEGER,
    parent BLOB, orphaned INTEGER NOT NULL, rows_start INTEGER NOT NULL, rows INTEGER NOT NULL,
    head INTEGER NOT NULL, rows_head INTEGER NOT NULL,
    PRIMARY KEY (lane_id, epoch)
) WITHOUT ROWID;
CREATE TABLE streams (
    id INTEGER PRIMARY KEY, device_id INTEGER NOT NULL, stream TEXT NOT NULL,
    newest_schema_id INTEGER NOT NULL DEFAULT 0, span_max_ns INTEGER NOT NULL DEFAULT 0,
    UNIQUE (device_id, stream)
);
CREATE TABLE schemas (
    id INTEGER PRIMARY KEY, device_id INTEGER NOT NULL, hash BLOB NOT NULL, stream_id INTEGER, encoded BLOB NOT NULL,
    UNIQUE (device_id, hash)
);
CREATE TABLE frames (
    id INTEGER PRIMARY KEY AUTOINCREMENT, incarnation_id INTEGER NOT NULL,
    lane_id INTEGER NOT NULL, epoch BLOB NOT NULL, number INTEGER NOT NULL,
    stream_id INTEGER NOT NULL, schema_id INTEGER NOT NULL, time_first INTEGER NOT NULL, time_last INTEGER NOT NULL,
    rows INTEGER NOT NULL, stored INTEGER NOT NULL, received_ns INTEGER NOT NULL,
    checksum INTEGER NOT NULL, message BLOB NOT NULL
);
CREATE UNIQUE INDEX frames_by_number ON frames (lane_id, epoch, number);
CREATE INDEX frames_by_time ON frames (stream_id, time_first);
CREATE TABLE gaps (
    lane_id INTEGER NOT NULL, epoch BLOB NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    rows INTEGER NOT NULL, reason TEXT NOT NULL, time_first INTEGER NOT NULL, time_last INTEGER NOT NULL,
    PRIMARY KEY (lane_id, epoch, first)
) WITHOUT ROWID;
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT, lane_id INTEGER NOT NULL, epoch BLOB NOT NULL, number INTEGER NOT NULL,
    rows INTEGER NOT NULL, reason TEXT NOT NULL, received_ns INTEGER NOT NULL, message BLOB
);
CREATE TABLE rollups (
    stream_id INTEGER NOT NULL, minute INTEGER NOT NULL, schema_id INTEGER NOT NULL, columns BLOB NOT NULL,
    PRIMARY KEY (stream_id, minute, schema_id)
) WITHOUT ROWID;
INSERT INTO meta VALUES ('journal', randomblob(8));
"""


def open_writer(path: Path) -> apsw.Connection:
    """A connection that may write: WAL, synchronous=FULL, checkpoints left to the caller. Makes the tables if new.

    Raises:
        ConfigError: the file is not a journal, or of a later format.
        apsw.Error: the disk said no.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.wal_autocheckpoint(0)
        with connection:
            if connection.pragma("user_version") == 0:
                connection.execute(_TABLES)
                connection.pragma("user_version", FORMAT)
    except apsw.NotADBError:
        connection.close()
        raise ConfigError(f"{path} is not a journal: restore it from a backup, or move it away to start anew") from None
    _check_format(connection, path)
    _sync_folder(path.parent)
    return connection


def open_reader(path: Path) -> apsw.Connection:
    """A connection that cannot write.

    Raises:
        ConfigError: there is no journal, or it is of a later format.
    """
    if not path.exists():
        raise ConfigError(f"{path}: there is no journal here; `trueline-cloud serve` makes one at its first start")
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    connection.execute("PRAGMA temp_store = MEMORY")
    _check_format(connection, path)
    return connection


def _check_format(connection: apsw.Connection, path: Path) -> None:
    found = connection.pragma("user_version")
    if found != FORMAT:
        connection.close()
        raise ConfigError(f"{path} has format {found}: this version of Trueline reads format {FORMAT}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
