"""The cell: how anything the spool keeps is written, so that each piece proves itself without the rest of the file.

A cell is a label, written twice, with a checksum of its own, and a body; one digest covers both. So one flipped bit
never costs more than one body, and `carve` finds cells again in a file whose trees are broken.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import Final, NamedTuple

__all__ = ["LABEL_SIZE", "MAGIC", "Entry", "Place", "digest_of", "pack_entry", "pack_place", "unpack_label"]

MAGIC: Final = b"\xf1TLs"
"""First bytes of every label; carving looks for them."""

LABEL_SIZE: Final = 60

_DIGEST_SIZE: Final = 16
_PLACE: Final = struct.Struct(">4scBH8sQQQQ8x")
_ENTRY: Final = struct.Struct(">4scBH40sQ")
_CHECK: Final = struct.Struct(">I")


class Place(NamedTuple):
    """Where a record stands: its lane, its epoch, the numbers it occupies, and the rows it accounts for."""

    lane: int
    epoch: bytes
    first: int
    last: int
    rows: int
    rows_after: int


class Entry(NamedTuple):
    """The name of a piece of state; of two with one name, the higher generation is the newer."""

    name: str
    generation: int


def _checked(label: bytes) -> bytes:
    return label + _CHECK.pack(zlib.crc32(label))


def pack_place(place: Place) -> bytes:
    """The label of a record."""
    lane, epoch, first, last, rows, rows_after = place
    return _checked(_PLACE.pack(MAGIC, b"r", lane, 0, epoch, first, last, rows, rows_after))


def pack_entry(entry: Entry) -> bytes:
    """The label of a piece of state.

    Raises:
        ValueError: the name is longer than 40 bytes.
    """
    name = entry.name.encode()
    if len(name) > 40:  # noqa: PLR2004 - the field's size, said in the message
        raise ValueError(f"{entry.name!r}: a name has at most 40 bytes")
    return _checked(_ENTRY.pack(MAGIC, b"s", 0, len(name), name, entry.generation))


def unpack_label(label: bytes) -> Place | Entry | None:
    """What a label says; None if it is damaged."""
    if len(label) != LABEL_SIZE or _checked(label[: -_CHECK.size]) != label or label[:4] != MAGIC:
        return None
    if label[4:5] == b"r":
        _, _, lane, _, epoch, first, last, rows, rows_after = _PLACE.unpack(label[: -_CHECK.size])
        return Place(lane, epoch, first, last, rows, rows_after)
    _, _, _, size, name, generation = _ENTRY.unpack(label[: -_CHECK.size])
    return Entry(name[:size].decode(), generation)


def digest_of(label: bytes, body: bytes) -> bytes:
    """Sixteen bytes that no accident reproduces (BLAKE2b)."""
    return hashlib.blake2b(label + body, digest_size=_DIGEST_SIZE).digest()
