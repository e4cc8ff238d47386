"""Texts that say when -> UTC nanoseconds: ISO 8601, seconds since 1970, or a strptime format, in any zone.

Promises: a text means the same whatever texts stand beside it; what cannot be read is said, row by row; a local time
that occurs twice is decided as the configuration says. Whole columns are read at once: 100,000 texts a second and more.
Refuses to know about files and messages.
"""

from __future__ import annotations

import re
import zoneinfo
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Fold", "Pass", "TimeReader", "Times", "check_time_format", "check_zone"]

Fold = Literal["earlier", "later", "order"]

_UNITS_NS: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_SECOND_NS: Final = _UNITS_NS["s"]
_BIN_S: Final = 900
"""Clocks are shifted at quarters of an hour, in every zone since 1972."""
_BINS_MAX: Final = 100_000
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - a local time, on purpose
_EPOCH_UTC: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RANGE_NS: Final = range(-(1 << 63) + 1, 1 << 63)
_LOCAL_ISO: Final = re.compile(r"[0-9T:. -]*")
_LOCAL_ISO_MIN: Final = len("2020-01-01")
_ISO: Final = re.compile(r"(.*?:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
_WIDTHS: Final = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2}


class Times(NamedTuple):
    """A column that was read."""

    time_ns: NDArray[np.int64]
    """(n,) UTC; 0 where the text cannot be read."""
    bad: NDArray[np.bool_]
    """(n,) true where the text cannot be read."""


class Pass(NamedTuple):
    """Where a reader stands at the end of summer time: all it remembers from one text to the next."""

    local_ns: int | None = None
    """The last local time."""
    step_ns: int = 0
    """How far it was from the one before."""
    second: bool = False
    """The repeated hour is running for the second time."""


def check_time_format(time_format: str) -> None:
    """Take a format, or raise a ValueError that says which there are."""
    if time_format != "iso" and time_format not in _UNITS_NS and "%" not in time_format:
        raise ValueError(
            f"time_format {time_format!r} must be 'iso', 's', 'ms', 'us', 'ns', or a strptime format "
            "such as '%d/%m/%Y %H:%M'"
        )


def check_zone(zone: str) -> None:
    """Take a zone, or raise a ValueError."""
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"zone {zone!r} must be an IANA name such as 'Europe/Rome' that this machine knows") from error


class TimeReader:
    """Reads the times of one input, in order.

    Args:
        time_format: "iso", "s", "ms", "us", "ns" or a strptime format.
        zone: of local times; texts with an offset of their own do not need it.
        fold: which of two equal local times is meant at the end of summer time. A time that the start of summer time
            skips is taken as if the clock had not been moved.
    """

    def __init__(self, time_format: str = "iso", zone: str = "UTC", fold: Fold = "order") -> None:
        self._format = time_format
        self._zone = None if zone == "UTC" else zoneinfo.ZoneInfo(zone)
        self._fold = fold
        self._fixed = _fixed_width(time_format)
        self._offsets: dict[int, tuple[int, int]] = {}
        self.at = Pass()

    def read(self, texts: Sequence[str]) -> Times:
        """Read a column of n texts."""
        if self._format in _UNITS_NS:
            return _since_epoch(texts, _UNITS_NS[self._format])
        local_ns, state = self._parse(texts)
        if self._zone is not None:
            local = np.flatnonzero(state == _LOCAL)
            local_ns[local] -= self._offset_ns(local_ns[local])
        return Times(local_ns, state == _BAD)

    def _parse(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        if self._format == "iso":
            fast = _numpy_iso(texts)
            if fast is not None:
                return fast, np.full(len(texts), _LOCAL, np.uint8)
            parse, rows = _parse_iso, np.arange(len(texts))
            times, state = np.zeros(len(texts), np.int64), np.full(len(texts), _BAD, np.uint8)
        else:
            parse = self._parse_strptime
            times, read = _fixed(texts, *self._fixed) if self._fixed else _none_of(texts)
            state = np.where(read, np.uint8(_LOCAL), np.uint8(_BAD))
            rows = np.flatnonzero(~read)
        for row in rows.tolist():
            parsed = parse(texts[row].strip())
            if parsed is not None and parsed[0] in _RANGE_NS:
                times[row], state[row] = parsed
        return times, state

    def _parse_strptime(self, text: str) -> tuple[int, int] | None:
        try:
            return _since_1970(datetime.strptime(text, self._format))  # noqa: DTZ007 - its zone is the configuration's
        except ValueError:
            return None

    def _offset_ns(self, local_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) what local time is ahead of UTC."""
        bins, inverse = np.unique(local_ns // (_BIN_S * _SECOND_NS), return_inverse=True)
        both = np.array([self._offsets_of(int(start)) for start in bins], np.int64).reshape(-1, 2)[inverse]
        earlier, later = both[:, 0], both[:, 1]
        repeated = earlier > later
        if self._fold == "order":
            second = self._passes(local_ns, repeated, earlier - later)
        else:
            second = repeated if self._fold == "later" else np.zeros(len(repeated), np.bool_)
        return np.where(second, later, earlier)

    def _passes(
        self, local_ns: NDArray[np.int64], repeated: NDArray[np.bool_], shift_ns: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """(n,) true in the second pass: behind a step back, or behind a repeat in a file of long steps."""
        second = np.zeros(len(local_ns), np.bool_)
        if not len(local_ns):
            return second
        first = local_ns[0] if self.at.local_ns is None else self.at.local_ns
        steps = np.diff(local_ns, prepend=first)
        running = self.at.second
        last_repeated = -1
        for row in np.flatnonzero(repeated).tolist():
            running = running and (last_repeated == row - 1)
            step_before = steps[row - 1] if row else self.at.step_ns
            running = running or steps[row] < 0 or bool(steps[row] == 0 and step_before >= shift_ns[row])
            second[row] = running
            last_repeated = row
        self.at = Pass(int(local_ns[-1]), int(steps[-1]), running and last_repeated == len(local_ns) - 1)
        return second

    def _offsets_of(self, start: int) -> tuple[int, int]:
        """The offsets of a quarter of an hour, first and second pass, ns; equal outside a shift of the clock."""
        if start not in self._offsets:
            if len(self._offsets) >= _BINS_MAX:
                self._offsets.clear()
            local = (_EPOCH + timedelta(seconds=start * _BIN_S)).replace(tzinfo=self._zone)
            first, second = (local.replace(fold=fold).utcoffset() for fold in (0, 1))
            assert first is not None  # noqa: S101 - a ZoneInfo always knows
            assert second is not None  # noqa: S101 - as above
            self._offsets[start] = _ns(first), _ns(second)
        return self._offsets[start]


_BAD: Final = 0
_LOCAL: Final = 1
_ABSOLUTE: Final = 2


def _ns(delta: timedelta) -> int:
    return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1_000


def _since_1970(moment: datetime) -> tuple[int, int]:
    if moment.tzinfo is None:
        return _ns(moment - _EPOCH), _LOCAL
    return _ns(moment - _EPOCH_UTC), _ABSOLUTE


def _since_epoch(texts: Sequence[str], unit_ns: int) -> Times:
    times = np.zeros(len(texts), np.int64)
    bad = np.zeros(len(texts), np.bool_)
    for row, text in enumerate(texts):
        try:
            if "_" in text:  # Python reads 1_000 as a number; nobody's clock writes so
                raise ValueError(text)
            time_ns = int(text) * unit_ns if text.isdigit() else int((Decimal(text) * unit_ns).to_integral_value())
        except (InvalidOperation, ValueError, OverflowError):
            bad[row] = True
        else:
            bad[row] = time_ns not in _RANGE_NS
            times[row] = 0 if bad[row] else time_ns
    return Times(times, bad)


def _numpy_iso(texts: Sequence[str]) -> NDArray[np.int64] | None:
    """A whole column in one call, where every text is a plain local ISO time; None where one is not."""
    joined = "".join(texts)
    if not _LOCAL_ISO.fullmatch(joined) or joined.count("-") != 2 * len(texts):
        return None
    if min(map(len, texts), default=_LOCAL_ISO_MIN) < _LOCAL_ISO_MIN:
        return None
    try:
        times = np.array(texts, "datetime64[ns]")
        seconds = np.array(texts, "datetime64[s]")
    except ValueError:
        return None
    if not np.array_equal(times.astype("datetime64[s]"), seconds):  # beyond what 64 bits of nanoseconds reach
        return None
    return times.view(np.int64)


def _parse_iso(text: str) -> tuple[int, int] | None:
    match = _ISO.fullmatch(text)
    clock, fraction, offset = match.groups() if match else (text, None, None)
    try:
        time_ns, state = _since_1970(datetime.fromisoformat(clock + (offset or "")))
    except ValueError:
        return None
    return time_ns + int((fraction or "0")[:9].ljust(9, "0")), state


def _fixed_width(time_format: str) -> tuple[str, dict[str, int]] | None:
    """A format whose every part has a width of its own, as a pattern of literals and where its parts begin."""
    pattern, starts = "", {}
    parts = re.split(r"%(.)", time_format)
    for position, part in enumerate(parts):
        if position % 2 == 0:
            pattern += part
        elif part not in _WIDTHS or part in starts:
            return None
        else:
            starts[part] = len(pattern)
            pattern += "\0" * _WIDTHS[part]
    return (pattern, starts) if {"Y", "m", "d"} <= starts.keys() else None


def _none_of(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    return np.zeros(len(texts), np.int64), np.zeros(len(texts), np.bool_)


def _fixed(texts: Sequence[str], pattern: str, starts: dict[str, int]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Times of the texts that fit the pattern to the letter, and which do; the others are left to strptime."""
    times, read = _none_of(texts)
    rows = np.array([row for row, text in enumerate(texts) if len(text) == len(pattern)], np.int64)
    if not len(rows):
        return times, read
    letters = np.array([texts[row] for row in rows]).view(np.uint32).reshape(len(rows), len(pattern))
    wanted = np.frombuffer(pattern.encode("utf-32-le"), np.uint32)
    digits = letters.astype(np.int64) - ord("0")
    fits = np.where(wanted, letters == wanted, (digits >= 0) & (digits <= 9)).all(axis=1)  # noqa: PLR2004 - a digit
    part: dict[str, Any] = {
        name: digits[:, at : at + _WIDTHS[name]] @ (10 ** np.arange(_WIDTHS[name])[::-1]) for name, at in starts.items()
    }
    month = ((part["Y"] - 1970) * 12 + part["m"] - 1).astype("datetime64[M]")
    day = month.astype("datetime64[D]") + (part["d"] - 1)
    fits &= (part["Y"] >= 1678) & (part["Y"] <= 2261)  # noqa: PLR2004 - what 64 bits of nanoseconds reach
    fits &= (part["m"] >= 1) & (part["m"] <= 12) & (part["d"] >= 1) & (day.astype("datetime64[M]") == month)  # noqa: PLR2004 - months
    seconds = np.zeros(len(rows), np.int64)
    for name, below, size_s in (("H", 24, 3600), ("M", 60, 60), ("S", 60, 1)):
        if name in part:
            fits &= part[name] < below
            seconds += part[name] * size_s
    moment = (day.astype(np.int64) * 86_400 + seconds)[fits] * _SECOND_NS
    times[rows[fits]] = moment
    read[rows[fits]] = True
    return times, read
