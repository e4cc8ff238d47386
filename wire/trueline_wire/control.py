"""Messages beside the lanes: STATUS and SCHEMA from the device, ACK from the cloud.

Promises and refusals as in `frame`: every field is checked before it is used; what follows is `delivery`'s business.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from trueline_wire.envelope import COUNT_END, Envelope, Kind, Lane, seal_envelope
from trueline_wire.errors import NeverRetry
from trueline_wire.frame import EPOCH_SIZE, SCHEMA_HASH_SIZE, Ancestor, read_ancestors

if TYPE_CHECKING:
    from trueline_wire.keys import Signer

__all__ = [
    "JOURNAL_ID_SIZE",
    "LOSSES_MAX",
    "Ack",
    "AckCode",
    "SchemaMessage",
    "Status",
    "read_ack",
    "read_schema",
    "read_status",
]

JOURNAL_ID_SIZE: Final = 8

LOSSES_MAX: Final = 32
"""Reasons in one STATUS, at most."""
_DEVICE, _LANE, _EPOCH = 0, 1, 2
_EPOCHS, _LOST, _TIME, _JOURNAL, _LAST, _CODE, _NEED, _CREDIT, _HEARD = range(32, 41)


class AckCode(IntEnum):
    """What the cloud says beside the number it has reached."""

    OK = 0
    NEED_SCHEMA = 1
    """Send the schema named in `need`, then go on."""
    BUSY = 2
    """Hold, and probe later; nothing is lost by waiting."""
    REFUSED = 3
    """Hold and raise an alarm; a person has to look."""
    NOT_OWNER = 4
    """Another consumer owns this shard; probe later."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a device holds in one lane. Sent on connect and every 60 s, so that an idle device is heard too.

    Attributes:
        epochs: oldest first, the newest (last) the one being written.
        lost: readings lost before the spool could promise anything, by reason, over the device's life.
        time_ns: when it was said, the device's clock.
    """

    device: str
    lane: Lane
    epochs: tuple[Ancestor, ...]
    lost: dict[str, int] = field(default_factory=dict)
    time_ns: int = 0

    def seal(self, signer: Signer) -> bytes:
        """The signed message."""
        header = {
            _DEVICE: self.device,
            _LANE: int(self.lane),
            _EPOCHS: [epoch.pack() for epoch in self.epochs],
            _LOST: self.lost,
            _TIME: self.time_ns,
        }
        return seal_envelope(Kind.STATUS, header, b"", signer)


@dataclass(frozen=True, slots=True)
class SchemaMessage:
    """A schema, sent when the cloud needs it. `encoded` is the canonical CBOR that `hash` covers."""

    device: str
    encoded: bytes

    @property
    def hash(self) -> bytes:
        """First 8 bytes of the SHA-256 of `encoded`."""
        return hashlib.sha256(self.encoded).digest()[:SCHEMA_HASH_SIZE]

    def seal(self, signer: Signer) -> bytes:
        """The signed message."""
        return seal_envelope(Kind.SCHEMA, {_DEVICE: self.device}, self.encoded, signer)


@dataclass(frozen=True, slots=True)
class Ack:
    """All numbers of `epoch` up to `last` are committed and synced. Cumulative.

    Attributes:
        journal: id of the journal that holds them. A device pins it.
        last: 0 where the epoch is unknown.
        code: see `AckCode`.
        need: hash of the schema wanted, with NEED_SCHEMA.
        credit: frames the cloud will take in flight from this lane; 0 is hold.
        lost: rows that the ledger has down as lost before the spool, all reasons: a STATUS that says so was heard.
    """

    device: str
    lane: Lane
    epoch: bytes
    journal: bytes
    last: int
    code: AckCode = AckCode.OK
    need: bytes = b""
    credit: int = 64
    lost: int = 0

    def seal(self, signer: Signer) -> bytes:
        """The signed message."""
        header = {
            _DEVICE: self.device,
            _LANE: int(self.lane),
            _EPOCH: self.epoch,
            _JOURNAL: self.journal,
            _LAST: self.last,
            _CODE: int(self.code),
            _CREDIT: self.credit,
        }
        if self.need:
            header[_NEED] = self.need
        if self.lost:
            header[_HEARD] = self.lost
        return seal_envelope(Kind.ACK, header, b"", signer)


def _expect(envelope: Envelope, kind: Kind) -> None:
    if envelope.kind is not kind:
        raise NeverRetry(f"{envelope.kind.name} where {kind.name} was expected")


def _read_lane(envelope: Envelope) -> Lane:
    lane = envelope.take(_LANE, int)
    if lane not in (Lane.DATA, Lane.EVENT):
        raise NeverRetry(f"lane {lane} does not exist")
    return Lane(lane)


def read_status(envelope: Envelope) -> Status:
    """The STATUS in an authentic message.

    Raises:
        NeverRetry: a field is missing, of another type, or out of bounds.
    """
    _expect(envelope, Kind.STATUS)
    lost: Any = envelope.header.get(_LOST, {})
    if not isinstance(lost, dict) or len(lost) > LOSSES_MAX:
        raise NeverRetry("STATUS: losses are a map of at most 32 reasons")
    for reason, count in lost.items():
        if not (isinstance(reason, str) and type(count) is int and 0 <= count < COUNT_END and len(reason) <= 64):  # noqa: PLR2004 - a name
            raise NeverRetry("STATUS: a loss is a reason and a count")
    return Status(
        device=envelope.take(_DEVICE, str),
        lane=_read_lane(envelope),
        epochs=read_ancestors(envelope.header.get(_EPOCHS)),
        lost=lost,
        time_ns=envelope.take(_TIME, int, at_least=-(1 << 63), below=1 << 63),
    )


def read_schema(envelope: Envelope) -> SchemaMessage:
    """The SCHEMA in an authentic message (its body is not decoded here).

    Raises:
        NeverRetry: a field is missing or of another type.
    """
    _expect(envelope, Kind.SCHEMA)
    return SchemaMessage(envelope.take(_DEVICE, str), envelope.body)


def read_ack(envelope: Envelope) -> Ack:
    """The ACK in an authentic message.

    Raises:
        NeverRetry: a field is missing, of another type, or out of bounds.
    """
    _expect(envelope, Kind.ACK)
    code = envelope.take(_CODE, int)
    if code > AckCode.NOT_OWNER:
        raise NeverRetry(f"ACK with code {code}, which this version does not know")
    return Ack(
        device=envelope.take(_DEVICE, str),
        lane=_read_lane(envelope),
        epoch=envelope.take(_EPOCH, bytes, size=EPOCH_SIZE),
        journal=envelope.take(_JOURNAL, bytes, size=JOURNAL_ID_SIZE),
        last=envelope.take(_LAST, int),
        code=AckCode(code),
        need=envelope.take(_NEED, bytes, size=SCHEMA_HASH_SIZE) if _NEED in envelope.header else b"",
        credit=envelope.take(_CREDIT, int),
        lost=envelope.take(_HEARD, int) if _HEARD in envelope.header else 0,
    )
