"""The envelope of every message: sized, signed, and opened without understanding what is inside.

    offset  size  field
    0       2     magic, 54 4C ("TL")
    2       1     version, 1
    3       1     kind (see `Kind`)
    4       4     key id
    8       2     header size h, big-endian
    10      h     header: one CBOR map with unsigned integer keys
    10+h    b     body, up to the signature
    10+h+b  64    Ed25519 signature of all bytes before it

Promises: `open_envelope` gives out a header and a body only after the signature of the named sender was found good and
all sizes were found in bounds. Refuses to know what a body means.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from trueline_wire.cbor import read_cbor, write_cbor
from trueline_wire.errors import NeverRetry, NotAuthentic
from trueline_wire.keys import SIGNATURE_SIZE

if TYPE_CHECKING:
    from trueline_wire.keys import Signer, Verifier

__all__ = [
    "COUNT_END",
    "MESSAGE_SIZE_MAX",
    "VERSION",
    "Envelope",
    "Kind",
    "Lane",
    "open_envelope",
    "peek_kind",
    "reread_envelope",
    "seal_envelope",
]

VERSION: Final = 1
MESSAGE_SIZE_MAX: Final = 64 * 1024
"""No message is larger, signature included."""

COUNT_END: Final = 1 << 62
"""Numbers and counts of rows are below this, so that the sum of two still fits where 63 bits are the limit."""

_PREFIX: Final = struct.Struct(">2sBB4sH")
_MAGIC: Final = b"TL"
_SIZE_MIN: Final = _PREFIX.size + 1 + SIGNATURE_SIZE


class Kind(IntEnum):
    """What a message is."""

    OPEN = 1
    DATA = 2
    GAP = 3
    STATUS = 4
    SCHEMA = 5
    ACK = 6


_KINDS: Final = frozenset(Kind)


class Lane(IntEnum):
    """The two lanes of a device. Events never wait behind a backlog of data."""

    DATA = 0
    EVENT = 1


@dataclass(frozen=True, slots=True)
class Envelope:
    """An authentic message, its header a map and its body still bytes."""

    kind: Kind
    header: dict[int, Any]
    body: bytes

    def take(
        self, key: int, wanted: type[Any], *, at_least: int = 0, below: int = COUNT_END, size: int | None = None
    ) -> Any:
        """One header field of a wanted type; integers from `at_least` to `below`, bytes of exactly `size` if given.

        Raises:
            NeverRetry: it is missing, of another type, or out of bounds.
        """
        value: Any = self.header.get(key)
        if type(value) is not wanted:
            raise NeverRetry(f"{self.kind.name}: header field {key} is {value!r:.40}, not {wanted.__name__}")
        if wanted is int and not at_least <= value < below:
            raise NeverRetry(f"{self.kind.name}: header field {key} is {value}, not in {at_least} to {below - 1}")
        if size is not None and len(value) != size:
            raise NeverRetry(f"{self.kind.name}: header field {key} has {len(value)} bytes, not {size}")
        return value


def seal_envelope(kind: Kind, header: dict[int, Any], body: bytes, signer: Signer) -> bytes:
    """Sign a header and a body.

    Raises:
        ValueError: the message would be larger than `MESSAGE_SIZE_MAX`.
    """
    encoded = write_cbor(header)
    if _PREFIX.size + len(encoded) + len(body) + SIGNATURE_SIZE > MESSAGE_SIZE_MAX:
        raise ValueError(f"a {kind.name} of {len(encoded)} + {len(body)} bytes is larger than {MESSAGE_SIZE_MAX}")
    signed = _PREFIX.pack(_MAGIC, VERSION, kind, signer.key_id, len(encoded)) + encoded + body
    return signed + signer.sign(signed)


def peek_kind(message: bytes) -> Kind | None:
    """What the message says it is, believed by nobody yet; None if it is none of ours."""
    try:
        return Kind(message[3]) if len(message) >= _SIZE_MIN and message[:2] == _MAGIC else None
    except ValueError:
        return None


def open_envelope(message: bytes, sender: str, verifier: Verifier) -> Envelope:
    """Check size and signature, then read the header.

    Args:
        message: the bytes as they came.
        sender: who must have signed them: the device the topic or path names, or "cloud".
        verifier: whose keys are trusted.

    Raises:
        NotAuthentic: not signed by the sender.
        NeverRetry: authentic, but not a message this version can read.
    """
    if not _SIZE_MIN <= len(message) <= MESSAGE_SIZE_MAX:
        raise NotAuthentic(f"a message of {len(message)} bytes: {_SIZE_MIN} to {MESSAGE_SIZE_MAX} are taken")
    magic, version, kind, key_id, header_size = _PREFIX.unpack_from(message)
    if magic != _MAGIC:
        raise NotAuthentic("not a Trueline message: the first two bytes are not 'TL'")
    verifier.verify(sender, key_id, message[-SIGNATURE_SIZE:], message[:-SIGNATURE_SIZE])
    if version != VERSION:
        raise NeverRetry(f"version {version} of the wire: this peer speaks version {VERSION}")
    end = _PREFIX.size + header_size
    if end > len(message) - SIGNATURE_SIZE:
        raise NeverRetry(f"header of {header_size} bytes in a message of {len(message)}")
    if kind not in _KINDS:
        raise NeverRetry(f"kind {kind}, which this version does not know")
    header = read_cbor(message[_PREFIX.size : end])
    if not isinstance(header, dict) or not all(type(key) is int and key >= 0 for key in header):
        raise NeverRetry(f"{Kind(kind).name}: the header is not a map of unsigned integers")
    return Envelope(Kind(kind), header, message[end:-SIGNATURE_SIZE])


def reread_envelope(message: bytes) -> Envelope:
    """The envelope of a message this process sealed itself, or whose digest its spool has just checked."""
    _, _, kind, _, header_size = _PREFIX.unpack_from(message)
    end = _PREFIX.size + header_size
    return Envelope(Kind(kind), read_cbor(message[_PREFIX.size : end]), message[end:-SIGNATURE_SIZE])
