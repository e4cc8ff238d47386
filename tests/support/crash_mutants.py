"""Messages that are wrong in every way we could think of: broken on the road, or signed by a device gone mad.

Half of them carry a good signature of an enrolled key, so that they get past the door.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import cbor2
import numpy as np

from trueline_wire.columns import decode_columns, encode_columns
from trueline_wire.control import SchemaMessage, Status
from trueline_wire.envelope import MESSAGE_SIZE_MAX, Lane
from trueline_wire.errors import NeverRetry
from trueline_wire.frame import Ancestor, Data, Gap, Open, seal_record
from trueline_wire.readings import Channel, Readings, Schema

if TYPE_CHECKING:
    import random

    from trueline_wire.keys import SigningKey

_PREFIX: Final = struct.Struct(">2sBB4sH")
BOMB: Final = bytes.fromhex("70636f2103001f000000080401060700000010000000000000000000040000")
"""With these bytes pcodec's plain decoder asks for gigabytes, and ends its process where they are not to be had."""


class Mutant(NamedTuple):
    """A message to be sent, and what was done to it."""

    channel: str
    message: bytes
    how: str


def schema_of(device: str) -> Schema:
    """The stream a device of these tests has."""
    return Schema(device=device, stream="rows", channels=(Channel(name="id"), Channel(name="x")))


def readings_of(device: str, first: int, rows: int) -> Readings:
    """Numbered rows."""
    numbers = np.arange(first, first + rows, dtype=np.float64)
    times = 1_700_000_000_000_000_000 + np.arange(first, first + rows) * 1_000_000
    return Readings.raw(schema_of(device), times, np.stack([numbers, np.sin(numbers)], axis=1))


def sign(kind: int, header: bytes, body: bytes, key: SigningKey, *, version: int = 1, size: int | None = None) -> bytes:
    """Seal any bytes as if they were a message."""
    said = len(header) if size is None else size
    signed = _PREFIX.pack(b"TL", version, kind, key.key_id, min(said, 0xFFFF)) + header + body
    return signed + key.sign(signed)


@dataclass
class Mutator:
    """Makes mutants of one device's messages.

    Args:
        device: whose.
        key: its real key.
        rng: seeded.
    """

    device: str
    key: SigningKey
    rng: random.Random

    def valid(self) -> list[tuple[str, bytes]]:
        """One good message of each kind, of an epoch nobody has heard of."""
        rng, device = self.rng, self.device
        epoch, schema = rng.randbytes(8), schema_of(device)
        body = encode_columns(readings_of(device, rng.randrange(1 << 30), rng.randrange(1, 60)))
        ancestors = tuple(Ancestor(rng.randbytes(8), 5, 0, 100) for _ in range(rng.randrange(3)))
        data = Data(device, Lane.DATA, epoch, 2, 0, 10, schema.hash, 10, 5, 10, body)
        return [
            ("data", seal_record(Open(device, Lane.DATA, epoch, 0, ancestors), self.key)),
            ("data", seal_record(data, self.key)),
            ("data", seal_record(Gap(device, Lane.DATA, epoch, 3, 9, 0, 100, "dropped"), self.key)),
            ("control", Status(device, Lane.DATA, (*ancestors, Ancestor(epoch, 5, 0, 50)), {"x": 1}).seal(self.key)),
            ("control", SchemaMessage(device, schema.encoded).seal(self.key)),
        ]

    # ------------------------------------------------------------ broken on the road

    def unsigned(self) -> Mutant:
        """Broken after it was signed, or signed by nobody: the door has to hold."""
        rng = self.rng
        channel, message = rng.choice(self.valid())
        how = rng.choice(["flip", "cut", "grown", "noise", "empty", "huge", "spliced", "zeros", "no signature"])
        data = bytearray(message)
        if how == "flip":
            for _ in range(rng.choice([1, 1, 1, 2, 10])):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif how == "cut":
            del data[rng.randrange(len(data)) :]
        elif how == "grown":
            data += rng.randbytes(rng.randrange(1, 300))
        elif how == "noise":
            data = bytearray(rng.randbytes(rng.randrange(1, 400)))
        elif how == "empty":
            data = bytearray()
        elif how == "huge":
            data += bytes(rng.choice([MESSAGE_SIZE_MAX - len(data), MESSAGE_SIZE_MAX - len(data) + 1]))
        elif how == "spliced":
            data = data[: len(data) // 2] + bytearray(rng.choice(self.valid())[1])
        elif how == "zeros":
            data[4:8] = bytes(4)
        else:
            data[-64:] = bytes(64)
        return Mutant(channel, bytes(data), f"unsigned {how}")

    # ------------------------------------------------------------ signed by a device gone mad

    def signed(self) -> Mutant:
        """Signed with the device's own key, and nonsense all the same."""
        rng = self.rng
        channel, message = rng.choice(self.valid())
        _, _, kind, _, size = _PREFIX.unpack_from(message)
        header, body = message[_PREFIX.size : _PREFIX.size + size], message[_PREFIX.size + size : -64]
        how = rng.choice(["field", "field", "field", "no field", "header", "bomb", "kind", "version", "size", "lie"])
        if how == "field":
            fields = cbor2.loads(header)
            fields[rng.choice(sorted(fields))] = self._nonsense()
            header = cbor2.dumps(fields)
        elif how == "no field":
            fields = cbor2.loads(header)
            del fields[rng.choice(sorted(fields))]
            header = cbor2.dumps(fields)
        elif how == "header":
            data = bytearray(header)
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            header = bytes(data)
        elif how == "bomb":
            header = self._cbor_bomb()
        elif how == "kind":
            return Mutant(channel, sign(rng.choice([0, 6, 7, 99, 255]), header, body, self.key), "signed kind")
        elif how == "version":
            return Mutant(
                channel, sign(kind, header, body, self.key, version=rng.choice([0, 2, 255])), "signed version"
            )
        elif how == "size":
            said = rng.choice([0, 1, len(header) - 1, len(header) + 1, 0xFFFF])
            return Mutant(channel, sign(kind, header, body, self.key, size=said), "signed size")
        else:
            fields = cbor2.loads(header)
            fields[0] = "somebody-else"
            header = cbor2.dumps(fields)
        return Mutant(
            channel, sign(kind, header, body[: MESSAGE_SIZE_MAX - len(header) - 200], self.key), f"signed {how}"
        )

    def _nonsense(self) -> Any:
        rng = self.rng
        return rng.choice(
            [
                *(None, True, -1, -(1 << 62), 1 << 62, 1 << 63, 1 << 64, 1 << 200, 1.5, float("nan"), float("inf")),
                *("", "x" * 5000, b"", rng.randbytes(7), rng.randbytes(9), rng.randbytes(3000), [], {}, [[]] * 500),
                [[rng.randbytes(8), 1 << 62, 0, 1 << 62, True]] * 3,
                [[rng.randbytes(8), -1, 0, 0, False]],
                {"k" * 65: 1},
                {"k": -1},
                {i: i for i in range(200)},
                cbor2.CBORTag(4, [1, 2]),
                cbor2.CBORTag(2, b"\xff" * 2000),
                cbor2.CBORTag(30, [1, 0]),
                cbor2.CBORTag(36, "x"),
                cbor2.CBORTag(35, "(a+)+$"),
                cbor2.undefined,
            ]
        )

    def _cbor_bomb(self) -> bytes:
        return self.rng.choice(
            [
                b"\x81" * 20_000,
                b"\xa1" * 20_000,
                b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
                b"\xbb\x00\x00\x00\x7f\xff\xff\xff\xff",
                b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
                b"\x9a\x7f\xff\xff\xff" + b"\x00" * 1000,
                b"\xd8\x1c\x81\xd8\x1d\x00",
                b"\xc2\x5a\x00\x00\x40\x00" + b"\xff" * 0x4000,
                b"\x9f" * 10_000,
                b"\x7f\x61a" * 5000,
                b"\xf9\x7e\x00",
                b"\xa1\x00",
                b"\xff",
                b"",
            ]
        )

    def body(self) -> tuple[bytes, int, str]:
        """The body of a frame that will be numbered, signed and due: (body, rows it is said to hold, how)."""
        rng = self.rng
        rows = rng.randrange(1, 80)
        good = encode_columns(readings_of(self.device, rng.randrange(1 << 30), rows))
        while True:
            data = bytearray(good)
            how = rng.choice(["flip", "cut", "noise", "bomb", "rows", "empty", "layout"])
            said = rows
            if how == "flip":
                for _ in range(rng.choice([1, 2, 5])):
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            elif how == "cut":
                del data[rng.randrange(len(data)) :]
            elif how == "noise":
                data[rng.randrange(len(data)) :] = rng.randbytes(rng.randrange(1, 200))
            elif how == "bomb":
                at = rng.randrange(len(data))
                data[at : at + len(BOMB)] = rng.choice([BOMB, b"\xff" * 28, b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"])
            elif how == "rows":
                said = rng.choice([1, rows + 1, 65_536])
            elif how == "empty":
                data = bytearray()
            else:
                data[0] = rng.choice([0, 2, 255])
            if not self._is_readable(bytes(data), said):
                return bytes(data), said, f"body {how}"

    def _is_readable(self, body: bytes, rows: int) -> bool:
        """A mutant that can be read after all is a good frame, signed by its device: none of ours."""
        try:
            decode_columns(body, schema_of(self.device), rows)
        except NeverRetry:
            return False
        return True
