"""The judge of delivery: knows what was promised to whom, and looks at every write of a spool and a store.

Written from the specification alone. It reads the same bytes a peer would, and never asks `Sender` or `Receiver`.

    I1   every row whose append returned is stored, or counted under a reason that has a cause
    I2   nothing is stored twice
    I3   stored + thinned + quarantined + missing is what the device counted, in every epoch, after every commit
    I4   a spool deletes only what was durably accounted for
    I5   an acknowledgement names only what is committed
    I6   with faults gone, everything drains, in bounded time and messages
    I7   rollups are a recount of the stored frames
    I8   a lane is sent and stored in order, one epoch after the other
    I9   a fork is in the ledger's alarms, and nothing else is
    I10  events never wait behind data
    I11  what nobody signed has no effect
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from delivery_body import rows_in

from trueline_wire.control import read_ack, read_status
from trueline_wire.envelope import Kind, open_envelope
from trueline_wire.frame import Ancestor, Data, Gap, Open, read_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from delivery_body import QuickKeys
    from delivery_fakes import CrashySpool, CrashyStore

    from trueline_wire.delivery import EpochState, Group, LaneState, Reply, SpoolRow
    from trueline_wire.envelope import Lane
    from trueline_wire.frame import Record


class Violation(AssertionError):  # noqa: N818 - says what it is
    """An invariant is broken. `rule` is its name above, `taken` how many steps the run had taken."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule
        self.taken = 0


def demand(fact: bool, rule: str, text: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise `Violation` unless the fact holds."""
    if not fact:
        raise Violation(rule, text)


@dataclass
class Epoch:
    """What a device really did in one epoch; lists are indexed by number (0 = before the first)."""

    device: str
    lane: Lane
    opened: Open
    rows_after: list[int]
    row_ids: list[tuple[int, ...]]

    @property
    def end(self) -> int:
        """Highest number given out."""
        return len(self.rows_after) - 1

    def is_within(self, first: int, last: int) -> bool:
        """Whether these numbers were given out."""
        return 1 <= first <= last <= self.end


@dataclass
class Judge:
    """Everything that is true, gathered from the appends that returned and the commits that were synced."""

    keys: QuickKeys
    epochs: dict[bytes, Epoch] = field(default_factory=dict)
    ids_of: dict[bytes, tuple[int, ...]] = field(default_factory=dict)
    """Row ids in a DATA message."""
    schema_by: dict[bytes, bytes] = field(default_factory=dict)
    """Schema hash of a DATA message."""
    known_ids: set[int] = field(default_factory=set)
    """Every row that was ever durable on a card."""
    ever_last: Counter[bytes] = field(default_factory=Counter)
    ever_stored: set[int] = field(default_factory=set)
    ever_aside: defaultdict[bytes, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Numbers that were committed as a gap or quarantined."""
    causes: set[tuple[str, str]] = field(default_factory=set)
    """(device, reason) for which the world has given a cause to lose rows."""
    unsure: set[str] = field(default_factory=set)
    """Devices whose card was restored or cloned."""
    destroyed: dict[bytes, int] = field(default_factory=dict)
    """Epoch -> end on the card that took the place of a destroyed one."""
    records: dict[bytes, Record] = field(default_factory=dict)
    late: set[bytes] = field(default_factory=set)
    """Epochs of a destroyed card that were still heard of after its successor: who is the orphan cannot be known."""

    def read(self, device: str, message: bytes) -> Record:
        """The record a peer would read."""
        if message not in self.records:
            self.records[message] = read_record(open_envelope(message, device, self.keys))
        return self.records[message]

    def schema_of(self, row: SpoolRow) -> bytes | None:
        """Hash of the schema a row of DATA needs."""
        return self.schema_by.get(row.message or b"")

    # ------------------------------------------------ what the spool is asked to do

    def appended(self, device: str, before: Sequence[Ancestor], rows: Sequence[SpoolRow]) -> None:
        """Rows became durable on a card that knew `before` of the lanes involved."""
        known = {ancestor.epoch: ancestor for ancestor in before}
        for row in rows:
            demand(row.message is not None, "I8", "a row without bytes is appended")
            record = self.read(device, row.message or b"")
            demand(
                (record.device, record.lane, record.epoch, record.first, record.last)
                == (device, row.lane, row.epoch, row.first, row.last),
                "I8",
                f"the spool row {row[:4]} does not say what its record says",
            )
            demand(row.rows_after >= row.rows >= 0, "I3", "rows are counted backwards")
            if isinstance(record, Open):
                demand(record.rows_before == row.rows_after and row.rows == 0, "I3", "OPEN counts no rows")
                self.epochs[row.epoch] = Epoch(device, row.lane, record, [row.rows_after] * 2, [(), ()])
                known[row.epoch] = Ancestor(row.epoch, 1, row.rows_after, row.rows_after)
                continue
            demand(isinstance(record, Data), "I8", "only OPEN and DATA are appended")
            assert isinstance(record, Data)
            card = known.get(row.epoch)
            demand(card is not None and card.end + 1 == row.first, "I8", f"number {row.first} is not the card's next")
            assert card is not None
            demand(record.rows_before == card.rows_end == row.rows_after - row.rows, "I3", "rows_before is wrong")
            known[row.epoch] = Ancestor(row.epoch, row.first, card.rows_start, row.rows_after)
            self._give_number(row, record)

    def _give_number(self, row: SpoolRow, record: Data) -> None:
        epoch, ids = self.epochs[row.epoch], rows_in(record.body)
        demand(len(ids) == record.stored, "I3", "stored is not what is in the body")
        assert row.message is not None
        self.ids_of[row.message], self.schema_by[row.message] = ids, record.schema
        if row.first > epoch.end:
            epoch.rows_after.append(row.rows_after)
            epoch.row_ids.append(ids)
        else:  # a number given out twice: the rows have to show up somewhere all the same
            epoch.row_ids[row.first] += ids
        self.known_ids.update(ids)

    def deleted(self, device: str, rows: Iterable[SpoolRow]) -> None:
        """Rows are about to be deleted from a spool."""
        for row in rows:
            last = self.ever_last[row.epoch]
            demand(row.last <= last, "I4", f"{device} deletes {row.first}..{row.last}, committed is {last}")
            self._settled(row)

    def _settled(self, row: SpoolRow) -> None:
        aside, epoch = self.ever_aside[row.epoch], self.epochs[row.epoch]
        for number in range(row.first, row.last + 1):
            ids = epoch.row_ids[number] if row.first < row.last else self.ids_of.get(row.message or b"", ())
            demand(
                number in aside or self.ever_stored.issuperset(ids),
                "I4",
                f"number {number} was never stored, yet deleted",
            )

    def replaced(self, device: str, rows: Sequence[SpoolRow], by: SpoolRow, *, schema_gone: bool) -> None:
        """Neighbouring rows are about to give way to a GAP."""
        record = self.read(device, by.message or b"")
        demand(isinstance(record, Gap), "I8", "only a GAP may take the place of rows")
        assert isinstance(record, Gap)
        demand(
            (record.first, record.last, record.epoch) == (by.first, by.last, by.epoch), "I8", "row is not its record"
        )
        epoch = self.epochs[by.epoch]
        demand(epoch.is_within(by.first, by.last), "I8", f"GAP {by.first}..{by.last} beyond what was given out")
        demand(by.rows_after == record.rows_after == epoch.rows_after[by.last], "I3", "GAP counts other rows")
        demand(record.rows_start == epoch.rows_after[0], "I3", "GAP starts its epoch elsewhere")
        believes = record.reason != "forgotten" or {(device, "cloud restored"), (device, "stale ack")} & self.causes
        demand(bool(believes), "I5", f"{device} is made to believe that the cloud forgot {by.first}..{by.last}")
        if not rows:
            return
        demand(by.last == rows[-1].last and all(row.epoch == by.epoch for row in rows), "I8", "GAP covers other rows")
        committed = self.ever_last[by.epoch]
        demand(by.first <= rows[0].first or by.first - 1 <= committed, "I4", "GAP forgets rows that never arrived")
        readable = [row for row in rows if row.message in self.ids_of]
        demand(not (readable and record.reason == "corrupt"), "I1", "readable rows were given up as corrupt")
        demand(schema_gone or not (readable and record.reason == "schema_lost"), "I1", "schema_lost, but it is there")
        demand(record.reason != "forgotten" or not readable, "I1", "rows that are held were given up as forgotten")

    # ------------------------------------------------ what the store is asked to do

    def committed(self, old: dict[tuple[str, Lane], LaneState], group: Group[Any]) -> None:
        """A group is about to be committed over these lanes."""
        taken: defaultdict[bytes, list[tuple[int, int, int]]] = defaultdict(list)
        for stored in group.frames:
            self._frame(stored.record, stored.decoded)
            taken[stored.record.epoch].append((stored.record.number, stored.record.number, stored.record.rows))
        for gap, missing in group.gaps:
            cause = gap.reason if gap.reason != "forgotten" else "cloud restored"
            demand((gap.device, cause) in self.causes, "I1", f"{gap.first}..{gap.last} {gap.reason} without a cause")
            taken[gap.epoch].append((gap.first, gap.last, missing))
        for aside in group.quarantine:
            taken[aside.epoch].append((aside.number, aside.number, aside.rows))
        touched = set()
        for key, (version, new) in group.lanes.items():
            demand(new.version == version + 1, "I3", f"version {version} becomes {new.version}")
            before = {epoch.epoch: epoch for epoch in old[key].epochs}
            demand(before.keys() <= {epoch.epoch for epoch in new.epochs}, "I3", "an epoch vanished from the store")
            for state in new.epochs:
                touched.add(state.epoch)
                self._advance(key, before.get(state.epoch), state, taken.get(state.epoch, []))
        demand(taken.keys() <= touched, "I3", "records of a lane that the group does not advance")
        self._remember(group)

    def _frame(self, record: Data, decoded: tuple[int, ...]) -> None:
        epoch = self.epochs.get(record.epoch)
        demand(epoch is not None and epoch.is_within(record.number, record.number), "I11", "a frame nobody appended")
        demand(decoded == rows_in(record.body), "I3", "decoded is not what the frame says")

    def _advance(
        self, key: tuple[str, Lane], old: EpochState | None, new: EpochState, taken: list[tuple[int, int, int]]
    ) -> None:
        truth = self.epochs.get(new.epoch)
        demand(truth is not None and (truth.device, truth.lane) == key, "I11", "an epoch nobody opened")
        assert truth is not None
        at, rows = (old.last, old.rows) if old else (0, truth.rows_after[0])
        demand(new.last >= at, "I3", f"the lane falls back from {at} to {new.last}")
        name = f"{key[0]} {key[1].name} {new.epoch.hex()[:4]}"
        for first, last, count in sorted(taken):
            demand(first > at, "I2", f"{name}: {first}..{last} is taken again, {at} was reached")
            demand(first == at + 1 or (first == 2 and at == 0), "I8", f"{name}: {first}..{last} comes after {at}")
            demand(truth.is_within(first, last), "I11", f"{name}: {first}..{last} was never given out")
            wanted = truth.rows_after[last] - truth.rows_after[first - 1]
            demand(count == wanted, "I3", f"{name}: {first}..{last} counts {count} rows, not {wanted}")
            at, rows = last, rows + count
        demand(new.last == at or (new.last, at) == (1, 0), "I8", f"{name}: says {new.last}, was given {at}")
        demand(new.rows == rows, "I3", f"{name}: says {new.rows} rows, has {rows}")
        demand(new.rows_start == truth.rows_after[0], "I3", f"{name}: starts at {new.rows_start} rows")
        demand(new.last <= new.head <= truth.end, "I3", f"{name}: head {new.head}, last {new.last}, truth {truth.end}")
        demand(new.rows_head == truth.rows_after[new.head], "I3", f"{name}: {new.rows_head} rows at head {new.head}")

    def _remember(self, group: Group[Any]) -> None:
        for stored in group.frames:
            self.ever_stored.update(stored.decoded)
        for gap, _ in group.gaps:
            self.ever_aside[gap.epoch].update(range(gap.first, gap.last + 1))
        for aside in group.quarantine:
            self.ever_aside[aside.epoch].add(aside.number)
        for _, state in group.lanes.values():
            for epoch in state.epochs:
                self.ever_last[epoch.epoch] = max(self.ever_last[epoch.epoch], epoch.last)

    def acknowledged(self, reply: Reply, lane: LaneState, journal: bytes) -> None:
        """A reply leaves the cloud while the store holds this."""
        ack = reply.ack
        demand(read_ack(open_envelope(reply.message, "cloud", self.keys)) == ack, "I5", "the reply is not its message")
        last = next((epoch.last for epoch in lane.epochs if epoch.epoch == ack.epoch), 0)
        demand(ack.last <= last, "I5", f"ACK {ack.last} while {last} is committed")
        demand((ack.device, ack.journal) == (reply.device, journal), "I5", "ACK for another device or journal")

    # ------------------------------------------------ the end

    def settle(self, store: CrashyStore, spools: Iterable[CrashySpool], *, spoken: bool) -> None:
        """Everything is quiet: is every row where it should be?

        Args:
            store: what the cloud holds.
            spools: the cards still alive.
            spoken: every card has opened an epoch since it was restored or cloned, so that a fork can be known.
        """
        count = Counter(row for frames in store.frames.values() for _, ids in frames for row in ids)
        twice = [row for row, times in count.items() if times > 1]
        demand(not twice, "I2", f"rows {twice[:5]} are stored twice")
        recount = Counter[tuple[str, bytes]]()
        for (device, _), frames in store.frames.items():
            for schema, ids in frames:
                recount[device, schema] += len(ids)
        demand(+recount == +store.rollups, "I7", f"rollups {dict(store.rollups)} are not {dict(recount)}")
        waiting = {
            (row.epoch, n) for spool in spools for row in spool.all_rows() for n in range(row.first, row.last + 1)
        }
        for name, epoch in self.epochs.items():
            state = store.epoch(epoch.device, epoch.lane, name)
            for number, ids in enumerate(epoch.row_ids):
                if (name, number) in waiting or not ids or number in store.aside[name]:
                    continue
                missing = [row for row in ids if not count[row]]
                lane = store.lane(epoch.device, epoch.lane)
                if missing and not self._is_excused(name, number, state, lane, spoken=spoken):
                    raise Violation("I1", f"rows {missing} ({epoch.device} {name.hex()[:4]} {number}) are nowhere")
        for (device, _), lane in store.lanes.items():
            if spoken or device not in self.unsure:
                self._alarms(device, lane)

    def arrived(self, device: str, message: bytes) -> None:
        """A message reaches the cloud: does it speak for a card that is gone?"""
        if device not in self.unsure:
            return
        envelope = open_envelope(message, device, self.keys)
        if envelope.kind is Kind.STATUS:
            named = [(epoch.epoch, epoch.end) for epoch in read_status(envelope).epochs]
        elif envelope.kind is not Kind.SCHEMA:
            record = read_record(envelope)
            named = [(record.epoch, record.last)]
        else:
            return
        self.late.update(name for name, last in named if last > self.destroyed.get(name, last))

    def _is_excused(self, name: bytes, number: int, state: EpochState | None, lane: LaneState, *, spoken: bool) -> bool:
        if name not in self.destroyed or number <= self.destroyed[name]:
            return False
        if spoken and state is not None and state.head >= number:
            told = state.orphaned or (name in self.late and sum(lane.alarms.values()) > 0)
            demand(told, "I9", f"tail {number} of a destroyed card is not orphaned")
        return True

    def _alarms(self, device: str, lane: LaneState) -> None:
        if device not in self.unsure:
            demand(not +Counter(lane.alarms), "I9", f"{device}: false alarms {lane.alarms}")
            demand(
                not any(epoch.orphaned for epoch in lane.epochs), "I9", f"{device}: an orphan without a restored card"
            )
            return
        children = Counter[bytes]()
        forked = False
        for state in lane.epochs:
            ancestors = self.epochs[state.epoch].opened.ancestors
            parent = ancestors[-1] if ancestors else None
            children[parent.epoch if parent else b""] += 1
            if parent and state.last:
                known = next((epoch for epoch in lane.epochs if epoch.epoch == parent.epoch), None)
                forked |= known is not None and known.last > parent.end
        forked |= any(times > 1 for times in children.values())
        demand(not forked or sum(lane.alarms.values()) > 0, "I9", f"{device}: the history forks, and no alarm says so")
