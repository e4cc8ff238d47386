"""GAP records: what stands in a lane in place of records that will not come.

Promises: a gap occupies the numbers of what it replaces, and says where the lane's row count stands behind it; how many
rows are missing is then the receiver's subtraction, which is right also when part of them arrived. Refuses to know why.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from trueline_wire.delivery.ports import SpoolRow
from trueline_wire.envelope import Kind, peek_kind, reread_envelope
from trueline_wire.frame import Ancestor, Data, Gap, Open, read_record, seal_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trueline_wire.envelope import Lane
    from trueline_wire.keys import Signer

__all__ = ["Replacement", "gap_before", "gap_over", "gap_trimmed", "is_data", "schema_of"]


class Replacement(NamedTuple):
    """A gap, and the rows it takes the place of (none: it goes between its neighbours)."""

    rows: Sequence[SpoolRow]
    gap: Gap

    def sealed(self, signer: Signer) -> SpoolRow:
        """The gap as a spool row."""
        count = sum(row.rows for row in self.rows)
        message = seal_record(self.gap, signer)
        return SpoolRow(
            self.gap.lane, self.gap.epoch, self.gap.first, self.gap.last, count, self.gap.rows_after, message
        )


def gap_over(device: str, lane: Lane, epoch: Ancestor, rows: Sequence[SpoolRow], reason: str) -> Replacement:
    """A gap over neighbouring rows."""
    times = [span for row in rows if (span := _times(row)) is not None]
    gap = Gap(
        device=device,
        lane=lane,
        epoch=epoch.epoch,
        first=rows[0].first,
        last=rows[-1].last,
        rows_start=epoch.rows_start,
        rows_after=rows[-1].rows_after,
        reason=reason,
        time_first=min((first for first, _ in times), default=0),
        time_last=max((last for _, last in times), default=0),
    )
    return Replacement(rows, gap)


def gap_before(device: str, lane: Lane, epoch: Ancestor, first: int, row: SpoolRow | None, reason: str) -> Replacement:
    """A gap from number `first` up to a row, or to the end of the epoch where there is none.

    Where the row is a gap itself, or unreadable, the count in front of it is unknown: it becomes part of the new one,
    and a gap keeps its reason, because the number asked for may have been an old one.
    """
    rows: list[SpoolRow] = []
    if row is None:
        last, rows_after = epoch.end, epoch.rows_end
    elif (held := _gap_of(row)) is not None:
        return Replacement([row], replace(held, first=first))
    elif row.message is None:
        rows, last, rows_after, reason = [row], row.last, row.rows_after, "corrupt"
    else:
        last, rows_after = row.first - 1, row.rows_after - row.rows
    return Replacement(rows, Gap(device, lane, epoch.epoch, first, last, epoch.rows_start, rows_after, reason))


def gap_trimmed(row: SpoolRow, last: int) -> Replacement | None:
    """What is left of a gap when the numbers up to `last` are acknowledged; None if it does not straddle them."""
    gap = _gap_of(row) if row.first <= last < row.last else None
    return Replacement([row], replace(gap, first=last + 1)) if gap is not None else None


def is_data(row: SpoolRow) -> bool:
    """Whether readings are held in this row (or were, before it rotted)."""
    return row.message is None or peek_kind(row.message) is Kind.DATA


def schema_of(row: SpoolRow) -> bytes | None:
    """The schema a DATA row needs."""
    if row.message is None or peek_kind(row.message) is not Kind.DATA:
        return None
    record = read_record(reread_envelope(row.message))
    return record.schema if isinstance(record, Data) else None


def _gap_of(row: SpoolRow) -> Gap | None:
    if row.message is None or peek_kind(row.message) is not Kind.GAP:
        return None
    record = read_record(reread_envelope(row.message))
    return record if isinstance(record, Gap) else None


def _times(row: SpoolRow) -> tuple[int, int] | None:
    if row.message is None:
        return None
    record = read_record(reread_envelope(row.message))
    return None if isinstance(record, Open) or record.time_first == 0 else (record.time_first, record.time_last)
