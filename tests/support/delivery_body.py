"""What frames carry in the model of delivery (row ids), and keys that are fast instead of strong."""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import TYPE_CHECKING

from trueline_wire.errors import NeverRetry, NotAuthentic
from trueline_wire.readings import Channel, Schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trueline_wire.frame import Data

GOOD, POISON, KILLER = b"G", b"P", b"K"
"""First byte of a body: decodes; never decodes; kills the process that decodes it."""


class QuickSigner:
    """Signs with a keyed hash, padded to the size of a signature."""

    def __init__(self, name: str) -> None:
        self._secret = name.encode()[:64]
        self.key_id = hashlib.blake2b(self._secret, digest_size=4).digest()

    def sign(self, message: bytes) -> bytes:
        """64 bytes only this name's signer gives."""
        return hashlib.blake2b(message, key=self._secret, digest_size=64).digest()


class QuickKeys:
    """A verifier that trusts every name's `QuickSigner`."""

    def __init__(self) -> None:
        self._signers: dict[str, QuickSigner] = {}

    def signer(self, name: str) -> QuickSigner:
        """The signer of a name."""
        if name not in self._signers:
            self._signers[name] = QuickSigner(name)
        return self._signers[name]

    def verify(self, name: str, key_id: bytes, signature: bytes, message: bytes) -> None:
        """Return if `name` signed it."""
        signer = self.signer(name)
        if key_id != signer.key_id or not hmac.compare_digest(signer.sign(message), signature):
            raise NotAuthentic(f"not signed by {name}")


def body_of(row_ids: Sequence[int], mark: bytes = GOOD) -> bytes:
    """A body that holds these rows."""
    return mark + struct.pack(f">{len(row_ids)}I", *row_ids)


def rows_in(body: bytes) -> tuple[int, ...]:
    """The rows a body holds."""
    return struct.unpack(f">{(len(body) - 1) // 4}I", body[1:])


def decode(record: Data, schema: bytes) -> tuple[int, ...]:
    """What a receiver makes of a frame.

    Raises:
        NeverRetry: the body is poison.
    """
    if hashlib.sha256(schema).digest()[:8] != record.schema:
        raise AssertionError("decoded with another schema than its own")
    if record.body[:1] != GOOD:
        raise NeverRetry("poison")
    return rows_in(record.body)


def schemas_of(device: str) -> tuple[bytes, ...]:
    """The encoded schemas of a device's three streams."""
    channels = (Channel(name="a", unit="1"),)
    return tuple(Schema(device=device, stream=name, channels=channels).encoded for name in ("one", "two", "three"))
