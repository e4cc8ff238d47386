"""What can be read from a database file whose trees are broken: every cell that still proves itself.

SQLite gives up on a tree with a damaged page; our cells do not need the tree. Pages are searched for labels, the table
cell around each is read (SQLite, "Database File Format", sections 1.6, 2.1 and 4), and its digest decides. Frames of
the write-ahead log are laid over the pages first. Cells of deleted rows may be
found too: whoever asks knows what is live.
"""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from trueline_edge.spool.cells import LABEL_SIZE, MAGIC, Entry, Place, digest_of, unpack_label

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["PAGE_SIZE", "Cell", "carve"]

PAGE_SIZE: Final = 4096
"""The spool makes its databases with pages of this size, so a damaged header need not be asked."""

_LOCAL_MAX: Final = PAGE_SIZE - 35
_LOCAL_MIN: Final = (PAGE_SIZE - 12) * 32 // 255 - 23
_PREFIX_MAX: Final = 24
_BODY_MAX: Final = 1 << 20
_COLUMNS: Final = 5
_BLOB: Final = 12
_WAL_HEADER: Final = 32
_FRAME_HEADER: Final = struct.Struct(">IIII8x")


class Cell(NamedTuple):
    """A label that was found, and its body; None where the body no longer matches the digest."""

    label: Place | Entry
    body: bytes | None


class _Pages:
    """Pages of the database as of the last whole transaction in its log."""

    def __init__(self, path: Path) -> None:
        self._file = _mapped(path)
        self._log = _mapped(path.with_name(path.name + "-wal"))
        self._newer: dict[int, int] = {}
        pending: dict[int, int] = {}
        salt = self._log[16:24]
        step = _FRAME_HEADER.size + PAGE_SIZE
        for offset in range(_WAL_HEADER, len(self._log) - step + 1, step):
            number, committed, *_ = _FRAME_HEADER.unpack_from(self._log, offset)
            if self._log[offset + 8 : offset + 16] != salt:
                break
            pending[number] = offset + _FRAME_HEADER.size
            if committed:
                self._newer |= pending
                pending = {}
        self.count = max(len(self._file) // PAGE_SIZE, max(self._newer, default=0))

    def __getitem__(self, number: int) -> bytes:
        offset = self._newer.get(number)
        if offset is not None:
            return self._log[offset : offset + PAGE_SIZE]
        return self._file[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]


def _mapped(path: Path) -> mmap.mmap | bytes:
    """A file's bytes, without reading them all into memory; empty where there is no file."""
    if not path.exists() or path.stat().st_size == 0:
        return b""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def carve(path: Path) -> Iterator[Cell]:
    """Every cell in a database file and its log, in no particular order, some perhaps twice or long deleted."""
    pages = _Pages(path)
    for number in range(1, pages.count + 1):
        page = pages[number]
        at = page.find(MAGIC)
        while at >= 0:
            cell = _cell_around(pages, page, at)
            if cell is not None:
                yield cell
            whole = cell is not None and cell.body is not None
            at = page.find(MAGIC, at + len(MAGIC) + (LABEL_SIZE if whole else 0))  # the copy need not be looked at


def _cell_around(pages: _Pages, page: bytes, at: int) -> Cell | None:
    label = unpack_label(page[at : at + LABEL_SIZE])
    if label is None:
        return None
    for start in range(at - 1, max(at - LABEL_SIZE - _PREFIX_MAX, 0) - 1, -1):
        cell = _read_cell(pages, page, start)
        if cell is not None:
            return cell
    return Cell(label, None)


def _read_cell(pages: _Pages, page: bytes, start: int) -> Cell | None:
    """The cell that starts at this offset of a page, if one does and its digest is right."""
    try:
        size, at = _varint(page, start)
        _, at = _varint(page, at)
        if not 2 * LABEL_SIZE < size < _BODY_MAX:
            return None
        payload = _payload(pages, page, at, size)
        header_size, at = _varint(payload, 0)
        columns: list[bytes] = []
        offset = header_size
        while at < header_size and len(columns) < _COLUMNS:
            kind, at = _varint(payload, at)
            width = (kind - _BLOB) // 2 if kind >= _BLOB and kind % 2 == 0 else 0
            columns.append(payload[offset : offset + width])
            offset += width
    except IndexError:
        return None
    if len(columns) != _COLUMNS or offset != size:
        return None
    for label_bytes in (columns[1], columns[2]):
        label = unpack_label(label_bytes)
        if label is not None and digest_of(label_bytes, columns[4]) == columns[3]:
            return Cell(label, columns[4])
    return None


def _payload(pages: _Pages, page: bytes, at: int, size: int) -> bytes:
    """A payload: its part in the page, then its chain of overflow pages."""
    if size <= _LOCAL_MAX:
        return page[at : at + size]
    local = _LOCAL_MIN + (size - _LOCAL_MIN) % (PAGE_SIZE - 4)
    if local > _LOCAL_MAX:
        local = _LOCAL_MIN
    parts, missing = [page[at : at + local]], size - local
    following = int.from_bytes(page[at + local : at + local + 4])
    while missing > 0 and 0 < following <= pages.count:
        overflow = pages[following]
        following = int.from_bytes(overflow[:4])
        parts.append(overflow[4 : 4 + missing])
        missing -= len(parts[-1])
    return b"".join(parts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """SQLite's variable-length integer at an offset, and the offset behind it."""
    value = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, at
    return value << 8 | data[at], at + 1
