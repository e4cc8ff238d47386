"""A disk that loses power: what was not synced is lost, torn or there, in any mixture.

Beside the real files it keeps what would be on the platter: the bytes each file had when it was last synced, and the
names each folder had when it was last synced. After a cut, every change since then may have happened or not, each by
itself: an unsynced file holds nothing, a part, or all of its bytes; an unsynced name is the old one or the new one. No
file system promises more than that, and some keep no more than that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trueline_edge.inference.store import Disk

if TYPE_CHECKING:
    import random
    from pathlib import Path

__all__ = ["CarelessDisk", "PowerCut", "TornDisk"]


class PowerCut(BaseException):
    """The power went; no handler of the program runs any more."""


class _Inode:
    """A file's bytes, as written and as on the platter."""

    def __init__(self) -> None:
        self.written = b""
        self.kept: bytes | None = None  # nothing was ever synced


class TornDisk(Disk):
    """Really writes into the folder, and remembers what would last.

    Args:
        folder: where it writes; what is in it now is on the platter.
        cut_at: the power goes before this step (counted from 0); never where None.
    """

    def __init__(self, folder: Path, cut_at: int | None = None) -> None:
        self.steps = 0
        self._cut_at = cut_at
        self._names: dict[Path, _Inode] = {}
        for path in folder.iterdir():
            self._names[path] = inode = _Inode()
            inode.written = inode.kept = path.read_bytes()
        self._kept_names = dict(self._names)
        self._changes: list[tuple[Path, _Inode | None]] = []

    def write(self, path: Path, data: bytes) -> None:
        """As `Disk`."""
        self._step()
        super().write(path, data)
        inode = self._names.get(path)
        if inode is None:
            inode = _Inode()
            self._change(path, inode)
        inode.written = data

    def sync(self, path: Path) -> None:
        """As `Disk`."""
        self._step()
        self._names[path].kept = self._names[path].written

    def replace(self, source: Path, target: Path) -> None:
        """As `Disk`."""
        self._step()
        super().replace(source, target)
        inode = self._names[source]
        self._change(target, inode)
        self._change(source, None)

    def sync_folder(self, folder: Path) -> None:
        """As `Disk`."""
        self._step()
        self._kept_names = dict(self._names)
        self._changes.clear()

    def remove(self, path: Path) -> None:
        """As `Disk`."""
        self._step()
        super().remove(path)
        self._change(path, None)

    def after_the_cut(self, folder: Path, rng: random.Random) -> None:
        """Fill a folder with what may be on the platter now."""
        happened = {path: inode for path, inode in self._changes if rng.random() < 0.5}  # None: the name is gone
        for path, inode in {**self._kept_names, **happened}.items():
            if inode is not None:
                (folder / path.name).write_bytes(_torn(inode, rng))

    def _change(self, path: Path, inode: _Inode | None) -> None:
        self._changes.append((path, inode))
        if inode is None:
            self._names.pop(path, None)
        else:
            self._names[path] = inode

    def _step(self) -> None:
        if self.steps == self._cut_at:
            raise PowerCut
        self.steps += 1


class CarelessDisk(TornDisk):
    """The negative control: it says it has synced, and has not."""

    def sync(self, path: Path) -> None:
        """Says so."""
        self._step()

    def sync_folder(self, folder: Path) -> None:
        """Says so."""
        self._step()


def _torn(inode: _Inode, rng: random.Random) -> bytes:
    if inode.kept == inode.written:
        return inode.written
    return rng.choice([inode.kept or b"", b"", inode.written[: rng.randrange(len(inode.written) + 1)], inode.written])
