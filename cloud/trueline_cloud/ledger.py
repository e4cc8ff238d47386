"""The ledger as people and scripts read it, and its proof: every stored frame verified and counted again.

Promises: what is printed is what the store answers, and `verify` trusts none of it: signatures are checked with the
enrolled keys, headers compared with the tables, rows counted anew. Refuses to mend anything.
"""

from __future__ import annotations

import zlib
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trueline_wire.delivery import INSIGNIFICANT
from trueline_wire.envelope import open_envelope
from trueline_wire.errors import NeverRetry
from trueline_wire.frame import Data, read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trueline_cloud.storage.reader import FrameRow, JournalReader
    from trueline_cloud.storage.store import LaneLedger
    from trueline_wire.keys import Verifier

__all__ = ["Verification", "as_json", "as_table", "is_whole", "verify"]

_FINDINGS_MAX: Final = 100
_PROGRESS_FRAMES: Final = 5_000


class Verification(msgspec.Struct, kw_only=True):
    """What came of counting again.

    Attributes:
        frames: stored frames read and verified.
        rows: rows in them.
        findings: what does not agree, in words; empty is good. At most 100, the rest are counted.
        findings_more: how many more there were.
    """

    frames: int = 0
    rows: int = 0
    findings: list[str] = msgspec.field(default_factory=list)
    findings_more: int = 0

    def find(self, what: str) -> None:
        """Note what does not agree."""
        if len(self.findings) < _FINDINGS_MAX:
            self.findings.append(what)
        else:
            self.findings_more += 1


def is_whole(ledger: Sequence[LaneLedger]) -> bool:
    """Whether nothing is missing and no tail is orphaned. What is pending may still come."""
    return all(lane.verdict in {"complete", "pending"} for lane in ledger)


def as_json(ledger: Sequence[LaneLedger], verification: Verification | None) -> str:
    """One object: the lanes, their totals, and whether all is there."""
    counts = ("rows_head", "rows_stored", "rows_thinned", "rows_quarantined", "rows_missing", "rows_pending")
    document: dict[str, Any] = {
        "ok": is_whole(ledger) and (verification is None or not verification.findings),
        "devices": len({lane.device for lane in ledger}),
        **{name: sum(getattr(lane, name) for lane in ledger) for name in (*counts, "rows_orphaned", "frames", "bytes")},
        "values": sum(lane.values for lane in ledger),
        "lanes": ledger,
    }
    if verification is not None:
        document["verification"] = verification
    return msgspec.json.encode(document).decode()


def as_table(ledger: Sequence[LaneLedger], verification: Verification | None) -> str:
    """For people: one line a lane, then what is not as it should be, in words."""
    heads = ("device", "lane", "verdict", "stored", "pending", "missing", "orphaned", "quarantined", "last heard")
    rows = [heads, *(_cells(lane) for lane in ledger)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = [
        "  ".join(_align(cell, width, column) for column, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
    lines = [line.rstrip() for line in lines]
    lines[1:1] = ["─" * max(map(len, lines))]
    notes = [note for lane in ledger for note in _notes(lane)]
    if notes:
        lines += ["", *notes]
    stored = sum(lane.rows_stored for lane in ledger)
    verdicts = Counter(lane.verdict for lane in ledger)
    told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()) or "no lanes yet"
    lines += ["", f"{stored:,} rows stored. Lanes: {told}."]
    if verification is not None:
        lines += _verified(verification)
    return "\n".join(lines)


def verify(
    reader: JournalReader,
    ledger: Sequence[LaneLedger],
    verifier: Verifier,
    device: str | None = None,
    progress: Callable[[int], None] = lambda _frames: None,
) -> Verification:
    """Read every stored frame again: its checksum, signature and header; then the sums.

    Args:
        reader: of the journal.
        ledger: what is to be proved.
        verifier: trusts the enrolled keys.
        device: only this one's frames.
        progress: told of the frames read so far, now and then.
    """
    outcome = Verification()
    for line in reader.check():
        outcome.find(f"SQLite: {line}")
    frames: Counter[tuple[str, str]] = Counter()
    rows: Counter[tuple[str, str]] = Counter()
    for row in reader.frames(device):
        _verify_frame(row, verifier, outcome)
        frames[row.device, row.lane] += 1
        rows[row.device, row.lane] += row.stored
        outcome.frames += 1
        outcome.rows += row.stored
        if outcome.frames % _PROGRESS_FRAMES == 0:
            progress(outcome.frames)
    for lane in ledger:
        frames_expired, rows_expired = reader.expired(lane.device, lane.lane)
        found = frames[lane.device, lane.lane] + frames_expired, rows[lane.device, lane.lane] + rows_expired
        if found != (lane.frames, lane.rows_stored):
            outcome.find(
                f"{lane.device} {lane.lane}: {found[0]} frames, {found[1]} rows are there, with those retention has"
                f" deleted; the ledger says {lane.frames} frames, {lane.rows_stored} rows"
            )
        told = lane.rows_stored + lane.rows_thinned + lane.rows_quarantined + lane.rows_missing + lane.rows_pending
        if told != lane.rows_head and not lane.alarms:
            outcome.find(f"{lane.device} {lane.lane}: {told} rows accounted for, {lane.rows_head} spoken of")
    return outcome


def _verify_frame(row: FrameRow, verifier: Verifier, outcome: Verification) -> None:
    place = f"{row.device} {row.lane} {row.epoch.hex()}/{row.number}"
    if zlib.crc32(row.message) != row.checksum:
        outcome.find(f"{place}: its bytes are no longer what was stored")
        return
    try:
        record = read_record(open_envelope(row.message, row.device, verifier))
    except NeverRetry as error:
        outcome.find(f"{place}: {error.reason}")
        return
    if not isinstance(record, Data):
        outcome.find(f"{place}: not a frame")
        return
    said = (record.device, record.lane.name.lower(), record.epoch, record.number, record.rows, record.stored)
    if said != (row.device, row.lane, row.epoch, row.number, row.rows, row.stored):
        outcome.find(f"{place}: the signed header says {said[1]} {record.epoch.hex()}/{said[3]}, {said[5]} rows")


def _cells(lane: LaneLedger) -> tuple[str, ...]:
    counts = (lane.rows_stored, lane.rows_pending, lane.rows_missing, lane.rows_orphaned, lane.rows_quarantined)
    heard = datetime.fromtimestamp(lane.as_of_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (lane.device, lane.lane, lane.verdict, *(f"{count:,}" if count else "0" for count in counts), heard)


def _align(cell: str, width: int, column: int) -> str:
    return cell.rjust(width) if 3 <= column <= 7 else cell.ljust(width)  # noqa: PLR2004 - the columns of counts


def _notes(lane: LaneLedger) -> list[str]:
    place = f"{lane.device} {lane.lane}:"
    notes = [f"{place} {count:,} rows missing, {reason}" for reason, count in lane.missing_by_reason.items()]
    if lane.rows_orphaned:
        notes.append(f"{place} {lane.rows_orphaned:,} rows in tails that were forked off and will not come")
    if lane.rows_thinned:
        notes.append(f"{place} {lane.rows_thinned:,} rows thinned out by a full spool, within its error bound")
    notes += [
        f"{place} {count:,} rows lost before the spool, {reason}"
        if reason != INSIGNIFICANT
        else f"{place} {count:,} rows left out by the device, within the error bounds of their streams"
        for reason, count in lane.lost_before_spool.items()
    ]
    notes += [f"{place} alarm {name}, {count} times" for name, count in lane.alarms.items()]
    return notes


def _verified(verification: Verification) -> list[str]:
    if not verification.findings:
        return [
            f"Verified: {verification.frames:,} frames, {verification.rows:,} rows; every signature and sum agrees."
        ]
    more = [f"… and {verification.findings_more:,} more"] if verification.findings_more else []
    return ["", "Does not agree:", *(f"  {finding}" for finding in verification.findings), *more]
