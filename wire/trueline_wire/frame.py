"""The records of a lane: OPEN, DATA and GAP. Numbered within an epoch, taken in order, each accounting for its rows.

Promises: what `seal_record` writes, `read_record` reads back equal; every field a peer sends is checked for type and
bounds before it is used. Refuses to know what becomes of a record (`delivery`) and what its columns hold (`columns`).

Header keys are unsigned integers; keys below 64 belong to this version (32 to 39 to `control`), those it does not know
are ignored, and keys from 64 on are room for extensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from trueline_wire.envelope import COUNT_END, Envelope, Kind, Lane, seal_envelope
from trueline_wire.errors import NeverRetry

if TYPE_CHECKING:
    from trueline_wire.keys import Signer

__all__ = [
    "EPOCHS_REPORTED_MAX",
    "EPOCH_SIZE",
    "GAP_REASONS",
    "ROWS_MAX",
    "SCHEMA_HASH_SIZE",
    "Ancestor",
    "Data",
    "Gap",
    "Open",
    "Record",
    "read_record",
    "seal_record",
]

EPOCH_SIZE: Final = 8
SCHEMA_HASH_SIZE: Final = 8
ROWS_MAX: Final = 65_536
"""Rows in one frame, at most: a receiver allocates for no more."""

EPOCHS_REPORTED_MAX: Final = 1024
"""Epochs named in an OPEN or a STATUS, at most."""

GAP_REASONS: Final = ("dropped", "corrupt", "forgotten", "schema_lost")
"""Why readings are missing. Index = number on the wire; only append."""

# Header keys.
_DEVICE, _LANE, _EPOCH, _NUMBER, _ROWS_BEFORE, _ROWS, _SCHEMA, _STORED, _FIRST, _LAST = range(10)
_ANCESTORS, _CLEAN, _ROWS_START, _ROWS_AFTER, _REASON, _NUMBER_LAST = range(10, 16)


@dataclass(frozen=True, slots=True)
class Ancestor:
    """An epoch as its device remembers it.

    Attributes:
        epoch: its id, 8 bytes.
        end: highest number given out in it.
        rows_start: rows the lane had counted when it was opened.
        rows_end: rows the lane had counted after number `end`.
        released: all of it was acknowledged, nothing of it is held any more.
    """

    epoch: bytes
    end: int
    rows_start: int
    rows_end: int
    released: bool = False

    def pack(self) -> list[Any]:
        """As it travels."""
        return [self.epoch, self.end, self.rows_start, self.rows_end, self.released]


@dataclass(frozen=True, slots=True)
class Open:
    """The first record of an epoch, number 1.

    Attributes:
        rows_before: rows the lane had counted before this epoch (over its whole life).
        ancestors: the lane's earlier epochs, oldest first, the last one the parent.
        clean: the agent stopped in order before this start.
    """

    device: str
    lane: Lane
    epoch: bytes
    rows_before: int
    ancestors: tuple[Ancestor, ...] = ()
    clean: bool = False

    first: ClassVar[int] = 1
    last: ClassVar[int] = 1
    rows: ClassVar[int] = 0

    @property
    def rows_after(self) -> int:
        """Rows the lane has counted after this record."""
        return self.rows_before


@dataclass(frozen=True, slots=True)
class Data:
    """One batch of one stream.

    Attributes:
        number: its place in the epoch, from 2.
        rows_before: rows the lane had counted before it.
        rows: rows it accounts for; more than `stored` if the frame was thinned in a full spool.
        schema: hash of its schema.
        stored: rows in the body.
        time_first: smallest event time in the body, ns since 1970.
        time_last: largest event time in the body, ns since 1970.
        body: the columns, compressed.
    """

    device: str
    lane: Lane
    epoch: bytes
    number: int
    rows_before: int
    rows: int
    schema: bytes
    stored: int
    time_first: int
    time_last: int
    body: bytes

    @property
    def first(self) -> int:
        """Its number."""
        return self.number

    @property
    def last(self) -> int:
        """Its number."""
        return self.number

    @property
    def rows_after(self) -> int:
        """Rows the lane has counted after this record."""
        return self.rows_before + self.rows


@dataclass(frozen=True, slots=True)
class Gap:
    """Stands in the lane in place of records that will not come, and occupies their numbers.

    Attributes:
        first: first number it stands for.
        last: last number it stands for.
        rows_start: rows the lane had counted when the epoch was opened.
        rows_after: rows the lane had counted after number `last`. A receiver knows what it has up to `first`, so the
            difference is what is missing, also when the sender no longer knows it or part of the gap is known already.
        reason: one of `GAP_REASONS`.
        time_first: smallest event time of what is missing, 0 if unknown, ns since 1970.
        time_last: largest event time of what is missing, 0 if unknown, ns since 1970.
    """

    device: str
    lane: Lane
    epoch: bytes
    first: int
    last: int
    rows_start: int
    rows_after: int
    reason: str
    time_first: int = 0
    time_last: int = 0


Record: TypeAlias = Open | Data | Gap


def seal_record(record: Record, signer: Signer) -> bytes:
    """The signed message of a record.

    Raises:
        ValueError: it would be larger than a message may be.
    """
    header: dict[int, Any] = {_DEVICE: record.device, _LANE: int(record.lane), _EPOCH: record.epoch}
    match record:
        case Open():
            header[_ROWS_BEFORE] = record.rows_before
            header[_ANCESTORS] = [ancestor.pack() for ancestor in record.ancestors]
            header[_CLEAN] = record.clean
            return seal_envelope(Kind.OPEN, header, b"", signer)
        case Data():
            header[_NUMBER] = record.number
            header[_ROWS_BEFORE] = record.rows_before
            header[_ROWS] = record.rows
            header[_SCHEMA] = record.schema
            if record.stored != record.rows:
                header[_STORED] = record.stored
            header[_FIRST] = record.time_first
            header[_LAST] = record.time_last - record.time_first
            return seal_envelope(Kind.DATA, header, record.body, signer)
        case Gap():
            header[_NUMBER] = record.first
            header[_NUMBER_LAST] = record.last
            header[_ROWS_START] = record.rows_start
            header[_ROWS_AFTER] = record.rows_after
            header[_REASON] = GAP_REASONS.index(record.reason)
            header[_FIRST] = record.time_first
            header[_LAST] = record.time_last - record.time_first
            return seal_envelope(Kind.GAP, header, b"", signer)


def read_ancestors(items: Any) -> tuple[Ancestor, ...]:
    """Epochs as they travel in OPEN and STATUS.

    Raises:
        NeverRetry: not a list of epochs, or too many.
    """
    if not isinstance(items, list) or len(items) > EPOCHS_REPORTED_MAX:
        raise NeverRetry(f"a list of at most {EPOCHS_REPORTED_MAX} epochs is wanted")
    epochs = []
    for item in items:
        match item:
            case [bytes(epoch), end, start, rows_end, bool(released), *_] if {
                type(end),
                type(start),
                type(rows_end),
            } == {int}:
                if len(epoch) != EPOCH_SIZE or not (0 < end < COUNT_END and 0 <= start <= rows_end < COUNT_END):
                    raise NeverRetry(f"epoch {epoch.hex()[:32]}: end {end}, rows {start} to {rows_end} cannot be")
                epochs.append(Ancestor(epoch, end, start, rows_end, released))
            case _:
                raise NeverRetry("an epoch is [id, end, rows at start, rows at end, released]")
    return tuple(epochs)


def read_record(envelope: Envelope) -> Record:
    """The record in an authentic OPEN, DATA or GAP.

    Raises:
        NeverRetry: a field is missing, of another type, or out of bounds.
    """
    take = envelope.take
    device = take(_DEVICE, str)
    lane_number = take(_LANE, int)
    if lane_number not in (Lane.DATA, Lane.EVENT):
        raise NeverRetry(f"lane {lane_number} does not exist")
    lane, epoch = Lane(lane_number), take(_EPOCH, bytes, size=EPOCH_SIZE)
    if envelope.kind is Kind.OPEN:
        ancestors = read_ancestors(envelope.header.get(_ANCESTORS))
        return Open(device, lane, epoch, take(_ROWS_BEFORE, int), ancestors, take(_CLEAN, bool))
    if envelope.kind is Kind.DATA:
        rows = take(_ROWS, int, at_least=1)
        stored = take(_STORED, int, at_least=1) if _STORED in envelope.header else rows
        if not stored <= rows or stored > ROWS_MAX:
            raise NeverRetry(f"a frame of {stored} rows that accounts for {rows}: at most {ROWS_MAX} fit")
        first, span = _read_times(envelope)
        return Data(
            device=device,
            lane=lane,
            epoch=epoch,
            number=take(_NUMBER, int, at_least=2),
            rows_before=take(_ROWS_BEFORE, int, below=COUNT_END - rows),
            rows=rows,
            schema=take(_SCHEMA, bytes, size=SCHEMA_HASH_SIZE),
            stored=stored,
            time_first=first,
            time_last=first + span,
            body=envelope.body,
        )
    if envelope.kind is Kind.GAP:
        reason = take(_REASON, int)
        if reason >= len(GAP_REASONS):
            raise NeverRetry(f"gap for reason {reason}, which this version does not know")
        number, (first, span) = take(_NUMBER, int, at_least=1), _read_times(envelope)
        return Gap(
            device=device,
            lane=lane,
            epoch=epoch,
            first=number,
            last=take(_NUMBER_LAST, int, at_least=number),
            rows_start=take(_ROWS_START, int),
            rows_after=take(_ROWS_AFTER, int, at_least=take(_ROWS_START, int)),
            reason=GAP_REASONS[reason],
            time_first=first,
            time_last=first + span,
        )
    raise NeverRetry(f"{envelope.kind.name} is not a record of a lane")


def _read_times(envelope: Envelope) -> tuple[int, int]:
    first = envelope.take(_FIRST, int, at_least=-(1 << 63), below=1 << 63)
    return first, envelope.take(_LAST, int, below=(1 << 63) - first)
