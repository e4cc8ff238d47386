"""A spool in memory, for virtual devices by the thousand and for tests of the protocol.

Promises: the port `trueline_wire.delivery.Spool`, all but its durability: what it holds is gone with the process. The
real one, on disk, is the agent's; one conformance suite holds both to the port.
"""

from __future__ import annotations

import bisect
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from trueline_wire.delivery import SpoolFull, SpoolRow
from trueline_wire.envelope import Lane
from trueline_wire.frame import EPOCHS_REPORTED_MAX, SCHEMA_HASH_SIZE, Ancestor

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MemorySpool"]


@dataclass(slots=True)
class _Epoch:
    rows_start: int
    end: int = 0
    rows_end: int = 0
    waiting: list[SpoolRow] = field(default_factory=list)


class MemorySpool:
    """A queue of bytes that forgets everything with its process.

    Args:
        size_max_bytes: of all messages together; None for no bound.
    """

    def __init__(self, size_max_bytes: int | None = None) -> None:
        self._size_max: Final = size_max_bytes
        self._lanes: Final[dict[Lane, dict[bytes, _Epoch]]] = {lane: {} for lane in Lane}
        self._schemas: Final[dict[bytes, bytes]] = {}
        self._checkpoint: bytes | None = None
        self.size_bytes = 0
        """Of all messages that wait."""

    def epochs(self, lane: Lane) -> list[Ancestor]:
        """The epochs of a lane, oldest first, with their ends as given out and whether they were released."""
        known = self._lanes[lane]
        newest = next(reversed(known), None)
        return [
            Ancestor(epoch, held.end, held.rows_start, held.rows_end, not held.waiting and epoch != newest)
            for epoch, held in known.items()
        ]

    def rows(self, lane: Lane, epoch: bytes, first: int, frames: int) -> list[SpoolRow]:
        """Up to `frames` rows with `last` >= `first`, in order."""
        held = self._lanes[lane].get(epoch)
        if held is None:
            return []
        return [row for row in held.waiting if row.last >= first][:frames]

    def append(self, rows: Sequence[SpoolRow], schemas: Sequence[bytes], checkpoint: bytes | None) -> None:
        """Add rows, schemas and the checkpoint: all or nothing.

        Raises:
            SpoolFull: over the size limit.
        """
        size = sum(len(row.message or b"") for row in rows)
        if self._size_max is not None and self.size_bytes + size > self._size_max:
            raise SpoolFull
        for row in rows:
            known = self._lanes[row.lane]
            held = known.get(row.epoch)
            if held is None:
                held = known[row.epoch] = _Epoch(rows_start=row.rows_after)
                self._forget_old(known)
            held.waiting.append(row)
            held.end, held.rows_end = row.last, row.rows_after
        self.size_bytes += size
        for encoded in schemas:
            self._schemas.setdefault(hashlib.sha256(encoded).digest()[:SCHEMA_HASH_SIZE], encoded)
        if checkpoint is not None:
            self._checkpoint = checkpoint

    def _forget_old(self, known: dict[bytes, _Epoch]) -> None:
        for epoch in list(known)[:-EPOCHS_REPORTED_MAX]:
            if not known[epoch].waiting:
                del known[epoch]

    def delete(self, lane: Lane, epoch: bytes, last: int) -> None:
        """Forget rows whose `last` is at most this."""
        held = self._lanes[lane].get(epoch)
        if held is None:
            return
        self.size_bytes -= sum(len(row.message or b"") for row in held.waiting if row.last <= last)
        held.waiting = [row for row in held.waiting if row.last > last]

    def replace(self, rows: Sequence[SpoolRow], by: SpoolRow) -> None:
        """Put one record (a GAP) in the place of neighbouring rows of one epoch, or where no row is, in its place."""
        held = self._lanes[by.lane][by.epoch]
        gone = {row.first for row in rows}
        self.size_bytes += len(by.message or b"") - sum(len(r.message or b"") for r in held.waiting if r.first in gone)
        kept = [row for row in held.waiting if row.first not in gone]
        place = bisect.bisect_left(kept, by.first, key=lambda row: row.first)
        held.waiting = [*kept[:place], by, *kept[place:]]

    def schema(self, schema_hash: bytes) -> bytes | None:
        """An encoded schema; None where it is unknown."""
        return self._schemas.get(schema_hash)

    def checkpoint(self) -> bytes | None:
        """What the last append left."""
        return self._checkpoint
