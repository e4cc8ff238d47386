"""What the two state machines need of the world: a spool behind the sender, a store behind the receiver.

Promises nothing itself: it says what an implementation must promise. One conformance suite each
(`tests/contracts/test_spool.py`, `tests/contracts/test_store.py`) holds all implementations to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trueline_wire.envelope import Lane
    from trueline_wire.frame import Ancestor, Data, Gap

__all__ = [
    "Conflict",
    "EpochState",
    "Group",
    "LaneState",
    "Quarantined",
    "Spool",
    "SpoolFull",
    "SpoolRow",
    "Store",
    "StoreFull",
    "StoredFrame",
]

DecodedT = TypeVar("DecodedT")


class SpoolRow(NamedTuple):
    """One record as the spool holds it: signed bytes, and the little that is needed without reading them.

    `first`..`last` are the numbers it occupies; `rows_after` is the lane's lifetime row count after `last`;
    `rows` is how many readings rows it accounts for (a GAP: how many are missing); `message` is None where the
    stored bytes no longer match their digest (bit rot).
    """

    lane: Lane
    epoch: bytes
    first: int
    last: int
    rows: int
    rows_after: int
    message: bytes | None


class SpoolFull(Exception):  # noqa: N818 - says what is the case
    """There is no room for this append. Nothing was written; the spool is as it was."""


class Spool(Protocol):
    """A durable queue of bytes. Each method that changes it is one transaction, synced before it returns.

    Raises (all methods):
        SpoolUnsafe: a sync failed. Accept no more.
    """

    def epochs(self, lane: Lane) -> list[Ancestor]:
        """The epochs of a lane, oldest first, with their ends as given out and whether they were released.

        Released epochs older than the newest 64 may have been forgotten.
        """
        ...

    def rows(self, lane: Lane, epoch: bytes, first: int, frames: int) -> list[SpoolRow]:
        """Up to `frames` rows with `last` >= `first`, in order. Each message is checked against its digest."""
        ...

    def append(self, rows: Sequence[SpoolRow], schemas: Sequence[bytes], checkpoint: bytes | None) -> None:
        """Add rows (opening epochs that are new), schemas and the checkpoint: all or nothing.

        Args:
            rows: in order. A row of an unknown epoch opens it: its number is 1, its `rows_after` the epoch's start.
            schemas: encoded schemas (`Schema.encoded`) the rows need; known ones are skipped.
            checkpoint: opaque bytes to find again after a restart; None leaves the last one.

        Raises:
            SpoolFull: over the size limit, or the disk is full.
        """
        ...

    def delete(self, lane: Lane, epoch: bytes, last: int) -> None:
        """Forget rows whose `last` is at most this.

        An epoch that holds none then, and is not the newest, is released.
        """
        ...

    def replace(self, rows: Sequence[SpoolRow], by: SpoolRow) -> None:
        """Put one record (a GAP) in the place of neighbouring rows of one epoch; of none: between its neighbours.

        Must succeed on a full disk, and over the size limit.
        """
        ...

    def schema(self, schema_hash: bytes) -> bytes | None:
        """An encoded schema; None where it is unknown or corrupt."""
        ...

    def checkpoint(self) -> bytes | None:
        """What the last append left."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochState:
    """What the store knows of one epoch.

    Attributes:
        epoch: its id.
        last: all numbers up to this are accounted for (stored, quarantined or gap).
        end: highest number of a closed epoch, as the device told; None while open or unknown.
        parent: the epoch before it; None for a root or where it is unknown.
        orphaned: a later epoch forked off below it: its tail will not come.
        rows_start: the lane's lifetime rows when it was opened.
        rows: the lane's lifetime rows after `last`.
        head: highest number heard of (STATUS), at least `last`.
        rows_head: the lane's lifetime rows after `head`.
    """

    epoch: bytes
    last: int = 0
    end: int | None = None
    parent: bytes | None = None
    orphaned: bool = False
    rows_start: int = 0
    rows: int = 0
    head: int = 0
    rows_head: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneState:
    """The store's row for a lane.

    Attributes:
        version: grows by one with every commit that changes it (compare-and-swap).
        epochs: in the order they became known.
        lost: what the device said it lost before its spool, by reason.
        alarms: how often each was raised: "fork", "restored_or_cloned".
    """

    version: int = 0
    epochs: tuple[EpochState, ...] = ()
    lost: dict[str, int] = field(default_factory=dict)
    alarms: dict[str, int] = field(default_factory=dict)


class StoredFrame(NamedTuple, Generic[DecodedT]):
    """A DATA record to store, its bytes as received, and what `decode` made of it."""

    record: Data
    message: bytes
    decoded: DecodedT


class Quarantined(NamedTuple):
    """A numbered record that could not be understood: kept aside, its place in the lane taken."""

    device: str
    lane: Lane
    epoch: bytes
    number: int
    rows: int
    reason: str
    message: bytes


@dataclass(slots=True)
class Group(Generic[DecodedT]):
    """What is committed together.

    Attributes:
        lanes: for each (device, lane): the version this group builds on, and the state after it.
        frames: to store.
        gaps: each with the count of rows that are missing by it; overlap with what is known is trimmed off.
        quarantine: to keep aside.
        schemas: (device, encoded schema) to keep.
    """

    lanes: dict[tuple[str, Lane], tuple[int, LaneState]] = field(default_factory=dict)
    frames: list[StoredFrame[DecodedT]] = field(default_factory=list)
    gaps: list[tuple[Gap, int]] = field(default_factory=list)
    quarantine: list[Quarantined] = field(default_factory=list)
    schemas: list[tuple[str, bytes]] = field(default_factory=list)


class Conflict(Exception):  # noqa: N818 - says what is the case
    """Another consumer changed a lane since it was read. Nothing of the group was committed."""


class StoreFull(Exception):  # noqa: N818 - says what is the case
    """The journal's disk is full. Nothing of the group was committed."""


class Store(Protocol[DecodedT]):
    """The receiver's side of a journal."""

    @property
    def journal(self) -> bytes:
        """Eight random bytes given to this journal when it was made."""
        ...

    def lane(self, device: str, lane: Lane) -> LaneState:
        """A lane's state as committed; an empty one if the lane is unknown."""
        ...

    def schema(self, device: str, schema_hash: bytes) -> bytes | None:
        """An encoded schema of a device."""
        ...

    def commit(self, group: Group[DecodedT]) -> None:
        """Commit all of a group in one synced transaction, or nothing of it.

        Raises:
            Conflict: a lane's version is no longer the one the group builds on.
            StoreFull: no room.
            SpoolUnsafe: a sync failed; the process must end.
        """
        ...
