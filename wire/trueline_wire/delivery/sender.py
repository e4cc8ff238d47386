"""The sender: numbers what is appended, sends the oldest unreleased epoch from its floor, deletes what is acknowledged.

Promises: an append that returned is durable; nothing leaves the spool but by an acknowledgement of the cloud or in
exchange for a GAP that says what left and why. Refuses to know links, clocks and what a body holds.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from trueline_wire.control import LOSSES_MAX, Ack, AckCode, SchemaMessage, Status, read_ack
from trueline_wire.delivery.gaps import Replacement, gap_before, gap_over, gap_trimmed, is_data, schema_of
from trueline_wire.delivery.ports import Spool, SpoolFull, SpoolRow
from trueline_wire.delivery.window import LaneWindow, SenderLimits
from trueline_wire.envelope import Lane, open_envelope
from trueline_wire.errors import NeverRetry
from trueline_wire.frame import (
    EPOCH_SIZE,
    EPOCHS_REPORTED_MAX,
    Ancestor,
    Data,
    Open,
    seal_record,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from trueline_wire.keys import Signer, Verifier

__all__ = ["INSIGNIFICANT", "Outgoing", "Sender", "SenderCounts", "Transmit"]

INSIGNIFICANT: Final = "insignificant"
"""Of rows left out on purpose, within a stated bound: STATUS tells them when it comes, not in a hurry."""

_ANCESTORS_IN_OPEN: Final = 64
_EVENT_WINDOW: Final = 4  # frames of the event lane in flight, beside the window of the data lane
_ROWS_AT_ONCE: Final = 16  # rows read from the spool in one go to be sent
_DROP_ROWS: Final = 64  # rows looked at in one go when room has to be made
_DROP_BYTES_MIN: Final = 64 * 1024  # room made in one go, so that a full spool does not drop at each append
_STATUS_NEWS_S: Final = 1.0  # a loss is told within this time
_STATUS_AGAIN_S: Final = 5.0  # and again, until an acknowledgement says that it was heard
_CHANNELS: Final[dict[Lane, Literal["data", "event"]]] = {Lane.DATA: "data", Lane.EVENT: "event"}


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
    """A message for the link, and where it goes."""

    channel: Literal["data", "event", "control"]
    message: bytes


@dataclass(slots=True)
class SenderCounts:
    """What a sender has done since it was made. Rows are readings rows.

    `rows_lost` could not be spooled at all. `alarms` has the names "twin", "journal", "refused", "not_authentic".
    """

    rows_appended: int = 0
    rows_dropped: int = 0
    rows_corrupt: int = 0
    rows_lost: int = 0
    frames_appended: int = 0
    frames_sent: int = 0
    frames_acknowledged: int = 0
    timeouts: int = 0
    rewinds: int = 0
    alarms: dict[str, int] = field(default_factory=dict)

    def alarm(self, name: str) -> None:
        """Count an alarm."""
        self.alarms[name] = self.alarms.get(name, 0) + 1


class Sender:
    """One device's sender, both lanes. Not thread-safe: call it from one thread at a time.

    Args:
        spool: where records wait.
        device: the device's id.
        signer: the device's key.
        verifier: trusts the cloud's key under the name "cloud".
        rng: gives epoch ids and jitter (seeded in tests, `random.SystemRandom()` on devices).
        limits: see `SenderLimits`.
        clean: the last stop was in order (goes into OPEN).
        journal: the pinned journal id; None pins the first that answers (read the attribute back to keep it).
        lost: readings lost before the spool so far, by reason, over the device's life.

    Attributes:
        counts: see `SenderCounts`.
        journal: the pinned journal id.
        lost: as above, kept up by `append`.
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
        lost: dict[str, int] | None = None,
    ) -> None:
        self.counts = SenderCounts()
        self.journal = journal
        self.lost = dict(lost or {})
        self._spool = spool
        self._device = device
        self._signer = signer
        self._verifier = verifier
        self._rng = rng
        self._limits = limits or SenderLimits()
        self._clean = clean
        self._connected = False
        self._status_due_s: float | None = None
        self._settled = dict(self.lost)  # losses a synced append carried: a crash cannot take them back
        self._worth_telling = False
        self._unsettled_since_s: float | None = None
        self._lost_said = 0
        self._lost_due = sum(self._losses().values())
        self._lost_heard = 0
        self._control: deque[bytes] = deque()
        # Events first: `poll` walks the lanes in this order.
        self._lanes = {lane: LaneWindow(lane, spool.epochs(lane), self._limits) for lane in (Lane.EVENT, Lane.DATA)}
        for lane in self._lanes.values():
            self._settle(lane)

    @property
    def limits(self) -> SenderLimits:
        """What bounds it now. A link that grants less (a Receive Maximum) sets it anew."""
        return self._limits

    @limits.setter
    def limits(self, limits: SenderLimits) -> None:
        self._limits = limits
        for lane in self._lanes.values():
            lane.limits = limits

    # ------------------------------------------------------------ appending

    def append(
        self, batches: Sequence[Outgoing], checkpoint: bytes | None = None, lost: dict[str, int] | None = None
    ) -> None:
        """Make batches durable. Returns once they are synced.

        A full spool drops its oldest rows into a GAP to make room; if even that is not enough, the batches are counted
        as lost (reason "spool_full") and STATUS says so.

        Args:
            batches: in order; both lanes may be mixed.
            checkpoint: opaque; found again after a restart together with exactly these batches.
            lost: readings that never became a batch, by reason, to be added to `lost`.

        Raises:
            SpoolUnsafe: a sync failed.
        """
        for reason, count in (lost or {}).items():
            self.lost[reason] = self.lost.get(reason, 0) + count
        self._worth_telling |= bool(set(lost or ()) - {INSIGNIFICANT})
        rows, schemas, ends = self._number(batches)
        while True:
            try:
                self._spool.append(rows, schemas, checkpoint)
                break
            except SpoolFull:
                if not batches or not self._maybe_make_room(sum(len(row.message or b"") for row in rows)):
                    self._count_lost(batches)
                    return
        self._settled = dict(self.lost)
        if self._worth_telling:
            self.tell_losses()
        self.counts.rows_appended += sum(batch.rows for batch in batches)
        self.counts.frames_appended += len(batches)
        for lane, end in ends.items():
            self._grown(self._lanes[lane], end)

    def _number(self, batches: Sequence[Outgoing]) -> tuple[list[SpoolRow], list[bytes], dict[Lane, Ancestor]]:
        """The batches as numbered, signed rows; and each lane's newest epoch as it will be after them."""
        rows: list[SpoolRow] = []
        ends: dict[Lane, Ancestor] = {}
        schemas = list(dict.fromkeys(batch.schema for batch in batches))
        for batch in batches:
            epoch = ends.get(batch.lane) or self._live_epoch(self._lanes[batch.lane])
            if epoch is None:
                opened, epoch = self._open(self._lanes[batch.lane])
                rows.append(opened)
            record = Data(
                device=self._device,
                lane=batch.lane,
                epoch=epoch.epoch,
                number=epoch.end + 1,
                rows_before=epoch.rows_end,
                rows=batch.rows,
                schema=SchemaMessage(self._device, batch.schema).hash,
                stored=batch.rows,
                time_first=batch.time_first,
                time_last=batch.time_last,
                body=batch.body,
            )
            message = seal_record(record, self._signer)
            rows.append(
                SpoolRow(batch.lane, epoch.epoch, record.number, record.number, batch.rows, record.rows_after, message)
            )
            ends[batch.lane] = replace(epoch, end=record.number, rows_end=record.rows_after)
        return rows, schemas, ends

    def _live_epoch(self, lane: LaneWindow) -> Ancestor | None:
        """The epoch this start has opened in the lane, if it has: a restart never goes on with an older one."""
        return lane.epochs[-1] if lane.live is not None else None

    def _open(self, lane: LaneWindow) -> tuple[SpoolRow, Ancestor]:
        before = lane.epochs[-1].rows_end if lane.epochs else 0
        epoch = Ancestor(self._rng.randbytes(EPOCH_SIZE), 1, before, before)
        record = Open(
            device=self._device,
            lane=lane.lane,
            epoch=epoch.epoch,
            rows_before=before,
            ancestors=tuple(lane.epochs[-_ANCESTORS_IN_OPEN:]),
            clean=self._clean,
        )
        message = seal_record(record, self._signer)
        return SpoolRow(lane.lane, epoch.epoch, 1, 1, 0, before, message), epoch

    def _grown(self, lane: LaneWindow, newest: Ancestor) -> None:
        if lane.live == newest.epoch:
            lane.epochs[-1] = newest
            return
        lane.live = newest.epoch
        if not lane.drained:
            lane.epochs = self._spool.epochs(lane.lane)
            return
        if lane.sending is not None:  # drained, and from now on closed: released
            with suppress(SpoolFull):  # `_settle` comes back to it
                self._spool.delete(lane.lane, lane.sending.epoch, lane.sending.end)
        lane.epochs = self._spool.epochs(lane.lane)
        self._settle(lane)

    def tell_losses(self) -> None:
        """All that was lost so far is worth a STATUS of its own, and `drained` waits until it was heard."""
        self._lost_due, self._worth_telling = sum(self._losses().values()), False

    def _count_lost(self, batches: Sequence[Outgoing]) -> None:
        rows = sum(batch.rows for batch in batches)
        self.counts.rows_lost += rows
        if rows:
            self.lost["spool_full"] = self.lost.get("spool_full", 0) + rows
            self._worth_telling = True

    def _maybe_make_room(self, needed: int) -> bool:
        """Merge the oldest rows of one epoch into a GAP, data before events. False: nothing left to drop, or no way."""
        for lane in (self._lanes[Lane.DATA], self._lanes[Lane.EVENT]):
            for epoch in lane.epochs:
                with suppress(SpoolFull):  # a disk that takes nothing at all
                    if not epoch.released and self._drop_oldest(lane, epoch, max(needed, _DROP_BYTES_MIN)):
                        return True
        return False

    def _drop_oldest(self, lane: LaneWindow, epoch: Ancestor, size: int) -> bool:
        merged: list[SpoolRow] = []
        for row in self._spool.rows(lane.lane, epoch.epoch, 0, _DROP_ROWS):
            if merged and (row.first != merged[-1].last + 1 or size <= 0):
                break
            merged.append(row)
            size -= len(row.message or b"") if is_data(row) else 0
        fresh = [row for row in merged if is_data(row)]
        if not fresh:
            return False
        self._put_gap(lane, epoch, merged, "dropped")
        self.counts.rows_dropped += sum(row.rows for row in fresh)
        return True

    def _put_gap(self, lane: LaneWindow, epoch: Ancestor, rows: Sequence[SpoolRow], reason: str) -> None:
        """A GAP in the place of neighbouring rows. It occupies their numbers."""
        self._put(lane, gap_over(self._device, lane.lane, epoch, rows, reason))

    def _put(self, lane: LaneWindow, replacement: Replacement) -> None:
        gap = replacement.gap
        self._spool.replace(replacement.rows, replacement.sealed(self._signer))
        if lane.sending is not None and lane.sending.epoch == gap.epoch:
            lane.floor = min(lane.floor, gap.first)
            if lane.next > gap.first:
                lane.rewind(gap.first)

    # ------------------------------------------------------------ the link

    def connected(self, now_s: float) -> None:
        """The link is up: say STATUS, send from the floor."""
        self._connected = True
        self._status_due_s = now_s
        for lane in self._lanes.values():
            lane.rewind(lane.floor)
            lane.release()
            lane.rewound_s, lane.rewinds = now_s, 0
            lane.asked_s.clear()

    def disconnected(self) -> None:
        """The link is down: nothing is in flight any more."""
        self._connected = False
        self._control.clear()
        for lane in self._lanes.values():
            lane.rewind(lane.floor)

    def confirmed(self, now_s: float) -> None:
        """The link has handed a message over (PUBACK, CoAP answer or its failure): the timer may start."""
        for lane in self._lanes.values():
            lane.confirmed(now_s)

    def poll(self, now_s: float) -> list[Transmit]:
        """What to hand to the link now. Empty while disconnected, held, or the window is full."""
        if not self._connected:
            return []
        self._hurry_status(now_s)
        if self._status_is_due(now_s):
            self._status_due_s = now_s + (self.limits.status_interval_s if self._losses_told else _STATUS_AGAIN_S)
            self._control.extend(self._status(lane) for lane in self._lanes.values() if lane.epochs)
        out = [Transmit("control", message) for message in self._control]
        self._control.clear()
        for lane in self._lanes.values():
            if lane.deadline_s is not None and now_s >= lane.deadline_s:
                self.counts.timeouts += 1
                lane.timed_out(self._rng)
            out.extend(Transmit(_CHANNELS[lane.lane], message) for message in self._fill(lane, now_s))
        return out

    def wake_at(self) -> float | None:
        """When `poll` wants to be called again even if nothing happens (monotonic seconds); None: no need."""
        if not self._connected:
            return None
        times = [self._status_due_s]
        for lane in self._lanes.values():
            times += [lane.deadline_s, lane.held_until_s]
        return min((time for time in times if time is not None), default=None)

    @property
    def drained(self) -> bool:
        """Everything ever appended is acknowledged, and the ledger has heard of every loss before the spool."""
        return self._losses_told and not self.owes_append and all(lane.drained for lane in self._lanes.values())

    @property
    def owes_append(self) -> bool:
        """A loss was counted and no append has carried it yet: one without batches would do."""
        return self.lost != self._settled

    @property
    def _losses_told(self) -> bool:
        """An acknowledgement said so. Without an epoch there is no ledger's lane to tell yet."""
        return not self._lanes[Lane.DATA].epochs or self._lost_heard >= self._lost_due

    def _losses(self) -> dict[str, int]:
        """As many reasons as a STATUS takes. Told before it is settled, a loss might be sampled again after a crash."""
        return dict(list(self._settled.items())[:LOSSES_MAX])

    def _give_up_settling(self, now_s: float) -> None:
        """A disk that takes nothing for so long may never again: then the ledger had better hear of it."""
        if not self.owes_append:
            self._unsettled_since_s = None
        elif self._unsettled_since_s is None:
            self._unsettled_since_s = now_s
        elif now_s - self._unsettled_since_s >= self.limits.status_interval_s:
            self._settled = dict(self.lost)
            self.tell_losses()

    def _hurry_status(self, now_s: float) -> None:
        """A loss does not wait for the next round."""
        self._give_up_settling(now_s)
        if self._lost_due > self._lost_said and self._status_due_s is not None:
            self._status_due_s = min(self._status_due_s, now_s + _STATUS_NEWS_S)
            self._lost_said = self._lost_due

    def _status_is_due(self, now_s: float) -> bool:
        return self._status_due_s is not None and now_s >= self._status_due_s

    def _status(self, lane: LaneWindow) -> bytes:
        epochs = tuple(lane.epochs[:EPOCHS_REPORTED_MAX])
        lost = self._losses() if lane.lane is Lane.DATA else {}
        return Status(self._device, lane.lane, epochs, lost).seal(self._signer)

    # ------------------------------------------------------------ sending

    def _fill(self, lane: LaneWindow, now_s: float) -> list[bytes]:
        """The next records of the window. While held, one record at each probe time."""
        room = self._room(lane, now_s)
        epoch = lane.sending
        out: list[bytes] = []
        while room > 0 and epoch is not None and lane.next <= epoch.end:
            try:
                rows = self._whole_rows(lane, epoch, min(room, _ROWS_AT_ONCE))
            except SpoolFull:  # a GAP that has to be written first finds no room: later
                return out
            for row in rows:
                if row.message is None or not lane.fits(len(row.message)):
                    return out
                out.append(row.message)
                lane.sent(row.first, row.last, len(row.message), now_s)
                self.counts.frames_sent += 1
            room -= len(rows) or room
        return out

    def _room(self, lane: LaneWindow, now_s: float) -> int:
        if lane.held_until_s is not None:
            if now_s < lane.held_until_s:
                return 0
            lane.hold(now_s, self._rng)
            return 1
        return lane.room(_EVENT_WINDOW if lane.lane is Lane.EVENT else self.limits.window_frames)

    def _whole_rows(self, lane: LaneWindow, epoch: Ancestor, frames: int) -> list[SpoolRow]:
        """Rows from `next`, as they may be sent: what is corrupt or missing in the spool has become a GAP."""
        rows = self._spool.rows(lane.lane, epoch.epoch, lane.next, frames)
        good: list[SpoolRow] = []
        expected = lane.next
        for row in rows:
            if row.first > expected:  # the spool has lost rows without a trace
                self._put_before(lane, epoch, expected, row, "corrupt")
                break
            if row.message is None:
                self._corrupt(lane, epoch, row)
                break
            good.append(row)
            expected = row.last + 1
        else:
            if len(rows) < frames and expected <= epoch.end:
                self._put_before(lane, epoch, expected, None, "corrupt")
        return good or self._spool.rows(lane.lane, epoch.epoch, lane.next, 1)

    def _corrupt(self, lane: LaneWindow, epoch: Ancestor, row: SpoolRow) -> None:
        """Bit rot: the row becomes a GAP, so that those behind it go on and the ledger knows."""
        self._put_gap(lane, epoch, [row], "corrupt")
        self.counts.rows_corrupt += row.rows

    def _put_before(self, lane: LaneWindow, epoch: Ancestor, first: int, row: SpoolRow | None, reason: str) -> None:
        self._put(lane, gap_before(self._device, lane.lane, epoch, first, row, reason))

    # ------------------------------------------------------------ acknowledgements

    def received(self, message: bytes, now_s: float) -> None:
        """A message from the cloud. One that is not authentic or not an ACK is counted and ignored.

        Raises:
            SpoolUnsafe: a sync failed.
        """
        try:
            ack = read_ack(open_envelope(message, "cloud", self._verifier))
        except NeverRetry:
            self.counts.alarm("not_authentic")
            return
        if ack.device != self._device:
            self.counts.alarm("not_authentic")
            return
        if self.journal is None:
            self.journal = ack.journal
        if ack.journal != self.journal:  # another cloud: it cannot speak for what this one holds
            self.counts.alarm("journal")
            self._lanes[ack.lane].hold(now_s, self._rng)
            return
        if ack.lane is Lane.DATA:
            self._lost_heard = max(self._lost_heard, ack.lost)
        with suppress(SpoolFull):  # as if it had been lost: the next one finds more room, or the one after it
            self._acknowledged(self._lanes[ack.lane], ack, now_s)

    def _acknowledged(self, lane: LaneWindow, ack: Ack, now_s: float) -> None:
        epoch = lane.sending
        if epoch is None or ack.epoch != epoch.epoch:
            return
        self._obey(lane, ack, now_s)
        if lane.floor > epoch.end and epoch is not lane.epochs[-1]:  # drained, but its release found no room
            self._settle(lane)
            return
        last = self._within_end(lane, epoch, ack.last)
        if last is None:
            return
        if last >= lane.floor:
            self._progress(lane, epoch, last, now_s)
        elif last < lane.floor - 1:
            self._forgotten(lane, epoch, last)
        elif ack.code is AckCode.OK and lane.may_rewind(now_s):
            self.counts.rewinds += 1
            lane.rewind_to_floor(now_s)
        if ack.code is AckCode.NEED_SCHEMA:
            self._supply_schema(lane, ack.need, now_s)

    def _obey(self, lane: LaneWindow, ack: Ack, now_s: float) -> None:
        """Hold, or stop holding, as the acknowledgement says."""
        lane.credit = ack.credit if ack.credit > 0 else lane.credit
        if ack.code is AckCode.REFUSED:
            self.counts.alarm("refused")
        if ack.code in (AckCode.BUSY, AckCode.REFUSED, AckCode.NOT_OWNER) or ack.credit == 0:
            if lane.held_until_s is None:
                lane.hold(now_s, self._rng)
        else:
            lane.release()

    def _within_end(self, lane: LaneWindow, epoch: Ancestor, last: int) -> int | None:
        """An ACK beyond the end: a closed epoch was longer before this card was restored, so our end is enough."""
        if last <= epoch.end:
            return last
        if epoch.epoch != lane.live:
            return epoch.end
        self.counts.alarm("twin")
        return None

    def _progress(self, lane: LaneWindow, epoch: Ancestor, last: int, now_s: float) -> None:
        self._spool.delete(lane.lane, epoch.epoch, last)
        self.counts.frames_acknowledged += last - lane.floor + 1
        self._trim(lane, epoch, last)
        lane.acknowledged(last, now_s)
        if lane.floor > epoch.end and epoch is not lane.epochs[-1]:
            lane.epochs = self._spool.epochs(lane.lane)
            self._settle(lane)

    def _trim(self, lane: LaneWindow, epoch: Ancestor, last: int) -> None:
        """A GAP that straddles the acknowledged number keeps only what lies beyond it."""
        for row in self._spool.rows(lane.lane, epoch.epoch, last, 1):
            if (rest := gap_trimmed(row, last)) is not None:
                self._put(lane, rest)
                lane.floor = last + 1

    def _forgotten(self, lane: LaneWindow, epoch: Ancestor, last: int) -> None:
        """The cloud knows less than it had acknowledged (it was restored), and the rows are gone: it must be told."""
        held = self._spool.rows(lane.lane, epoch.epoch, lane.floor, 1)
        self._put_before(lane, epoch, last + 1, held[0] if held else None, "forgotten")

    def _supply_schema(self, lane: LaneWindow, schema_hash: bytes, now_s: float) -> None:
        encoded = self._spool.schema(schema_hash)
        if encoded is None:
            self._schema_lost(lane, schema_hash)
        elif lane.may_send_schema(schema_hash, now_s):
            self._control.append(SchemaMessage(self._device, encoded).seal(self._signer))
            lane.rewound_s = now_s
            lane.rewind(lane.floor)

    def _schema_lost(self, lane: LaneWindow, schema_hash: bytes) -> None:
        """Frames whose schema the spool has lost can never be understood: they become a GAP."""
        epoch = lane.sending
        run: list[SpoolRow] = []
        if epoch is None:
            return
        for row in self._spool.rows(lane.lane, epoch.epoch, lane.floor, _DROP_ROWS):
            if schema_of(row) == schema_hash and (not run or row.first == run[-1].last + 1):
                run.append(row)
            elif run:
                break
        if run:
            self._put_gap(lane, epoch, run, "schema_lost")

    # ------------------------------------------------------------ epochs

    def _settle(self, lane: LaneWindow) -> None:
        """Stand at the floor of the sending epoch."""
        epoch = lane.sending
        held = self._spool.rows(lane.lane, epoch.epoch, 0, 1) if epoch is not None else []
        if epoch is not None and not held and epoch is not lane.epochs[-1]:  # drained before, but not yet released
            try:
                self._spool.delete(lane.lane, epoch.epoch, epoch.end)
            except SpoolFull:
                lane.stand_at(epoch.end + 1)
                return
            lane.epochs = self._spool.epochs(lane.lane)
            self._settle(lane)
        elif epoch is not None:
            lane.stand_at(held[0].first if held else epoch.end + 1)
