"""The receiver: takes each lane's records in order, commits them in groups, and only then acknowledges.

Promises: an acknowledgement names only numbers whose records a synced transaction of the store holds; each number is
stored once; what will never come is written down as a gap. Refuses to know sockets, disks and what a body holds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from trueline_wire.control import Ack, AckCode, Status, read_schema, read_status
from trueline_wire.delivery.ports import (
    Conflict,
    EpochState,
    Group,
    LaneState,
    Quarantined,
    Store,
    StoredFrame,
    StoreFull,
)
from trueline_wire.envelope import Kind, Lane, open_envelope
from trueline_wire.errors import NeverRetry, NotAuthentic
from trueline_wire.frame import Ancestor, Data, Gap, Open, Record, read_record
from trueline_wire.readings import Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trueline_wire.keys import Signer, Verifier

__all__ = ["Receiver", "ReceiverCounts", "Reply"]

DecodedT = TypeVar("DecodedT")

_REORDER_FRAMES: Final = 32  # records kept for a lane that came before their turn
_REORDER_LANES: Final = 1024  # lanes with such records, at most


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
    schemas: int = 0
    statuses: int = 0
    commits: int = 0
    conflicts: int = 0
    busy: int = 0


def _descent(parent: bytes | None, rows_start: int) -> bytes | None:
    """Whose child an epoch is: its parent's, nobody's (b"": no rows before it), or None: of one that is not known."""
    return b"" if parent is None and rows_start == 0 else parent


@dataclass(slots=True)
class _Lane:
    """A lane as this receiver sees it: what is committed, and what the open group will add."""

    committed: LaneState
    epochs: dict[bytes, EpochState]
    lost: dict[str, int]
    alarms: dict[str, int]
    in_group: bool = False
    answers: dict[bytes, None] = field(default_factory=dict)  # epochs the commit's acknowledgements speak of
    early: dict[tuple[bytes, int], tuple[Record, bytes]] = field(default_factory=dict)
    children: Counter[bytes | None] = field(default_factory=Counter)  # of each parent, how many are known
    told: Reply | None = None  # the last acknowledgement

    @classmethod
    def of(cls, committed: LaneState) -> _Lane:
        epochs = {epoch.epoch: epoch for epoch in committed.epochs}
        children = Counter(_descent(epoch.parent, epoch.rows_start) for epoch in committed.epochs)
        return cls(committed, epochs, dict(committed.lost), dict(committed.alarms), children=children)

    def state(self) -> LaneState:
        return LaneState(
            version=self.committed.version + 1,
            epochs=tuple(self.epochs.values()),
            lost=dict(self.lost),
            alarms=dict(self.alarms),
        )

    def last_committed(self, epoch: bytes) -> int:
        return next((known.last for known in self.committed.epochs if known.epoch == epoch), 0)

    def due(self, epoch: bytes) -> int:
        """The number that comes next in an epoch, counting the open group."""
        known = self.epochs.get(epoch)
        return known.last + 1 if known is not None else 1

    def line_of(self, epoch: bytes | None) -> set[bytes]:
        """An epoch and those before it, as far as known."""
        line: set[bytes] = set()
        while epoch is not None and epoch not in line and epoch in self.epochs:
            line.add(epoch)
            epoch = self.epochs[epoch].parent
        return line

    def alarm(self, name: str) -> None:
        self.alarms[name] = self.alarms.get(name, 0) + 1


class Receiver(Generic[DecodedT]):
    """Takes the messages of all devices of some shards. Not thread-safe.

    Args:
        store: see `Store`.
        verifier: trusts the devices' keys.
        signer: the cloud's key.
        decode: (record, encoded schema) -> whatever the store wants to see of it; raises NeverRetry for a body that
            cannot be understood, and the frame is quarantined with that reason.
        owns: whether a device is ours (its shard).

    Attributes:
        counts: see `ReceiverCounts`.
        credit: frames in flight granted to each lane with every acknowledgement; 0 tells all to hold.
    """

    def __init__(
        self,
        store: Store[DecodedT],
        *,
        verifier: Verifier,
        signer: Signer,
        decode: Callable[[Data, bytes], DecodedT],
        owns: Callable[[str], bool] = lambda _device: True,
    ) -> None:
        self.counts = ReceiverCounts()
        self.credit = 64
        self._store = store
        self._verifier = verifier
        self._signer = signer
        self._decode = decode
        self._owns = owns
        self._lanes: dict[tuple[str, Lane], _Lane] = {}
        self._early_lanes: set[tuple[str, Lane]] = set()
        self._schemas: dict[tuple[str, bytes], bytes] = {}
        self._group: Group[DecodedT] = Group()
        self._open: dict[tuple[str, Lane], _Lane] = {}
        self._poisoned: str | None = None

    # ------------------------------------------------------------ messages

    def received(self, device: str, message: bytes) -> list[Reply]:
        """Take one message that claims to be from `device` (the topic or path says so).

        Returns:
            Acknowledgements that can go out at once. Those of accepted records come from `commit`.
        """
        self.counts.messages += 1
        if not self._owns(device):
            self.counts.not_owned += 1
            return []
        try:
            envelope = open_envelope(message, device, self._verifier)
            if envelope.header.get(0) != device:
                raise NotAuthentic("the header names another device than the topic")
            if envelope.kind is Kind.STATUS:
                return self._status(read_status(envelope))
            if envelope.kind is Kind.SCHEMA:
                self._schema(device, read_schema(envelope).encoded)
                return []
            record = read_record(envelope)
        except NotAuthentic:
            self.counts.not_authentic += 1
            return []
        except NeverRetry:
            self.counts.unreadable += 1
            return []
        return self._record(record, message)

    def poison(self, device: str, message: bytes, reason: str) -> list[Reply]:
        """Like `received` for a record that killed the process twice: its body is quarantined undecoded."""
        self._poisoned = reason
        try:
            return self.received(device, message)
        finally:
            self._poisoned = None

    # ------------------------------------------------------------ records

    def _record(self, record: Record, message: bytes) -> list[Reply]:
        key = (record.device, record.lane)
        lane = self._lane(key)
        if record.first != lane.due(record.epoch) and not self._silent(lane):
            lane = self._reread(key)
        if record.first == lane.due(record.epoch):
            return self._take_run(key, lane, record, message)
        if record.first < lane.due(record.epoch):
            self.counts.duplicates += 1
        else:
            self.counts.out_of_order += 1
            self._keep_early(key, lane, record, message)
        return [] if self._silent(lane) else [self._reply(key, lane, record.epoch)]

    def _silent(self, lane: _Lane) -> bool:
        """While a group is open its commit will answer; to answer each stray record as well makes a storm."""
        return lane.in_group

    def _take_run(self, key: tuple[str, Lane], lane: _Lane, record: Record, message: bytes) -> list[Reply]:
        """Take a record that is due, and those that came before their turn behind it."""
        while True:
            if isinstance(record, Data) and self._encoded_schema(record.device, record.schema) is None:
                now = _Lane.of(self._store.lane(*key))  # an old number would make the sender give up what is stored
                return [self._reply(key, now, record.epoch, AckCode.NEED_SCHEMA, record.schema)]
            self._take(key, lane, record, message)
            early = lane.early.pop((record.epoch, record.last + 1), None)
            if early is None:
                return []
            record, message = early

    def _take(self, key: tuple[str, Lane], lane: _Lane, record: Record, message: bytes) -> None:
        self._join(key, lane)
        lane.answers[record.epoch] = None
        match record:
            case Open():
                self._ancestors(lane, record.ancestors, key, gone=True)
                parent = record.ancestors[-1].epoch if record.ancestors else None
                self._know(lane, record.epoch, parent, record.rows_before)
                self._advance(lane, record)
            case Gap():
                if record.epoch not in lane.epochs:
                    self._know(lane, record.epoch, None, record.rows_start)
                self.counts.gaps += 1
                missing = record.rows_after - lane.epochs[record.epoch].rows
                self._group.gaps.append((record, max(0, missing)))
                self._advance(lane, record)
            case Data():
                self._take_data(lane, record, message)

    def _take_data(self, lane: _Lane, record: Data, message: bytes) -> None:
        known = lane.epochs[record.epoch]
        try:
            if self._poisoned is not None:
                raise NeverRetry(self._poisoned)
            if record.rows_before != known.rows:
                raise NeverRetry(f"counts {record.rows_before} rows before it where {known.rows} are accounted for")
            decoded = self._decode(record, self._encoded_schema(record.device, record.schema) or b"")
            self._group.frames.append(StoredFrame(record, message, decoded))
            self.counts.frames += 1
        except NeverRetry as error:
            self._undecodable(record, message, max(0, record.rows_after - known.rows), error.reason)
        self._advance(lane, record)

    def _undecodable(self, record: Data, message: bytes, rows: int, reason: str) -> None:
        """Authentic, but nobody will ever read it: keep it aside, and let the lane go on."""
        self.counts.quarantined += 1
        self._group.quarantine.append(
            Quarantined(record.device, record.lane, record.epoch, record.number, rows, reason, message)
        )

    def _advance(self, lane: _Lane, record: Record) -> None:
        known = lane.epochs[record.epoch]
        if known.end is not None and known.last <= known.end < record.last:
            lane.alarm("fork")
        rows, last = max(known.rows, record.rows_after), record.last
        lane.epochs[record.epoch] = EpochState(  # not `replace`, which takes thrice as long, for every frame
            epoch=known.epoch,
            last=last,
            end=known.end,
            parent=known.parent,
            orphaned=known.end is not None and max(known.end, last) < known.head,
            rows_start=known.rows_start,
            rows=rows,
            head=max(known.head, last),
            rows_head=max(known.rows_head, rows),
        )

    def _keep_early(self, key: tuple[str, Lane], lane: _Lane, record: Record, message: bytes) -> None:
        if not lane.early:
            if len(self._early_lanes) >= _REORDER_LANES:
                self._early_lanes = {key for key in self._early_lanes if key in self._lanes and self._lanes[key].early}
            if len(self._early_lanes) >= _REORDER_LANES:
                return
            self._early_lanes.add(key)
        due = lane.due(record.epoch)
        for place in [p for p in lane.early if p[0] != record.epoch or p[1] < due]:
            del lane.early[place]
        if record.first < due + _REORDER_FRAMES:
            lane.early[record.epoch, record.first] = (record, message)

    # ------------------------------------------------------------ schemas

    def _encoded_schema(self, device: str, schema_hash: bytes) -> bytes | None:
        key = (device, schema_hash)
        if key not in self._schemas:
            stored = self._store.schema(device, schema_hash)
            if stored is None:
                return None
            self._schemas[key] = stored
        return self._schemas[key]

    def _schema(self, device: str, encoded: bytes) -> None:
        schema = Schema.decode(encoded)
        if schema.device != device:
            raise NeverRetry("a schema of another device")
        if self._encoded_schema(device, schema.hash) is None:
            self.counts.schemas += 1
            self._schemas[device, schema.hash] = encoded
            self._group.schemas.append((device, encoded))

    # ------------------------------------------------------------ epochs

    def _status(self, status: Status) -> list[Reply]:
        """What a device holds: close, open and give up epochs by it; the commit's acknowledgement answers."""
        self.counts.statuses += 1
        key = (status.device, status.lane)
        lane = self._lane(key)
        if not lane.in_group:
            lane = self._reread(key)
        if not status.epochs:
            return []
        self._join(key, lane)
        for reason, count in status.lost.items():
            lane.lost[reason] = max(count, lane.lost.get(reason, 0))
        self._ancestors(lane, status.epochs[:-1], key, gone=False)
        newest = status.epochs[-1]
        parent = status.epochs[-2].epoch if len(status.epochs) > 1 else None
        self._know(lane, newest.epoch, parent, newest.rows_start)
        self._hear(lane, newest)
        answer = next((epoch.epoch for epoch in status.epochs if not epoch.released), newest.epoch)
        lane.answers[answer] = None
        return []

    def _ancestors(self, lane: _Lane, ancestors: Sequence[Ancestor], key: tuple[str, Lane], *, gone: bool) -> None:
        """Closed epochs, oldest first. What a sender no longer holds of them and we never had is a gap."""
        parent: bytes | None = None
        for ancestor in ancestors:
            self._know(lane, ancestor.epoch, parent, ancestor.rows_start)
            self._hear(lane, ancestor)
            known = lane.epochs[ancestor.epoch]
            if known.last > ancestor.end and known.end != ancestor.end:
                lane.alarm("fork")
            is_short = ancestor.end < known.head  # more was heard of than this card ever gave out
            if is_short and known.last <= ancestor.end and known.end != ancestor.end:
                lane.alarm("restored_or_cloned")
            known = replace(known, end=ancestor.end, orphaned=is_short and known.last < known.head)
            lane.epochs[ancestor.epoch] = known
            if (gone or ancestor.released) and known.last < ancestor.end:
                self._forget(lane, key, known, ancestor)
            parent = ancestor.epoch

    def _forget(self, lane: _Lane, key: tuple[str, Lane], known: EpochState, ancestor: Ancestor) -> None:
        gap = Gap(
            device=key[0],
            lane=key[1],
            epoch=ancestor.epoch,
            first=known.last + 1,
            last=ancestor.end,
            rows_start=known.rows_start,
            rows_after=ancestor.rows_end,
            reason="forgotten",
        )
        self.counts.gaps += 1
        self._group.gaps.append((gap, max(0, ancestor.rows_end - known.rows)))
        self._advance(lane, gap)

    def _hear(self, lane: _Lane, said: Ancestor) -> None:
        known = lane.epochs[said.epoch]
        if said.end > known.head:
            lane.epochs[said.epoch] = replace(known, head=said.end, rows_head=max(said.rows_end, known.rows))

    def _know(self, lane: _Lane, epoch: bytes, parent: bytes | None, rows_start: int) -> None:
        """Make an epoch known. A second child of one parent, or a new root, means a restored or cloned card."""
        known = lane.epochs.get(epoch)
        if known is not None and (known.parent is not None or parent is None):
            return
        before = _descent(None, known.rows_start) if known is not None else None
        descent = _descent(parent, rows_start)
        if descent is not None and lane.children[descent] > (descent == before):
            lane.alarm("restored_or_cloned")
            line = lane.line_of(parent)
            for other in [other for other in lane.epochs.values() if other.epoch != epoch]:
                if other.epoch not in line and (other.end is None or other.last < other.head):
                    lane.epochs[other.epoch] = replace(other, orphaned=True)
        if known is None:
            known = EpochState(epoch=epoch, rows_start=rows_start, rows=rows_start, rows_head=rows_start)
        else:
            lane.children[before] -= 1
        lane.children[descent] += 1
        lane.epochs[epoch] = replace(known, parent=parent)

    # ------------------------------------------------------------ lanes and groups

    def _lane(self, key: tuple[str, Lane]) -> _Lane:
        lane = self._lanes.get(key)
        return lane if lane is not None else self._reread(key)

    def _reread(self, key: tuple[str, Lane]) -> _Lane:
        """The lane as the store has it now: another consumer may have written it since."""
        known = self._lanes.get(key)
        self._lanes[key] = lane = _Lane.of(self._store.lane(*key))
        if known is not None:
            lane.early, lane.told = known.early, known.told
        return lane

    def _join(self, key: tuple[str, Lane], lane: _Lane) -> None:
        lane.in_group = True
        self._open[key] = lane

    def _reply(
        self, key: tuple[str, Lane], lane: _Lane, epoch: bytes, code: AckCode = AckCode.OK, need: bytes = b""
    ) -> Reply:
        """An acknowledgement of what is committed, never of what is only in the open group."""
        ack = Ack(
            device=key[0],
            lane=key[1],
            epoch=epoch,
            journal=self._store.journal,
            last=lane.last_committed(epoch),
            code=code,
            need=need,
            credit=self.credit,
            lost=sum(lane.committed.lost.values()) if key[1] is Lane.DATA else 0,
        )
        if lane.told is None or lane.told.ack != ack:  # records that come again get the same answer: sign it once
            lane.told = Reply(key[0], ack, ack.seal(self._signer))
        return lane.told

    @property
    def open_frames(self) -> int:
        """Records and lanes waiting in the open group."""
        group = self._group
        return len(group.frames) + len(group.gaps) + len(group.quarantine) + len(group.schemas) + len(self._open)

    def commit(self) -> list[Reply]:
        """Commit the open group; then one acknowledgement for each lane in it. Nothing open: nothing happens.

        Raises:
            SpoolUnsafe: the store broke its word; end the process.
        """
        if not self.open_frames:
            return []
        group, self._group = self._group, Group()
        lanes, self._open = self._open, {}
        group.lanes = {key: (lane.committed.version, lane.state()) for key, lane in lanes.items()}
        try:
            self._store.commit(group)
        except (Conflict, StoreFull) as error:
            return self._dropped(group, lanes, error)
        self.counts.commits += 1
        for key, lane in lanes.items():
            lane.committed, lane.in_group = group.lanes[key][1], False
        return self._answers(lanes)

    def _answers(self, lanes: dict[tuple[str, Lane], _Lane], code: AckCode = AckCode.OK) -> list[Reply]:
        replies = [self._reply(key, lane, epoch, code) for key, lane in lanes.items() for epoch in lane.answers]
        for lane in lanes.values():
            lane.answers.clear()
        return replies

    def _dropped(
        self, group: Group[DecodedT], lanes: dict[tuple[str, Lane], _Lane], error: Conflict | StoreFull
    ) -> list[Reply]:
        """The group is gone, and with it what the cache knew. Senders will send again."""
        for device, encoded in group.schemas:
            self._schemas.pop((device, Schema.decode(encoded).hash), None)
        for key in lanes:
            del self._lanes[key]
        if isinstance(error, Conflict):
            self.counts.conflicts += 1
            return []
        self.counts.busy += 1
        for key, lane in lanes.items():
            lane.committed = self._reread(key).committed
        return self._answers(lanes, AckCode.BUSY)
