"""Who signed this: Ed25519 keys, their ids, and the rings of keys a receiver trusts.

Promises: `KeyRing.verify` returns only for bytes that one of the named sender's keys signed. Refuses to know what the
bytes mean. Keys rotate by adding a second key for the same name: messages carry the key id, and old keys go on
verifying what they signed.
"""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from nacl import signing
from nacl.exceptions import BadSignatureError

from trueline_wire.errors import ConfigError, NotAuthentic

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["KEY_ID_SIZE", "SIGNATURE_SIZE", "KeyRing", "Signer", "SigningKey", "Verifier", "parse_public_key"]

KEY_ID_SIZE: Final = 4
SIGNATURE_SIZE: Final = 64
_KEY_SIZE: Final = 32


class Signer(Protocol):
    """Something that signs. Tests of the protocol use a fast one; everything else uses `SigningKey`."""

    @property
    def key_id(self) -> bytes:
        """Four bytes that name the key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """A signature of 64 bytes."""
        ...


class Verifier(Protocol):
    """Something that knows whose signature is good."""

    def verify(self, name: str, key_id: bytes, signature: bytes, message: bytes) -> None:
        """Return if `name` signed the message with the key of this id.

        Raises:
            NotAuthentic: it did not, or the key is not one of its.
        """
        ...


def _id_of(public: bytes) -> bytes:
    return hashlib.sha256(public).digest()[:KEY_ID_SIZE]


def parse_public_key(text: str) -> bytes:
    """The 32 bytes of a public key written in base64.

    Raises:
        ConfigError: it is not one.
    """
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != _KEY_SIZE:
        raise ConfigError(f"{text[:60]!r} is not an Ed25519 public key: 32 bytes in base64 (44 characters) are wanted")
    return key


class SigningKey:
    """An Ed25519 private key.

    Args:
        seed: the 32 secret bytes.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = signing.SigningKey(seed)
        self.public: Final = bytes(self._key.verify_key)
        self._key_id = _id_of(self.public)

    @property
    def key_id(self) -> bytes:
        """First four bytes of the SHA-256 of the public key."""
        return self._key_id

    @property
    def public_text(self) -> str:
        """The public key in base64, as it is enrolled."""
        return base64.b64encode(self.public).decode()

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature (RFC 8032) of the message."""
        return self._key.sign(message).signature

    @classmethod
    def load_or_create(cls, path: Path) -> SigningKey:
        """The key in a file of mode 0600 (the seed in base64), made on first use and synced before it is used.

        Raises:
            ConfigError: the file cannot be read, written, or is not a key.
        """
        try:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                _write_secret(path, base64.b64encode(os.urandom(_KEY_SIZE)) + b"\n")
            if path.stat().st_mode & 0o077:
                raise ConfigError(f"key file {path} can be read by others: chmod 600 {path}")
            seed = base64.b64decode(path.read_bytes().strip(), validate=True)
            return cls(seed)
        except OSError as error:
            raise ConfigError(f"key file {path}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(
                f"key file {path} is not 32 bytes in base64: restore it, or remove it to make a new key"
            ) from error


def _write_secret(path: Path, text: bytes) -> None:
    """Write and sync a file of mode 0600; where another process was first, its file stays."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, text)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    with suppress(FileExistsError):
        os.link(temporary, path)
    temporary.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@dataclass
class KeyRing:
    """The public keys trusted for each name (a device id, or "cloud")."""

    _keys: dict[tuple[str, bytes], signing.VerifyKey] = field(default_factory=dict)

    def trust(self, name: str, public: bytes) -> None:
        """Trust one more key for a name."""
        self._keys[name, _id_of(public)] = signing.VerifyKey(public)

    def revoke(self, name: str) -> None:
        """Trust no key of this name any more."""
        for entry in [entry for entry in tuple(self._keys) if entry[0] == name]:
            del self._keys[entry]

    @property
    def names(self) -> set[str]:
        """Everyone with at least one key."""
        return {name for name, _ in tuple(self._keys)}

    def verify(self, name: str, key_id: bytes, signature: bytes, message: bytes) -> None:
        """Return if `name` signed the message with the key of this id.

        Raises:
            NotAuthentic: it did not, or the key is not one of its.
        """
        key = self._keys.get((name, key_id))
        if key is None:
            raise NotAuthentic(f"no key {key_id.hex()} is enrolled for {name[:64]!r}")
        try:
            key.verify(message, signature)
        except (BadSignatureError, ValueError):  # ValueError: a signature of another length
            raise NotAuthentic(f"the signature is not that of {name[:64]!r}, key {key_id.hex()}") from None
