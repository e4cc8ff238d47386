"""The one batch type: readings of one stream, as columns, each value with its standard uncertainty and its flag.

Promises: shapes and types are checked where a batch is made, its arrays are read-only, and nothing is ever mended in
silence: a change makes a new batch. Refuses to know where readings come from and where they go.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from trueline_wire.cbor import read_cbor, write_cbor
from trueline_wire.errors import NeverRetry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["CHANNELS_MAX", "Channel", "Flag", "Readings", "Reason", "Schema", "Thinning", "worst_flag"]

CHANNELS_MAX: Final = 4096
"""Channels in one stream, at most."""

_TEXT_MAX: Final = 256
_SCHEMA_SIZE_MAX: Final = 48 * 1024
_SCHEMA_SIZE_USUAL: Final = 4 * 1024


class Flag(IntEnum):
    """QARTOD primary flags (IOOS, Manual for Real-Time Quality Control, 2020)."""

    PASS = 1
    NOT_EVALUATED = 2
    SUSPECT = 3
    FAIL = 4
    MISSING = 9


class Reason(IntFlag):
    """Which test spoke. Bits travel on the wire: never renumber, only append (32 at most)."""

    NONE = 0
    GROSS_RANGE = 1 << 0
    MISSING = 1 << 1
    FLAT_LINE = 1 << 2
    SPIKE = 1 << 3
    RATE_OF_CHANGE = 1 << 4
    ATTENUATED_SIGNAL = 1 << 5
    NOISE = 1 << 6
    GAP = 1 << 7
    TIMING = 1 << 8
    MULTI_VARIATE = 1 << 9
    CLIMATOLOGY = 1 << 10
    CALIBRATION = 1 << 11
    CLOCK = 1 << 12
    UNPARSABLE = 1 << 13
    CONSISTENCY = 1 << 14  # redundant sensors disagree, or outvoted it
    STALE = 1 << 15  # only predicted: no fresh input within the timeout
    UNOBSERVABLE = 1 << 16  # drift common to all sensors could not be seen
    INNOVATION = 1 << 17  # too far from what was predicted


_NOT_EVALUATED: Final = np.uint8(Flag.NOT_EVALUATED)  # an enum is slow to ask
_PASS: Final = np.uint8(Flag.PASS)

# How bad a flag is, for "the worst wins": not evaluated < pass < suspect < fail < missing. Indexed by flag.
_SEVERITY: Final = np.zeros(256, np.uint8)
_SEVERITY[[Flag.NOT_EVALUATED, Flag.PASS, Flag.SUSPECT, Flag.FAIL, Flag.MISSING]] = range(1, 6)
_BY_SEVERITY: Final = np.array([0, Flag.NOT_EVALUATED, Flag.PASS, Flag.SUSPECT, Flag.FAIL, Flag.MISSING], np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One column of a stream.

    Attributes:
        name: unique within the stream.
        unit: UCUM code of `value` and `u`; "1" for a pure number.
        resolution: smallest step the sensor can show, in `unit`; 0.0 where unknown.
        sensor: id of the physical sensor; "" where unknown.
        calibration: id of the calibration already applied; "" for raw values.
    """

    name: str
    unit: str = "1"
    resolution: float = 0.0
    sensor: str = ""
    calibration: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinning:
    """What is known of the time between two rows of a stream whose insignificant rows were left out at the device.

    Attributes:
        between: "previous": a value holds until the next row; "linear": a straight line leads to it.
        bounds: by channel, in its unit: what so filled in is at most so far from what was measured; infinite where
            nothing is promised. `u` of the rows that were sent holds it already, as bound / sqrt 3.

    Raises:
        ValueError: another way to fill in, or a bound that is negative or NaN.
    """

    between: Literal["previous", "linear"]
    bounds: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.between not in {"previous", "linear"}:
            raise ValueError(f"a thinned stream is filled in by 'previous' or 'linear', not {self.between!r:.80}")
        if not all(bound >= 0.0 for bound in self.bounds):
            raise ValueError("a bound is a number that is not negative")


@dataclass(frozen=True, kw_only=True)
class Schema:
    """What the columns of a stream mean. Travels once; frames name it by `hash`.

    Attributes:
        device: id of the device.
        stream: name of the stream, unique on the device.
        channels: one for each column.
        rounded: the values are derived and were rounded to a step of at most u/16 before they were sent, the
            rounding's variance added to `u` (False: values travel bit for bit).
        thinning: what is known between the rows, where the device left out insignificant ones; None where all came.

    Raises:
        ValueError: no channel, too many, one name twice, a text too long, a resolution below zero or not finite, a
            thinning of other channels.
    """

    device: str
    stream: str
    channels: tuple[Channel, ...]
    rounded: bool = False
    thinning: Thinning | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.channels) <= CHANNELS_MAX:
            raise ValueError(f"stream {self.stream!r:.80} has {len(self.channels)} channels: 1 to {CHANNELS_MAX} fit")
        if len({channel.name for channel in self.channels}) != len(self.channels):
            raise ValueError(f"stream {self.stream!r:.80} names a channel twice")
        for channel in self.channels:
            if not 0.0 <= channel.resolution < math.inf:
                raise ValueError(f"channel {channel.name!r:.80}: a resolution of {channel.resolution} cannot be")
        if self.thinning is not None and len(self.thinning.bounds) != len(self.channels):
            raise ValueError(f"stream {self.stream!r:.80}: a thinning wants a bound for each channel")
        texts = [self.device, self.stream]
        texts += [text for c in self.channels for text in (c.name, c.unit, c.sensor, c.calibration)]
        if longest := max(texts, key=len)[_TEXT_MAX:]:
            raise ValueError(f"stream {self.stream!r:.80}: a text is {len(longest)} characters over {_TEXT_MAX}")

    @cached_property
    def encoded(self) -> bytes:
        """The canonical CBOR of this schema: the bytes that travel, and that `hash` covers.

        Raises:
            ValueError: they are more than a message takes (48 KiB).
        """
        columns = [[c.name, c.unit, float(c.resolution), c.sensor, c.calibration] for c in self.channels]
        document: dict[int, Any] = {0: self.device, 1: self.stream, 2: columns, 3: self.rounded}
        if self.thinning is not None:
            document[4] = [self.thinning.between, [float(bound) for bound in self.thinning.bounds]]
        encoded = write_cbor(document)
        if len(encoded) > _SCHEMA_SIZE_MAX:
            raise ValueError(f"stream {self.stream!r:.80}: a schema of {len(encoded)} bytes, {_SCHEMA_SIZE_MAX} fit")
        return encoded

    @cached_property
    def hash(self) -> bytes:
        """First 8 bytes of the SHA-256 of `encoded`."""
        return hashlib.sha256(self.encoded).digest()[:8]

    @classmethod
    def decode(cls, encoded: bytes) -> Schema:
        """Read a schema back from its canonical CBOR; map keys this version does not know are ignored.

        Raises:
            NeverRetry: the bytes are not a schema.
        """
        if len(encoded) > _SCHEMA_SIZE_MAX:
            raise NeverRetry(f"schema of {len(encoded)} bytes: at most {_SCHEMA_SIZE_MAX} are taken")
        return cls._decode_again(encoded) if len(encoded) <= _SCHEMA_SIZE_USUAL else cls._decode(encoded)

    @classmethod
    @lru_cache(maxsize=64)  # a new schema is read by several, one soon after the other
    def _decode_again(cls, encoded: bytes) -> Schema:
        return cls._decode(encoded)

    @classmethod
    def _decode(cls, encoded: bytes) -> Schema:
        document = read_cbor(encoded)
        match document:
            case {0: str(device), 1: str(stream), 2: list(columns), 3: bool(rounded)}:
                channels = tuple(_read_channel(column) for column in columns)
            case _:
                raise NeverRetry("not a schema: {0: device, 1: stream, 2: [channel …], 3: rounded} is wanted")
        try:
            thinning = _read_thinning(document.get(4))
            schema = cls(device=device, stream=stream, channels=channels, rounded=rounded, thinning=thinning)
        except ValueError as error:
            raise NeverRetry(str(error)) from error
        # The bytes that came are the bytes the hash covers, also where a later version added keys.
        schema.__dict__["encoded"] = bytes(encoded)
        return schema


@lru_cache(maxsize=1024)
def _channel(name: str, unit: str, resolution: float, sensor: str, calibration: str) -> Channel:
    """A channel; the same one for the same words, because thousands of devices say the same."""
    return Channel(name=name, unit=unit, resolution=resolution, sensor=sensor, calibration=calibration)


def _read_channel(column: Any) -> Channel:
    match column:
        case [str(name), str(unit), float(resolution), str(sensor), str(calibration), *_]:
            return _channel(name, unit, resolution, sensor, calibration)
        case _:
            raise NeverRetry("not a schema: a channel is [name, unit, resolution, sensor, calibration]")


def _read_thinning(item: Any) -> Thinning | None:
    match item:
        case None:
            return None
        case ["previous" | "linear" as between, list(bounds), *_] if all(type(bound) is float for bound in bounds):
            return Thinning(between=between, bounds=tuple(bounds))
        case _:
            raise NeverRetry("not a schema: thinning is [between, [bound …]]")


def _column(name: str, array: ArrayLike, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    column = np.asarray(array)
    if column.dtype != dtype:
        raise ValueError(f"{name} is {column.dtype}: {np.dtype(dtype)} is wanted")
    if column.shape != shape:
        raise ValueError(f"{name} has shape {column.shape}: {shape} is wanted")
    view = column.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class Readings:
    """A batch of n readings of the k channels of one stream. Arrays are read-only.

    Attributes:
        schema: what the columns mean.
        time_ns: (n,) int64. Event time, UTC, nanoseconds since 1970, as the source gave it.
        value: (n, k) float64, in each channel's unit. NaN where nothing was measured.
        u: (n, k) float32. Standard uncertainty of `value` (GUM, k = 1), same unit. NaN where unknown.
        flag: (n, k) uint8. See `Flag`.
        reason: (n, k) uint32. See `Reason`.

    Raises:
        ValueError: a column has the wrong type or shape.
    """

    schema: Schema
    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    u: NDArray[np.float32]
    flag: NDArray[np.uint8]
    reason: NDArray[np.uint32]

    def __post_init__(self) -> None:
        n, k = len(self.time_ns), len(self.schema.channels)
        put = object.__setattr__
        put(self, "time_ns", _column("time_ns", self.time_ns, np.int64, (n,)))
        put(self, "value", _column("value", self.value, np.float64, (n, k)))
        put(self, "u", _column("u", self.u, np.float32, (n, k)))
        put(self, "flag", _column("flag", self.flag, np.uint8, (n, k)))
        put(self, "reason", _column("reason", self.reason, np.uint32, (n, k)))

    def __len__(self) -> int:
        return len(self.time_ns)

    def __getitem__(self, rows: slice) -> Readings:
        """The rows of a slice, as views."""
        return Readings(
            self.schema, self.time_ns[rows], self.value[rows], self.u[rows], self.flag[rows], self.reason[rows]
        )

    @classmethod
    def trusted(
        cls,
        schema: Schema,
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        u: NDArray[np.float32],
        flag: NDArray[np.uint8],
        reason: NDArray[np.uint32],
    ) -> Readings:
        """Columns whose types and shapes the caller has made itself, and gives away. A decoder makes very many."""
        readings = object.__new__(cls)
        for column in (time_ns, value, u, flag, reason):
            column.setflags(write=False)
        readings.__dict__.update(schema=schema, time_ns=time_ns, value=value, u=u, flag=flag, reason=reason)
        return readings

    @classmethod
    def raw(cls, schema: Schema, time_ns: ArrayLike, value: ArrayLike, u: ArrayLike | None = None) -> Readings:
        """Fresh from a source: not evaluated, without a reason, `u` unknown unless given (broadcast over rows)."""
        values = np.array(value, np.float64, ndmin=2)
        uncertainty = np.full(values.shape, np.nan, np.float32)
        if u is not None:
            uncertainty[:] = u
        return cls(
            schema,
            np.array(time_ns, np.int64, ndmin=1),
            values,
            uncertainty,
            np.full(values.shape, Flag.NOT_EVALUATED, np.uint8),
            np.zeros(values.shape, np.uint32),
        )

    @classmethod
    def empty(cls, schema: Schema) -> Readings:
        """No rows."""
        return cls.raw(schema, np.empty(0, np.int64), np.empty((0, len(schema.channels))))

    @classmethod
    def concatenate(cls, batches: Sequence[Readings]) -> Readings:
        """Batches of one schema, end to end.

        Raises:
            ValueError: no batch, or two schemas.
        """
        if not batches:
            raise ValueError("nothing to concatenate")
        if len(batches) == 1:
            return batches[0]
        schema = batches[0].schema
        if any(batch.schema is not schema and batch.schema != schema for batch in batches):
            raise ValueError("batches of different schemas cannot be concatenated")
        return cls(
            schema,
            np.concatenate([b.time_ns for b in batches]),
            np.concatenate([b.value for b in batches]),
            np.concatenate([b.u for b in batches]),
            np.concatenate([b.flag for b in batches]),
            np.concatenate([b.reason for b in batches]),
        )

    def flagged(self, where: NDArray[np.bool_], flag: Flag, reason: Reason) -> Readings:
        """The same readings with `flag` and `reason` where the mask (n, k) is true. The worst flag wins."""
        hit = np.flatnonzero(np.broadcast_to(where, self.flag.shape))
        if not len(hit):
            return self
        flags, reasons = self.flag.copy(), self.reason.copy()
        cells, whys = flags.reshape(-1), reasons.reshape(-1)
        before = cells[hit]
        cells[hit] = np.where(_SEVERITY[before] < _SEVERITY[flag], np.uint8(flag), before)
        whys[hit] |= np.uint32(reason)
        return self.judged(flags, reasons)

    def passed(self, where: NDArray[np.bool_]) -> Readings:
        """The same readings, marked as evaluated: what was NOT_EVALUATED becomes PASS where the mask (n, k) is true."""
        fresh = self.flag == _NOT_EVALUATED
        if not fresh.any():
            return self
        fresh &= where
        flags = self.flag.copy()
        np.copyto(flags, _PASS, where=fresh)
        return self.judged(flags, self.reason)

    def judged(self, flag: NDArray[np.uint8], reason: NDArray[np.uint32]) -> Readings:
        """The same readings with other columns of judgement, of the right shapes and types, that are given away."""
        flag.setflags(write=False)
        reason.setflags(write=False)
        judged = object.__new__(Readings)
        judged.__dict__.update(self.__dict__, flag=flag, reason=reason)
        return judged

    def with_schema(self, schema: Schema) -> Readings:
        """The same columns under another schema of as many channels."""
        return replace(self, schema=schema)


def worst_flag(flags: NDArray[np.uint8], axis: int) -> NDArray[np.uint8]:
    """The worst flag along an axis (which must not be empty)."""
    worst: NDArray[np.uint8] = _BY_SEVERITY[_SEVERITY[flags].max(axis=axis)]
    return worst
