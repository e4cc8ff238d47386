"""Readings <-> bytes: the compressed columns in the body of a DATA record.

Promises: times, values, flags and reasons come back bit for bit (a NaN as the canonical NaN), `u` within 0.5 %.
Decoding allocates for the authenticated number of rows and the channels of the schema, whatever the bytes say. Refuses
to know who signed the body, and what becomes of the readings.

    layout          1 byte, 1
    rows            varint, as in the header
    times           signed varint t0, varint step, signed varint nominal, integers r (see `integers`):
                    t[i] = t0 + step (r[i] + nominal i), modulo 2^64
    flags           plane of uint8
    reasons         plane of uint32
    u               plane of codes (see `grid`)
    values          for each channel a column
    the rest        ignored: room for extensions

    plane           1 byte: 0 = all equal, one varint; 1 = each channel constant, k varints; 2 = k integers
    column          1 byte: bits 0-4 decimals d, 0 to 22, or 30 or 31; bits 5-6 missing; bit 7 patches
                    missing: 0 = none; 1 = NaN exactly where the flag is 9; 2 = integers of 0 and 1 follow, NaN where 1
                    d = 30: n float64, little-endian; d = 31: the same as a pcodec column; else integers i, and the
                    value is i / 10^d in float64
                    patches: varint m, integers of m row numbers, integers of m float64 as int64: what they hold instead
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from trueline_wire.errors import NeverRetry
from trueline_wire.frame import ROWS_MAX
from trueline_wire.grid import DECIMALS_MAX, POWERS, U_CODES, decimals_of, shared_look, u_from_codes, u_to_codes
from trueline_wire.integers import BodyReader, put_floats, put_integers, put_signed, put_varint
from trueline_wire.readings import Flag, Readings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from trueline_wire.readings import Schema

__all__ = ["VALUES_MAX", "decode_columns", "encode_columns"]

VALUES_MAX: Final = 1 << 19
"""Rows times channels in one frame, at most: 9 MB decoded."""

_LAYOUT: Final = 1
_EQUAL, _CONSTANT, _VARYING = 0, 1, 2
_DECIMALS, _FLOAT64, _FLOAT64_PCODEC = 0x1F, 30, 31
_NAN_NOWHERE, _NAN_FLAGGED, _NAN_MARKED, _PATCHED = 0, 1, 2, 0x80
_PATCH_SHARE: Final = 32
"""A column goes on a grid if at most one value in so many lies off it."""


def encode_columns(readings: Readings) -> bytes:
    """The columns of a batch, compressed. Values travel bit for bit (NaN as a canonical NaN).

    Raises:
        ValueError: no rows, or more than a frame may hold, or a negative u.
    """
    rows, channels = readings.value.shape
    if not 0 < rows <= ROWS_MAX or rows * channels > VALUES_MAX:
        raise ValueError(
            f"a frame of {rows} rows by {channels} channels: 1 to {ROWS_MAX} rows, {VALUES_MAX} values fit"
        )
    out = bytearray([_LAYOUT])
    put_varint(out, rows)
    _put_times(out, readings.time_ns)
    _put_plane(out, readings.flag)
    _put_plane(out, readings.reason)
    _put_plane(out, _u_codes(readings.u))
    values = np.ascontiguousarray(readings.value.T)
    # What no decimal grid holds: NaN, infinities, and a zero with a sign.
    special = ~np.isfinite(values) | ((values == 0) & np.signbit(values))
    decimals, scaled, fits = shared_look(values)
    plain = fits & ~special.any(axis=1)
    for channel in range(channels):
        if plain[channel]:
            out.append(decimals[channel])
            put_integers(out, scaled[channel].astype(np.int64))
        else:
            _put_column(out, values[channel], special[channel], readings.flag[:, channel])
    return bytes(out)


def decode_columns(body: bytes, schema: Schema, rows: int) -> Readings:
    """The batch a body holds. Allocates for `rows` rows and no more, whatever the bytes say.

    Raises:
        NeverRetry: the body is not `rows` rows of this schema.
    """
    channels = len(schema.channels)
    if not 0 < rows <= ROWS_MAX or rows * channels > VALUES_MAX:
        raise NeverRetry(f"a frame of {rows} rows by {channels} channels: at most {VALUES_MAX} values are taken")
    reader = BodyReader(body)
    if (layout := reader.byte()) != _LAYOUT:
        raise NeverRetry(f"columns in layout {layout}: this peer reads layout {_LAYOUT}")
    if (said := reader.varint()) != rows:
        raise NeverRetry(f"columns of {said} rows in a frame of {rows}")
    time_ns = _read_times(reader, rows)
    # One channel after the other in memory: so each is read, and later summed up, in one stretch.
    flag, reason = np.empty((channels, rows), np.uint8), np.empty((channels, rows), np.uint32)
    u = np.empty((channels, rows), np.float32)
    _read_plane(reader, flag, 1 << 8)
    _read_plane(reader, reason, 1 << 32)
    _read_plane(reader, u, U_CODES, u_from_codes)
    value = _read_values(reader, flag)
    return Readings.trusted(schema, time_ns, value.T, u.T, flag.T, reason.T)


# ---------------------------------------------------------------- times


def _put_times(out: bytearray, time_ns: NDArray[np.int64]) -> None:
    start, span = int(time_ns[0]), int(time_ns.max()) - int(time_ns.min())
    step, nominal = 1, 0
    ticks = time_ns - time_ns[0]
    if 0 < span < 1 << 62:
        steps = np.diff(ticks)
        step = int(np.gcd.reduce(steps))
        nominal = int(np.partition(steps, len(steps) // 2)[len(steps) // 2]) // step
        ticks //= step
    put_signed(out, start)
    put_varint(out, step)
    put_signed(out, nominal)
    put_integers(out, ticks - np.arange(len(ticks)) * np.int64(nominal))


def _read_times(reader: BodyReader, rows: int) -> NDArray[np.int64]:
    start, step, nominal = reader.signed(), reader.varint(), reader.signed()
    if step >= 1 << 63:
        raise NeverRetry(f"times in steps of {step} ns")
    ticks = np.arange(rows, dtype=np.int64)
    ticks *= np.int64(nominal)
    base, above = reader.sequence(rows)
    if above is not None:
        ticks += above.astype(np.int64)
    if base:
        ticks += np.int64(base)
    ticks *= np.int64(step)
    ticks += np.int64(start)
    return ticks


# ---------------------------------------------------------------- planes: flags, reasons, u


def _u_codes(u: NDArray[np.float32]) -> NDArray[np.int64]:
    """(n, k) codes; (1, k) where all rows are the same, as with declared uncertainties."""
    first = u[:1]
    same = (u == first) | (np.isnan(u) & np.isnan(first))
    return u_to_codes(first if same.all() else u)


def _put_plane(out: bytearray, plane: NDArray[Any]) -> None:
    first = plane[0].tolist()
    if len(plane) == 1 or (plane == plane[0]).all():
        if min(first) == max(first):
            out.append(_EQUAL)
            put_varint(out, first[0])
        else:
            out.append(_CONSTANT)
            for code in first:
                put_varint(out, code)
        return
    out.append(_VARYING)
    for column in plane.T:
        put_integers(out, column.astype(np.int64))


def _read_plane(
    reader: BodyReader,
    plane: NDArray[Any],
    codes: int,
    decode: Callable[[NDArray[np.int64] | list[int] | int], NDArray[Any] | Any] = lambda code: code,
) -> None:
    """Fill a plane (k, n) with codes below `codes`, decoded."""
    form = reader.byte()
    if form == _EQUAL:
        plane.fill(decode(_bounded(reader.varint(), codes)))
    elif form == _CONSTANT:
        each = reader.varints(len(plane))
        _bounded(max(each), codes)
        plane.T[:] = decode(each)
    elif form == _VARYING:
        for column in plane:
            column[:] = decode(_bounded(reader.integers(len(column)), codes))
    else:
        raise NeverRetry(f"a plane in form {form}, which this version does not know")


def _bounded(numbers: NDArray[np.int64] | int, end: int) -> NDArray[np.int64] | int:
    low, high = (numbers, numbers) if isinstance(numbers, int) else (int(numbers.min()), int(numbers.max()))
    if low < 0 or high >= end:
        raise NeverRetry(f"codes from {low} to {high}: 0 to {end - 1} are taken")
    return numbers


# ---------------------------------------------------------------- values


def _put_column(
    out: bytearray, values: NDArray[np.float64], special: NDArray[np.bool_], flag: NDArray[np.uint8]
) -> None:
    """Any column: NaN are marked, and a few values off the grid are patched."""
    nan, plain = np.isnan(values), np.flatnonzero(~special)
    grid = decimals_of(values[plain], len(values) // _PATCH_SHARE)
    if grid is None:
        floats = bytearray()
        out.append(_FLOAT64_PCODEC if put_floats(floats, np.where(nan, np.nan, values)) else _FLOAT64)
        out += floats
        return
    patched = special & ~nan
    patched[plain[grid[1]]] = True
    patches = np.flatnonzero(patched)
    marks = _NAN_NOWHERE
    if nan.any():
        marks = _NAN_FLAGGED if np.array_equal(nan, flag == Flag.MISSING) else _NAN_MARKED
    out.append(grid[0] | marks << 5 | (_PATCHED if len(patches) else 0))
    if marks == _NAN_MARKED:
        put_integers(out, nan.astype(np.int64))
    put_integers(out, np.rint(_filled(values, nan | patched) * POWERS[grid[0]]).astype(np.int64))
    if len(patches):
        put_varint(out, len(patches))
        put_integers(out, patches.astype(np.int64))
        put_integers(out, values[patches].view(np.int64))


def _filled(values: NDArray[np.float64], hidden: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The values, each hidden one replaced by the last one seen before it (or the first after it)."""
    seen = np.flatnonzero(~hidden)
    if not len(seen):
        return np.zeros_like(values)
    filled: NDArray[np.float64] = values[seen[np.maximum(np.cumsum(~hidden) - 1, 0)]]
    return filled


def _read_values(reader: BodyReader, flag: NDArray[np.uint8]) -> NDArray[np.float64]:
    """All columns, (k, n). Those on a grid are gathered as integers, and become values in one go; then the rest."""
    channels, rows = flag.shape
    steps = np.zeros((channels, rows), np.int64)
    bases, decimals = [0] * channels, [0] * channels
    others: list[tuple[int, _Other]] = []
    for channel in range(channels):
        kind = reader.byte()
        if kind > DECIMALS_MAX:
            other = _Other.read(reader, kind, flag[channel])
            others.append((channel, other))
            if other.floats is not None:
                other.read_patches(reader, rows)
                continue
        bases[channel], above = reader.sequence(rows)
        decimals[channel] = kind & _DECIMALS
        if above is not None:
            steps[channel] = above
        if kind & _PATCHED:
            others[-1][1].read_patches(reader, rows)
    steps += np.array(bases, np.int64)[:, np.newaxis]
    value: NDArray[np.float64] = steps / POWERS[decimals][:, np.newaxis]
    for channel, other in others:
        other.put(value[channel])
    return value


@dataclass(slots=True)
class _Other:
    """What is special about a column: floats off every grid, values that are missing, and patches."""

    floats: NDArray[np.float64] | None
    nan: NDArray[np.bool_] | None
    patched: bool
    patches: tuple[NDArray[np.int64], NDArray[np.float64]] | None = None

    @classmethod
    def read(cls, reader: BodyReader, kind: int, flag: NDArray[np.uint8]) -> _Other:
        """What stands before a column's integers; where it is not on a grid, the floats in their place."""
        decimals, marks = kind & _DECIMALS, kind >> 5 & 3
        nan, floats = None, None
        if marks == _NAN_FLAGGED:
            nan = flag == Flag.MISSING
        elif marks == _NAN_MARKED:
            marked = np.equal(_bounded(reader.integers(len(flag)), 2), 1)
            nan = np.broadcast_to(marked, len(flag))
        elif marks != _NAN_NOWHERE:
            raise NeverRetry(f"missing values marked in way {marks}, which this version does not know")
        if decimals >= _FLOAT64:
            floats = reader.floats(len(flag), compressed=decimals == _FLOAT64_PCODEC)
        elif decimals > DECIMALS_MAX:
            raise NeverRetry(f"a column of {decimals} decimals: at most {DECIMALS_MAX} are taken")
        return cls(floats, nan, bool(kind & _PATCHED))

    def read_patches(self, reader: BodyReader, rows: int) -> None:
        """What stands behind a column's numbers."""
        if self.patched:
            self.patches = _read_patches(reader, rows)

    def put(self, values: NDArray[np.float64]) -> None:
        """Where it belongs: patches are the last word."""
        if self.floats is not None:
            values[:] = self.floats
        if self.nan is not None:
            values[self.nan] = np.nan
        if self.patches is not None:
            values[self.patches[0]] = self.patches[1]


def _read_patches(reader: BodyReader, rows: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(m,) row numbers, and what stands there."""
    count = reader.varint()
    if not 0 < count <= rows:
        raise NeverRetry(f"{count} patches in a column of {rows} values")
    where = np.broadcast_to(np.asarray(_bounded(reader.integers(count), rows), np.int64), count)
    bits = np.broadcast_to(np.asarray(reader.integers(count), np.int64), count)
    return where, bits.view(np.float64)
