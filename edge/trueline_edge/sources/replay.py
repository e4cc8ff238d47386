"""Recorded readings out of CSV files, as if they were measured now.

Promises: every row of the file becomes a row of readings, or is counted as lost ("malformed_row") and reported with
file and line; a cell that is no number becomes NaN, flagged MISSING for the reason UNPARSABLE; `resume` goes on behind
the last row given out, to the byte. Refuses to mend anything: what the file says is what the stages see.
"""

from __future__ import annotations

import logging
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal, NamedTuple

import msgspec
import numpy as np

from trueline_edge.sources.csv_lines import Block, Cells, Lines, find_column, parse_numbers, split_line
from trueline_edge.sources.source import SYSTEM_CLOCK, Batch, ChannelConfig, Clock, declared_u
from trueline_edge.sources.times import Pass, TimeReader, check_time_format, check_zone
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Flag, Readings, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from typing import BinaryIO

    from numpy.typing import NDArray

    from trueline_wire.readings import Schema

__all__ = ["ReplayConfig", "ReplaySource"]

log: Final = logging.getLogger(__name__)

_COMPLAINTS_MAX: Final = 20
_FINGERPRINT_BYTES: Final = 4096
_TICK_S: Final = 0.05
"""Rows due within so short a time come in one batch."""


class ReplayConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="replay"
):
    """CSV files, one after the other.

    Columns are named as in the header (blanks around a name do not matter), or "#3" for the third.

    Attributes:
        path: the file; relative to the configuration's folder.
        paths: or several, in this order.
        time_column: the column with the time, or several, joined by a blank (date and time of day); the first column
            where left out.
        time_format: "iso", "s", "ms", "us" or "ns" since 1970, or a strptime format such as "%d/%m/%Y %H:%M:%S".
        zone: IANA name of the zone of local times, such as "Europe/Rome". Texts with an offset need none.
        fold: a local time that occurs twice when summer time ends is the "earlier", the "later", or by "order": the
            earlier until the clock in the file steps back, the later from there.
        separator: between cells; " " means any run of blanks.
        decimal: "." or ",".
        encoding: of the file.
        missing: texts that mean nothing was measured, as written (["NA", "-999"]); an empty cell always does.
        skip_lines: lines before the header.
        header: false where the first row is data: columns are then called "#1", "#2", ...
        speed: "realtime", "flat_out", or how many times faster than recorded. Each file starts at once.
    """

    path: Path | None = None
    paths: tuple[Path, ...] = ()
    time_column: str | tuple[str, ...] = "#1"
    time_format: str = "iso"
    zone: str = "UTC"
    fold: Literal["earlier", "later", "order"] = "order"
    separator: str = ","
    decimal: Literal[".", ","] = "."
    encoding: Literal["utf-8", "latin-1", "cp1252"] = "utf-8"
    missing: tuple[str, ...] = ()
    skip_lines: int = 0
    header: bool = True
    speed: Literal["realtime", "flat_out"] | float = "realtime"

    channel_keys: ClassVar = ("column",)

    def __post_init__(self) -> None:
        if (self.path is None) == (not self.paths):
            raise ValueError("path or paths is wanted: one of them")
        check_time_format(self.time_format)
        check_zone(self.zone)
        if len(self.separator) != 1:
            raise ValueError(f"separator {self.separator!r} must be one character")
        if self.separator == self.decimal:
            raise ValueError(f"decimal {self.decimal!r} cannot be the separator too")
        if self.skip_lines < 0:
            raise ValueError(f"skip_lines {self.skip_lines} must not be negative")
        if not isinstance(self.speed, str) and not 0.0 < self.speed < float("inf"):
            raise ValueError(f"speed {self.speed} must be above 0, 'realtime' or 'flat_out'")

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, in order."""
        return self.paths if self.path is None else (self.path,)

    def open(
        self, schema: Schema, channels: Sequence[ChannelConfig], *, rows_max: int, clock: Clock = SYSTEM_CLOCK
    ) -> ReplaySource:
        """The source for a stream. Batches have at most `rows_max` rows."""
        return ReplaySource(self, schema, channels, rows_max=rows_max, clock=clock)


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a replay stands: the offset of a batch."""

    file: int
    byte: int
    line: int
    fold: Pass
    fingerprint: int


class _Layout(NamedTuple):
    """Which cells of a row are what."""

    width: int
    time: list[int]
    value: list[int]


class _Part(NamedTuple):
    """Some lines of a file, read."""

    time_ns: NDArray[np.int64]
    texts: list[str]
    value: NDArray[np.float64]
    unparsable: NDArray[np.bool_]
    good: NDArray[np.int64]
    """(n,) which of the lines each row is."""
    bad: NDArray[np.int64]
    """(m,) which of the lines are malformed."""
    block: Block


class ReplaySource:
    """Reads one stream out of CSV files."""

    def __init__(
        self, config: ReplayConfig, schema: Schema, channels: Sequence[ChannelConfig], *, rows_max: int, clock: Clock
    ) -> None:
        self._config = config
        self._schema = schema
        self._columns = [channel.column or channel.name for channel in channels]
        self._u = declared_u(channels)
        self._rows_max = rows_max
        self._clock = clock
        self._cells = Cells(config.decimal, config.missing)
        self._times = TimeReader(config.time_format, config.zone, config.fold)
        self._start: _Place | None = None
        self._complaints = 0

    def resume(self, offset: bytes) -> None:
        """Go on behind the batch that carried this offset."""
        place = msgspec.msgpack.decode(offset, type=_Place)
        files = self._config.files
        if place.file >= len(files):
            raise ConfigError(f"the replay stood in file {place.file + 1}, but the configuration names {len(files)}")
        path = files[place.file]
        with _open(path) as file:
            head = file.read(min(place.byte, _FINGERPRINT_BYTES))
            if zlib.crc32(head) != place.fingerprint or file.seek(0, 2) < place.byte:
                raise ConfigError(
                    f"{path} is not the file this replay began with: give the stream a new name, or the file back"
                )
        self._start = place

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """All rows of all files, at the configured speed."""
        first = self._start.file if self._start else 0
        for number, path in list(enumerate(self._config.files))[first:]:
            self._complaints = 0
            with _open(path) as file:
                async for batch in self._file(number, path, file):
                    yield batch
            if self._complaints > _COMPLAINTS_MAX:
                log.warning("%s: %d more malformed rows or cells", path, self._complaints - _COMPLAINTS_MAX)

    async def _file(self, number: int, path: Path, file: BinaryIO) -> AsyncGenerator[Batch, None]:
        lines = Lines(file, self._config.encoding)
        head = file.read(_FINGERPRINT_BYTES)
        file.seek(0)
        layout = self._layout(lines, path)
        self._times.at = Pass()
        if self._start is not None and self._start.file == number:
            lines.seek(self._start.byte, self._start.line)
            self._times.at = self._start.fold
        pace = _Pace(self._config.speed, self._clock)
        while (block := lines.take(self._rows_max)).texts:
            before = self._times.at
            part = self._read(block, layout, path)
            after, self._times.at = self._times.at, before
            done = row = 0
            while done < len(block.texts):
                until_row = await pace.wait(part.time_ns, row)
                whole = until_row == len(part.time_ns)
                until = len(block.texts) if whole else int(part.good[until_row - 1]) + 1
                if whole:
                    self._times.at = after
                else:
                    self._times.read(part.texts[done:until])
                lost = int(((part.bad >= done) & (part.bad < until)).sum())
                end, line = block.ends[until - 1], block.number + until - 1
                place = _Place(number, end, line, self._times.at, zlib.crc32(head[:end]))
                readings = self._readings(part, slice(row, until_row))
                yield Batch(readings, msgspec.msgpack.encode(place), {"malformed_row": lost} if lost else {})
                done, row = until, until_row

    def _layout(self, lines: Lines, path: Path) -> _Layout:
        """Read up to the header (or look at the first row), and find the columns."""
        number, byte = 0, 0
        while (block := lines.take(1)).texts:
            number, start = block.number, byte
            byte = block.ends[0]
            if number > self._config.skip_lines and block.texts[0].strip():
                break
        else:
            raise ConfigError(f"{path}: there is no header in {number} lines")
        names = split_line(block.texts[0], self._config.separator)
        if not self._config.header:
            lines.seek(start, number - 1)
            names = [f"#{position + 1}" for position in range(len(names))]
        time = self._config.time_column
        time_columns = [find_column(names, name, path) for name in ([time] if isinstance(time, str) else time)]
        return _Layout(len(names), time_columns, [find_column(names, name, path) for name in self._columns])

    def _read(self, block: Block, layout: _Layout, path: Path) -> _Part:
        """Read the rows of some lines: times and numbers of those that are whole, and which are malformed."""
        separator, width = self._config.separator, layout.width
        rows = [split_line(text, separator) for text in block.texts]
        texts = [""] * len(rows)
        whole: list[int] = []
        bad: list[int] = []
        for position, row in enumerate(rows):
            if len(row) == width and (text := " ".join([row[column].strip() for column in layout.time])):
                texts[position] = text
                whole.append(position)
            elif any(cell.strip() for cell in row):
                bad.append(position)
                fault = "there is no time" if len(row) == width else f"{len(row)} cells, but the header has {width}"
                self._complain(path, block.number + position, fault)
        times = self._times.read([texts[position] for position in whole])
        good = np.array(whole, np.int64)
        for position in good[times.bad].tolist():
            bad.append(position)
            self._complain(path, block.number + position, f"no time can be read from {texts[position]!r}")
        good = good[~times.bad]
        kept = [rows[position] for position in good.tolist()]
        numbers = parse_numbers(kept, layout.value, self._cells)
        for row_number, column in np.argwhere(numbers.unparsable).tolist():
            text = kept[row_number][layout.value[column]]
            line = block.number + int(good[row_number])
            self._complain(path, line, f"{self._columns[column]}: {text!r} is no number")
        return _Part(
            times.time_ns[~times.bad], texts, numbers.value, numbers.unparsable, good, np.array(bad, np.int64), block
        )

    def _readings(self, part: _Part, rows: slice) -> Readings:
        readings = Readings.raw(self._schema, part.time_ns[rows], part.value[rows], self._u)
        return readings.flagged(part.unparsable[rows], Flag.MISSING, Reason.UNPARSABLE)

    def _complain(self, path: Path, line: int, message: str) -> None:
        self._complaints += 1
        if self._complaints <= _COMPLAINTS_MAX:
            log.warning("%s:%d: %s", path, line, message)


class _Pace:
    """Gives rows out when they are due."""

    def __init__(self, speed: str | float, clock: Clock) -> None:
        self._clock = clock
        self._speed = 1.0 if isinstance(speed, str) else speed
        self._flat_out = speed == "flat_out"
        self._first: tuple[int, float] | None = None
        self._latest_ns = 0

    async def wait(self, time_ns: NDArray[np.int64], row: int) -> int:
        """Wait for a row; returns up to which row all are due."""
        if self._flat_out or row == len(time_ns):
            await self._clock.sleep(0)
            return len(time_ns)
        if self._first is None:
            self._first = int(time_ns[row]), self._clock.monotonic_s()
            self._latest_ns = self._first[0]
        start_ns, start_s = self._first
        reached = np.maximum.accumulate(np.maximum(time_ns[row:], self._latest_ns))
        due_s = start_s + (reached - start_ns) / 1e9 / self._speed
        await self._clock.sleep(max(0.0, float(due_s[0]) - self._clock.monotonic_s()))
        count = max(1, int(np.searchsorted(due_s, self._clock.monotonic_s() + _TICK_S, side="right")))
        self._latest_ns = int(reached[count - 1])
        return row + count


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
