"""The rules of delivery, each as the same code with just that rule taken out.

A mutant overrides one small method. Seeds of the model must fail for each: a test that cannot fail proves nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from delivery_fakes import CrashyStore, Ids
from delivery_world import Parts

from trueline_wire.control import Ack, AckCode
from trueline_wire.delivery import Receiver, Reply, Sender
from trueline_wire.delivery.gaps import Replacement
from trueline_wire.errors import NeverRetry

if TYPE_CHECKING:
    from trueline_wire.delivery import Group, SpoolRow
    from trueline_wire.frame import Ancestor


class _OldEpoch(Sender):
    def _live_epoch(self, lane: Any) -> Ancestor | None:
        return lane.epochs[-1] if lane.epochs else None


class _GapWithoutNumbers(Sender):
    def _put(self, lane: Any, new: Replacement) -> None:
        super()._put(lane, Replacement(new.rows, replace(new.gap, last=new.gap.first)))


class _NoStatus(Sender):
    def _status_is_due(self, now_s: float) -> bool:
        return False


class _CorruptStays(Sender):
    def _corrupt(self, lane: Any, epoch: Ancestor, row: SpoolRow) -> None:
        pass


class _OwnEndOnly(Sender):
    def _within_end(self, lane: Any, epoch: Ancestor, last: int) -> int | None:
        return last if last <= epoch.end else None


class _NoTrim(Sender):
    def _trim(self, lane: Any, epoch: Ancestor, last: int) -> None:
        pass


class _ForgetsInSilence(Sender):
    def _forgotten(self, lane: Any, epoch: Ancestor, last: int) -> None:
        pass


class _NoSchema(Sender):
    def _supply_schema(self, lane: Any, schema_hash: bytes, now_s: float) -> None:
        pass


class _SchemaLostStays(Sender):
    def _schema_lost(self, lane: Any, schema_hash: bytes) -> None:
        pass


class _Impatient(Sender):
    def received(self, message: bytes, now_s: float) -> None:
        sizes = {lane: window.size for lane, window in self._lanes.items()}
        for window in self._lanes.values():
            window.rewinds = 0
        super().received(message, now_s)
        for lane, window in self._lanes.items():
            window.size = max(window.size, sizes[lane])


class _RetriesForEver(Receiver[Ids]):
    def _take_data(self, lane: Any, record: Any, message: bytes) -> None:
        try:
            self._decode(record, b"" if self._poisoned else self._encoded_schema(record.device, record.schema) or b"")
        except (NeverRetry, AssertionError):
            return
        super()._take_data(lane, record, message)


class _AnswersEachStray(Receiver[Ids]):
    def _record(self, record: Any, message: bytes) -> list[Reply]:
        stray = self.counts.duplicates + self.counts.out_of_order
        replies = super()._record(record, message)
        if replies or stray == self.counts.duplicates + self.counts.out_of_order:
            return replies
        key = (record.device, record.lane)
        return [self._reply(key, self._lanes[key], record.epoch)]


class _NeverReadsAgain(Receiver[Ids]):
    def _reread(self, key: Any) -> Any:
        return self._lanes[key] if key in self._lanes else super()._reread(key)


class _AcknowledgesOnArrival(Receiver[Ids]):
    def _record(self, record: Any, message: bytes) -> list[Reply]:
        replies = super()._record(record, message)
        key = (record.device, record.lane)
        lane = self._lanes[key]
        return replies or ([self._reply(key, lane, record.epoch)] if lane.in_group else [])

    def _reply(self, key: Any, lane: Any, epoch: bytes, code: AckCode = AckCode.OK, need: bytes = b"") -> Reply:
        honest = super()._reply(key, lane, epoch, code, need).ack
        ack = Ack(honest.device, honest.lane, epoch, honest.journal, lane.due(epoch) - 1, code, need, honest.credit)
        return Reply(key[0], ack, ack.seal(self._signer))


class _NoGapForAncestors(Receiver[Ids]):
    def _forget(self, lane: Any, key: Any, known: Any, ancestor: Any) -> None:
        pass


class _NoCompare(CrashyStore):
    def compare(self, group: Group[Ids]) -> None:
        pass


class _RollupsLater(CrashyStore):
    def write(self, group: Group[Ids]) -> None:
        self.write_lanes(group)
        self.fuse.burn("between")
        self.write_rollups(group)


class Mutant(NamedTuple):
    """A rule, what the code does without it, the parts that do so, and the faults that should bring it to light."""

    rule: str
    without: str
    parts: Parts
    focus: tuple[str, ...] = ()


_CARD = ("kill_agent", "copy_card", "restore_card")
_CLOUD = ("copy_cloud", "restore_cloud")

MUTANTS = (
    Mutant("every start opens a new epoch", "goes on with the epoch it finds", Parts(sender=_OldEpoch), _CARD),
    Mutant(
        "a GAP occupies the numbers of what it replaces",
        "takes one number",
        Parts(sender=_GapWithoutNumbers),
        ("limit_spool",),
    ),
    Mutant("STATUS on connect and every 60 s", "never says STATUS", Parts(sender=_NoStatus), _CLOUD),
    Mutant("a corrupt row becomes a GAP", "waits for it to heal", Parts(sender=_CorruptStays), ("rot",)),
    Mutant("ACK beyond the end of a closed epoch: take our end", "ignores it", Parts(sender=_OwnEndOnly), _CARD),
    Mutant(
        "a GAP that straddles an ACK is trimmed",
        "leaves it as it is",
        Parts(sender=_NoTrim),
        ("limit_spool", "drop_down"),
    ),
    Mutant("ACK below the floor: GAP(forgotten)", "ignores it", Parts(sender=_ForgetsInSilence), _CLOUD),
    Mutant("need_schema: send SCHEMA", "ignores it", Parts(sender=_NoSchema)),
    Mutant(
        "need_schema, schema lost: GAP(schema_lost)",
        "ignores it",
        Parts(sender=_SchemaLostStays),
        ("lose_schemas", "kill_cloud"),
    ),
    Mutant(
        "a rewind that brought nothing doubles the wait",
        "keeps its pace",
        Parts(sender=_Impatient),
        ("clone_card", "lose_schemas"),
    ),
    Mutant("undecodable: quarantine and advance", "drops it and waits", Parts(receiver=_RetriesForEver)),
    Mutant(
        "silence while a group is open", "answers each stray record", Parts(receiver=_AnswersEachStray), ("move_shard",)
    ),
    Mutant("read the lane row again", "trusts its cache", Parts(receiver=_NeverReadsAgain), ("move_shard",)),
    Mutant("compare-and-swap of the lane row", "overwrites it", Parts(store=_NoCompare), ("move_shard",)),
    Mutant("rollups in the same transaction", "in the next one", Parts(store=_RollupsLater), ("kill_cloud",)),
    Mutant("ACK never before commit", "acknowledges on arrival", Parts(receiver=_AcknowledgesOnArrival)),
    Mutant(
        "a released ancestor that is short gets a gap",
        "leaves it open",
        Parts(receiver=_NoGapForAncestors),
        ("kill_agent", *_CLOUD),
    ),
)
