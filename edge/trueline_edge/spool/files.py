"""The files beside the database: the lock, the reserve, and what was set aside."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final

from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Lock", "Reserve", "set_aside", "sync_folder"]

_ASIDE_MAX: Final = 2


class Lock:
    """One process at a time on a state folder.

    Raises:
        ConfigError: another process holds it, or the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"state folder {path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 20).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise ConfigError(
                f"state folder {path.parent} is in use by another agent (process {holder}): "
                "stop that one, or give this one a folder of its own"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next one in."""
        os.close(self._descriptor)


class Reserve:
    """Room kept for the one write that must succeed on a full disk.

    Args:
        path: the file that holds the room.
        size: bytes, really allocated.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    @property
    def held(self) -> bool:
        """The room is there."""
        return self._path.exists()

    def take(self) -> bool:
        """Give the room to whoever writes next; False if it was given away already."""
        if not self.held:
            return False
        self._path.unlink()
        return True

    def maybe_refill(self) -> bool:
        """Have the room again, if the disk has some."""
        if self.held:
            return True
        temporary = self._path.with_name(self._path.name + ".new")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size)
            finally:
                os.close(descriptor)
            temporary.rename(self._path)
        except OSError:  # weather: the disk is full, or full in the next moment
            temporary.unlink(missing_ok=True)
            return False
        return True


def set_aside(path: Path) -> Path:
    """Rename a broken database (and its log) to `<name>.corrupt-N`, keeping the newest two; return the new name."""
    prefix = path.name + ".corrupt-"
    tails = [entry.name.removeprefix(prefix) for entry in path.parent.glob(prefix + "*")]
    numbers = sorted(int(tail) for tail in tails if tail.isdigit())
    target = path.with_name(f"{prefix}{numbers[-1] + 1 if numbers else 1}")
    for old in numbers[: len(numbers) + 1 - _ASIDE_MAX]:
        for suffix in ("", "-wal"):
            path.with_name(f"{prefix}{old}{suffix}").unlink(missing_ok=True)
    path.rename(target)
    wal = path.with_name(path.name + "-wal")
    if wal.exists():
        wal.rename(target.with_name(target.name + "-wal"))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    return target


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
