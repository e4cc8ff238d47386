"""Which message was being handled when the process died.

A marker file holds the start of the signature of the message in hand; it is written before a message is looked at and
cleared behind it, through memory that is shared with the file: a system call for each would cost more. It is not
synced: the page cache outlives a process, and after a power cut nothing was in hand.

Promises: a message that was in hand at two deaths of the process in a row is `suspected`; one that was handled well in
between is not. A message with a suspect's signature is that message: signatures are unique. Refuses to know why.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DEATHS_MAX", "Marker"]

DEATHS_MAX: Final = 2
"""A message in hand at so many deaths is not looked at again."""

_SIGNATURE_SIZE: Final = 64
_ID_SIZE: Final = 16
_EMPTY: Final = bytes(_ID_SIZE)
_SUSPECTS_MAX: Final = 64


class Marker:
    """The marker file, for one process.

    Args:
        path: the file; the suspects are kept beside it in `<path>.suspects`.
    """

    def __init__(self, path: Path) -> None:
        self._suspects_path = path.with_name(path.name + ".suspects")
        self._suspects = self._load()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        in_hand = os.pread(self._file, _ID_SIZE, 0)
        if len(in_hand) == _ID_SIZE and in_hand != _EMPTY:
            self._suspects[in_hand.hex()] = self._suspects.pop(in_hand.hex(), 0) + 1
            self._save()
        os.pwrite(self._file, _EMPTY, 0)  # now the file has its place on the disk, and a full one does no harm
        self._in_hand = mmap.mmap(self._file, _ID_SIZE)

    def suspected(self, message: bytes) -> bool:
        """Whether the process died with this message in hand, twice."""
        return bool(self._suspects) and self._suspects.get(_id(message).hex(), 0) >= DEATHS_MAX

    def take(self, message: bytes) -> None:
        """This message is in hand."""
        self._in_hand[:] = _id(message)

    def release(self, message: bytes) -> None:
        """It was handled, and nobody died."""
        self._in_hand[:] = _EMPTY
        if self._suspects and self._suspects.pop(_id(message).hex(), 0):
            self._save()

    def close(self) -> None:
        """Let go of the file."""
        self._in_hand.close()
        os.close(self._file)

    def _load(self) -> dict[str, int]:
        try:
            found = json.loads(self._suspects_path.read_bytes())
        except (OSError, ValueError):
            return {}  # never written, or torn by the death it was to record: the count starts again
        return {str(name): int(count) for name, count in found.items()} if isinstance(found, dict) else {}

    def _save(self) -> None:
        for name in list(self._suspects)[:-_SUSPECTS_MAX]:
            del self._suspects[name]
        temporary = self._suspects_path.with_name(self._suspects_path.name + ".new")
        with contextlib.suppress(OSError):  # a full disk must not keep the service from starting
            temporary.write_text(json.dumps(self._suspects))
            temporary.replace(self._suspects_path)


def _id(message: bytes) -> bytes:
    return message[-_SIGNATURE_SIZE:][:_ID_SIZE].ljust(_ID_SIZE, b"\x01")
