"""Whom we believe: the folder of enrolled devices, read again when it changes.

    devices/<device>.pub    the device's public keys in base64, one a line; text after # is a comment

Promises: `Devices.verify` trusts exactly the keys that stood in the folder at the last `refresh`; a file that cannot be
read keeps the keys it had and is reported, so that a slip of the pen locks nobody out. Refuses to know what is signed.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from trueline_wire.errors import ConfigError
from trueline_wire.keys import KeyRing, parse_public_key
from trueline_wire.topics import DEVICE_ID

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["DEVICES", "Devices", "enroll"]

DEVICES: Final = "devices"
_SUFFIX: Final = ".pub"
_FILE_SIZE_MAX: Final = 16 * 1024
_LOOKING_SHARE: Final = 0.02
_QUICK_S: Final = 0.01
_SETTLED_NS: Final = 1_000_000_000


class Devices:
    """The keys of enrolled devices (`trueline_wire.keys.Verifier`).

    Args:
        folder: where the `.pub` files are; made if it is not there.
        complain: told of files that cannot be read.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        folder: Path,
        complain: Callable[[str], None] = lambda _what: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._complain = complain
        self._ring = KeyRing()
        self._seen: dict[str, tuple[int, int, int]] = {}
        self._clock = clock
        self._changed_ns, self._look_s = 0, 0.0
        folder.mkdir(parents=True, exist_ok=True)
        self.refresh()

    def __contains__(self, device: str) -> bool:
        return device in self._seen

    def __len__(self) -> int:
        return len(self._seen)

    def refresh(self) -> None:
        """Look whether files came, changed or went.

        A large folder whose own time stands still has the same files; whether one of them was changed is then asked
        less often, so that looking takes no more than 2 % of the time.
        """
        changed_ns, now_ns, began_s = self._folder.stat().st_mtime_ns, time.time_ns(), self._clock()
        if changed_ns == self._changed_ns and began_s < self._look_s:
            return
        self._look()
        took_s = self._clock() - began_s
        self._look_s = began_s + (took_s / _LOOKING_SHARE if took_s > _QUICK_S else 0.0)
        # What came a moment ago may have had company since that the folder's time does not show.
        self._changed_ns = changed_ns if changed_ns < now_ns - _SETTLED_NS else 0

    def _look(self) -> None:
        found: dict[str, tuple[int, int, int]] = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                name = entry.name.removesuffix(_SUFFIX)
                if name == entry.name or not DEVICE_ID.fullmatch(name):
                    continue
                try:
                    stat = entry.stat()
                except FileNotFoundError:
                    continue  # gone between listing and looking
                found[name] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        for name in self._seen.keys() - found.keys():
            self._ring.revoke(name)
        for name, stamp in found.items():
            if self._seen.get(name) != stamp:
                self._read(name)
        self._seen = found

    def verify(self, name: str, key_id: bytes, signature: bytes, message: bytes) -> None:
        """Return if `name` signed the message with the key of this id.

        Raises:
            NotAuthentic: it did not, or the key is not one of its.
        """
        self._ring.verify(name, key_id, signature, message)

    def _read(self, device: str) -> None:
        path = self._folder / (device + _SUFFIX)
        try:
            keys = _parse(path.read_bytes()[:_FILE_SIZE_MAX].decode(errors="replace"))
        except (ConfigError, OSError) as error:
            self._complain(f"{path}: {error}; the keys of {device} stay as they were")
            return
        self._ring.revoke(device)
        for key in keys:
            self._ring.trust(device, key)


def enroll(folder: Path, device: str, public_key: str) -> bool:
    """Add a key to a device's file, which is replaced in one step.

    Returns:
        Whether the key is new.

    Raises:
        ConfigError: not a device id, not a key, or the folder cannot be written.
    """
    if not DEVICE_ID.fullmatch(device):
        raise ConfigError(f"{device[:80]!r} cannot be a device id: 1 to 64 of A-Z a-z 0-9 . _ - are wanted")
    key = parse_public_key(public_key)
    path = folder / (device + _SUFFIX)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = path.read_text() if path.exists() else ""
        if key in _parse(known):
            return False
        temporary = path.with_name(path.name + ".new")
        temporary.write_text((known.rstrip("\n") + "\n" if known.strip() else "") + public_key.strip() + "\n")
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    return True


def _parse(text: str) -> list[bytes]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [parse_public_key(line) for line in lines if line]
