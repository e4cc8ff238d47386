"""A spool seen from outside: read-only, also while an agent works on it.

Promises: never writes, never locks a working agent out. Refuses to know what a record says.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import apsw

from trueline_edge.spool.book import Book
from trueline_edge.spool.cells import Place, digest_of, unpack_label
from trueline_wire.envelope import Lane
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["LaneView", "SpoolView", "look_at", "waiting"]


@dataclass(frozen=True, slots=True)
class LaneView:
    """What waits in a lane.

    Attributes:
        lane: "data" or "event".
        epochs: epochs that hold something.
        frames: records that wait.
        rows: readings rows they account for.
        bytes: of their messages.
        oldest: (epoch as hex, number) of the oldest; None where nothing waits.
    """

    lane: str
    epochs: int
    frames: int
    rows: int
    bytes: int
    oldest: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class SpoolView:
    """What a spool holds.

    Attributes:
        lanes: both, data first.
        quarantined: damaged records kept aside.
        set_aside: names of damaged databases kept aside.
        file_bytes: of the database and its log.
        journal: the pinned journal's id as hex; None before the first acknowledgement.
    """

    lanes: tuple[LaneView, ...]
    quarantined: int
    set_aside: tuple[str, ...]
    file_bytes: int
    journal: str | None


@contextmanager
def _reading(folder: Path) -> Iterator[apsw.Connection]:
    """One consistent moment of the spool in a folder.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    path = folder / "spool.db"
    if not path.exists():
        raise ConfigError(f"no spool in {folder}: the agent has not run yet, or keeps its state elsewhere")
    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            db.set_busy_timeout(2000)
            db.execute("BEGIN")
            yield db
        finally:
            db.close()
    except apsw.Error as error:
        raise ConfigError(f"{path}: {error} (the agent mends it at its next start)") from error


def look_at(folder: Path) -> SpoolView:
    """What the spool in a state folder holds.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    with _reading(folder) as db:
        book = Book.load(db)
        quarantined: int = db.execute("SELECT count(*) FROM quarantine").get
        lanes = tuple(_look_at_lane(db, book, lane) for lane in Lane)
        journal = book.get("journal")
    files = [folder / name for name in ("spool.db", "spool.db-wal")]
    return SpoolView(
        lanes=lanes,
        quarantined=quarantined,
        set_aside=tuple(sorted(p.name for p in folder.glob("spool.db.corrupt-*") if not p.name.endswith("-wal"))),
        file_bytes=sum(path.stat().st_size for path in files if path.exists()),
        journal=None if journal is None else journal.hex(),
    )


def _look_at_lane(db: apsw.Connection, book: Book, lane: Lane) -> LaneView:
    epochs = frames = rows = size = 0
    oldest: tuple[str, int] | None = None
    for epoch in book.of_lane(lane):
        query = "SELECT label, length(body) FROM record WHERE key BETWEEN ? AND ? ORDER BY key"
        held = 0
        for label, length in db.execute(query, (epoch.key(0), epoch.key(epoch.head))):
            place = unpack_label(label)
            held += 1
            size += length
            if isinstance(place, Place):
                rows += place.rows
                oldest = oldest or (epoch.epoch.hex(), place.first)
        frames += held
        epochs += held > 0
    return LaneView(lane.name.lower(), epochs, frames, rows, size, oldest)


def waiting(folder: Path) -> Iterator[bytes]:
    """The signed messages that wait, whole ones only: data before events, each lane in order.

    Raises:
        ConfigError: there is no spool, or it cannot be read.
    """
    with _reading(folder) as db:
        book = Book.load(db)
        for lane in Lane:
            for epoch in book.of_lane(lane):
                query = "SELECT label, digest, body FROM record WHERE key BETWEEN ? AND ? ORDER BY key"
                for label, digest, body in db.execute(query, (epoch.key(0), epoch.key(epoch.head))):
                    if digest_of(label, body) == digest:
                        yield body
