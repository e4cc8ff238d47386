"""Lines of a CSV file -> cells and numbers, with the place of each line, so that reading can go on there another day.

Promises: one physical line is one row, so a stray quote costs its own line and nothing behind it; a line's cells are
taken only where they are as many as the header's; `float(text)` bit for bit. Refuses to know what the numbers mean.
"""

from __future__ import annotations

import csv
import difflib
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

__all__ = ["Block", "Cells", "Lines", "Numbers", "find_column", "parse_numbers", "split_line"]

_LINE_MAX_BYTES: Final = 1 << 20
_BOM: Final = b"\xef\xbb\xbf"
_NAN: Final = float("nan")


class Block(NamedTuple):
    """Some physical lines, one after the other."""

    texts: list[str]
    """Without their ends."""
    ends: list[int]
    """Byte behind each: where the next line begins."""
    number: int
    """Of the first line, counted from 1."""


class Lines:
    """The lines of a file, from a byte on. A line beyond 1 MiB comes cut: its cells will not fit the header."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file = file
        self._encoding = encoding
        self._byte = 0
        self._number = 0

    def seek(self, byte: int, number: int) -> None:
        """Go on behind line `number`, which ends at `byte`."""
        self._file.seek(byte)
        self._byte, self._number = byte, number

    def take(self, count: int) -> Block:
        """The next lines, at most `count`; none at the end of the file."""
        readline, end = self._file.readline, self._byte
        raws: list[bytes] = []
        ends: list[int] = []
        while len(raws) < count and (raw := readline(_LINE_MAX_BYTES)):
            raws.append(raw)
            end += len(raw)
            if len(raw) == _LINE_MAX_BYTES:
                end += self._rest_of_line(raw)
            ends.append(end)
        if raws and self._number == 0:
            raws[0] = raws[0].removeprefix(_BOM)
        encoding = self._encoding
        texts = [raw.decode(encoding, "replace").rstrip("\r\n") for raw in raws]
        block = Block(texts, ends, self._number + 1)
        self._byte, self._number = end, self._number + len(raws)
        return block

    def _rest_of_line(self, raw: bytes) -> int:
        """Read on to the end of a line that is too long. Returns the bytes that were passed over."""
        passed = 0
        while raw and not raw.endswith(b"\n"):
            raw = self._file.readline(_LINE_MAX_BYTES)
            passed += len(raw)
        return passed


def split_line(text: str, separator: str) -> list[str]:
    """The cells of a line. A blank as separator means any run of blanks."""
    if '"' in text:
        return next(csv.reader([text], delimiter=separator), [])
    return text.split() if separator == " " else text.split(separator)


def find_column(names: Sequence[str], wanted: str, path: Path) -> int:
    """The position of a column: by its name, by its name without blanks around it, or "#3" for the third.

    Raises:
        ConfigError: there is no such column, or more than one.
    """
    if wanted.startswith("#") and wanted[1:].isdigit() and wanted not in names:
        if 1 <= int(wanted[1:]) <= len(names):
            return int(wanted[1:]) - 1
        raise ConfigError(f"{path}: no column {wanted}: there are {len(names)}")
    for known in (list(names), [name.strip() for name in names]):
        found = known.count(wanted)
        if found == 1:
            return known.index(wanted)
        if found > 1:
            places = ", ".join(f"#{position + 1}" for position, name in enumerate(known) if name == wanted)
            raise ConfigError(f"{path}: {found} columns are called {wanted!r}: name one by its position ({places})")
    close = difflib.get_close_matches(wanted, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"columns here: {', '.join(map(repr, names))}"
    raise ConfigError(f"{path}: no column {wanted!r}; {hint}")


class Numbers(NamedTuple):
    """A table that was read."""

    value: NDArray[np.float64]
    """(n, k); NaN where nothing was measured or nothing could be read."""
    unparsable: NDArray[np.bool_]
    """(n, k) true where a cell is neither a number nor a sign that nothing was measured."""


class Cells:
    """How a cell becomes a number.

    Args:
        decimal: "." or ",".
        missing: texts that mean nothing was measured; a number among them is met however it is written.
    """

    def __init__(self, decimal: str = ".", missing: Sequence[str] = ()) -> None:
        self._comma = decimal == ","
        self._missing = {"", *missing}
        numbers = (self._number(text) for text in missing)
        self._codes = np.array([number for number in numbers if number is not None and number == number])  # noqa: PLR0124 - not NaN

    def read(self, cells: Sequence[str], shape: tuple[int, int]) -> Numbers:
        """Read n times k cells, row by row."""
        unparsable = np.zeros(len(cells), np.bool_)
        try:
            if self._comma or "_" in "".join(cells):
                raise ValueError
            value = np.array(list(map(float, cells)))
        except ValueError:
            value = np.empty(len(cells))
            for position, text in enumerate(cells):
                number = self._maybe_number(text.strip())
                unparsable[position] = number is None
                value[position] = _NAN if number is None else number
        if len(self._codes):
            value[np.isin(value, self._codes)] = _NAN
        return Numbers(value.reshape(shape), unparsable.reshape(shape))

    def _maybe_number(self, text: str) -> float | None:
        return _NAN if text in self._missing else self._number(text)

    def _number(self, text: str) -> float | None:
        if "_" in text or (self._comma and "." in text):
            return None
        try:
            return float(text.replace(",", ".") if self._comma else text)
        except ValueError:
            return None


def parse_numbers(rows: Sequence[Sequence[str]], columns: Sequence[int], cells: Cells) -> Numbers:
    """The columns of a table of texts, as numbers."""
    if len(columns) == 1:
        flat = [row[columns[0]] for row in rows]
    else:
        pick = itemgetter(*columns)
        flat = [cell for row in rows for cell in pick(row)]
    return cells.read(flat, (len(rows), len(columns)))
