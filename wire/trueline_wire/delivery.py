"""The two state machines of delivery, without I/O, clocks or randomness of their own.

`Sender` sits between a spool and a link, `Receiver` between links and a store. Both reach durability only through the
ports below, which the agent implements on SQLite, the cloud on its journal, simulators and tests in memory.

Promises: a row whose `Spool.append` returned is stored once, or it is counted under a reason, whatever is killed,
lost, wiped, doubled or reordered in between. Refuses to know what a row says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from trueline_wire.control import Ack
    from trueline_wire.envelope import Lane
    from trueline_wire.frame import Ancestor, Data, Gap
    from trueline_wire.keys import Signer, Verifier

DecodedT = TypeVar("DecodedT")


# ---------------------------------------------------------------- the sender's port


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
        """Forget rows whose `last` is at most this; when that drains an epoch that is not the newest, release it."""
        ...

    def replace(self, rows: Sequence[SpoolRow], by: SpoolRow) -> None:
        """Put one record (a GAP) in the place of neighbouring rows of one epoch. Must succeed on a full disk."""
        ...

    def schema(self, schema_hash: bytes) -> bytes | None:
        """An encoded schema; None where it is unknown or corrupt."""
        ...

    def checkpoint(self) -> bytes | None:
        """What the last append left."""
        ...


# ---------------------------------------------------------------- the sender


class Outgoing(NamedTuple):
    """A batch to append: columns already compressed (`columns.encode_columns`)."""

    lane: Lane
    schema: bytes
    """The encoded schema (`Schema.encoded`)."""
    rows: int
    time_first: int
    time_last: int
    body: bytes


class Transmit(NamedTuple):
    """A message for the link, and where it goes: "data", "event" or "control"."""

    channel: Literal["data", "event", "control"]
    message: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderLimits:
    """How much may be in flight, and how patient the sender is.

    Attributes:
        window_frames: records in flight, at most, over both lanes (MQTT: below the Receive Maximum).
        window_bytes: their bytes, at most.
        timeout_min_s: retransmission timer (RFC 6298), lower bound.
        timeout_max_s: upper bound.
        status_interval_s: how often STATUS is repeated.
    """

    window_frames: int = 32
    window_bytes: int = 512 * 1024
    timeout_min_s: float = 2.0
    timeout_max_s: float = 300.0
    status_interval_s: float = 60.0


@dataclass(slots=True)
class SenderCounts:
    """What a sender has done since it was made. Rows are readings rows."""

    rows_appended: int = 0
    rows_dropped: int = 0
    rows_corrupt: int = 0
    rows_lost: int = 0
    """Readings that could not be spooled at all."""
    frames_appended: int = 0
    frames_sent: int = 0
    frames_acknowledged: int = 0
    timeouts: int = 0
    alarms: dict[str, int] = field(default_factory=dict)
    """By name: "twin", "journal", "refused", "not_authentic"."""


class Sender:
    """One device's sender, both lanes. Not thread-safe: call it from one thread at a time.

    Args:
        spool: where records wait.
        device: the device's id.
        signer: the device's key.
        verifier: trusts the cloud's key under the name "cloud".
        rng: seeded in tests; gives epoch ids and jitter.
        limits: see `SenderLimits`.
        clean: the last stop was in order (goes into OPEN).
        journal: the pinned journal id; None pins the first that answers (see `journal` attribute to persist it).
    """

    def __init__(
        self,
        spool: Spool,
        *,
        device: str,
        signer: Signer,
        verifier: Verifier,
        rng: random.Random,
        limits: SenderLimits | None = None,
        clean: bool = False,
        journal: bytes | None = None,
    ) -> None: ...

    counts: SenderCounts
    journal: bytes | None

    def append(
        self, batches: Sequence[Outgoing], checkpoint: bytes | None = None, lost: dict[str, int] | None = None
    ) -> None:
        """Make batches durable. Returns once they are synced.

        A full spool drops its oldest rows into a GAP to make room; if even that is not enough, the batches are counted
        as lost (reason "spool_full") and STATUS says so.

        Raises:
            SpoolUnsafe: a sync failed.
        """

    def connected(self, now_s: float) -> None:
        """The link is up: say STATUS, send from the floor."""

    def disconnected(self) -> None:
        """The link is down: nothing is in flight any more."""

    def confirmed(self, now_s: float) -> None:
        """The link has handed a message over (PUBACK, CoAP answer or its failure): the timer may start."""

    def received(self, message: bytes, now_s: float) -> None:
        """A message from the cloud. One that is not authentic or not an ACK is counted and ignored."""

    def poll(self, now_s: float) -> list[Transmit]:
        """What to hand to the link now. Empty while disconnected, held, or the window is full."""
        raise NotImplementedError

    def wake_at(self) -> float | None:
        """When `poll` wants to be called again even if nothing happens (monotonic seconds); None: no need."""
        raise NotImplementedError

    @property
    def drained(self) -> bool:
        """Everything ever appended is acknowledged."""
        raise NotImplementedError


# ---------------------------------------------------------------- the receiver's port


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


# ---------------------------------------------------------------- the receiver


class Reply(NamedTuple):
    """A signed acknowledgement for a device."""

    device: str
    ack: Ack
    message: bytes


@dataclass(slots=True)
class ReceiverCounts:
    """What a receiver has done since it was made."""

    messages: int = 0
    not_authentic: int = 0
    unreadable: int = 0
    not_owned: int = 0
    frames: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    gaps: int = 0
    quarantined: int = 0
    commits: int = 0
    conflicts: int = 0
    busy: int = 0


class Receiver(Generic[DecodedT]):
    """Takes the messages of all devices of some shards. Not thread-safe.

    Args:
        store: see `Store`.
        verifier: trusts the devices' keys.
        signer: the cloud's key.
        decode: (record, encoded schema) -> whatever the store wants to see of it; raises NeverRetry for a body that
            cannot be understood, and the frame is quarantined with that reason.
        owns: whether a device is ours (its shard).
    """

    def __init__(
        self,
        store: Store[DecodedT],
        *,
        verifier: Verifier,
        signer: Signer,
        decode: Callable[[Data, bytes], DecodedT],
        owns: Callable[[str], bool] = lambda _device: True,
    ) -> None: ...

    counts: ReceiverCounts

    def received(self, device: str, message: bytes) -> list[Reply]:
        """Take one message that claims to be from `device` (the topic or path says so).

        Returns:
            Acknowledgements that can go out at once. Those of accepted records come from `commit`.
        """
        raise NotImplementedError

    @property
    def open_frames(self) -> int:
        """Records waiting in the open group."""
        raise NotImplementedError

    def commit(self) -> list[Reply]:
        """Commit the open group; then one acknowledgement for each lane in it. Nothing open: nothing happens.

        Raises:
            SpoolUnsafe: the store broke its word; end the process.
        """
        raise NotImplementedError

    def poison(self, device: str, message: bytes, reason: str) -> list[Reply]:
        """Like `received` for a record that killed the process twice: quarantined undecoded."""
        raise NotImplementedError
