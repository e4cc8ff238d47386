"""What every stage keeps: Readings in, Readings out, pure but for a small state that can be saved.

Four kinds. A *judge* sets flags and reasons and nothing else. A *mender* (calibrate, convert) may change values, `u`
and what the schema says of a channel, never rows, times or channel order, and makes no flag better. An *adder* (fuse)
puts new channels behind those that came in, which come out untouched. A *thinner* (significance) leaves rows out and
counts them; it may widen the `u` of the others, and its schema says what is known of the time between them.

The laws of all (checked for every stage by `tests/contracts/test_stages.py`): input arrays are left untouched; same
input, same output; an empty batch is fine; every row that goes in comes out once (a thinner may leave it out), with its
own time, after at most `delay` rows, and `flush()` gives the rest; cutting the stream into batches elsewhere does not
change the concatenated result; a stage restored from `state()` goes on as if nothing had happened; what a cell holds
that came in FAIL or MISSING changes no other cell. Times may be duplicate or step backward (the timing test only flags
them): a stage that needs elapsed time takes max(0, dt).
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import msgspec
import numpy as np

from trueline_edge.estimation.sequences import look_up, pick, there
from trueline_wire.readings import Flag, Readings, Reason, worst_flag
from trueline_wire.settings import Objection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from trueline_wire.readings import Schema

__all__ = [
    "Objection",
    "Renewable",
    "Stage",
    "StageConfig",
    "StageSettings",
    "Stateless",
    "Teller",
    "Thinner",
    "apply_verdict",
    "channel_mask",
    "evaluated",
    "measured",
    "pack_arrays",
    "pack_readings",
    "unknown_channels",
    "unpack_arrays",
    "unpack_readings",
    "usable",
]


class Stage(Protocol):
    """One step of a pipeline, made for one schema."""

    delay: int
    """Rows it may hold back."""

    @property
    def schema(self) -> Schema:
        """Of what comes out. A judge's is the one it was made for."""
        raise NotImplementedError

    def __call__(self, readings: Readings, /) -> Readings:
        """Judge a batch (and give out what was held back before it)."""
        raise NotImplementedError

    def flush(self) -> Readings:
        """What is still held back; empty for a stage without delay. Readings may come after it."""
        raise NotImplementedError

    def state(self) -> bytes:
        """All it remembers: small, and of a size that does not grow with the stream."""
        raise NotImplementedError

    def restore(self, state: bytes) -> None:
        """Remember what a stage of the same configuration and schema had saved.

        Raises:
            ValueError: the bytes are no state of such a stage.
        """


@runtime_checkable
class Thinner(Stage, Protocol):
    """A stage that leaves rows out."""

    insignificant: int
    """Rows left out since the stage was made."""


@runtime_checkable
class Teller(Stage, Protocol):
    """A stage that has more to tell than its channels hold: events, each a stream of its own."""

    def take_told(self) -> list[Readings]:
        """What is to be told since it was last asked: one frame each, on the event lane, with the rows at hand."""
        raise NotImplementedError


@runtime_checkable
class Renewable(Stage, Protocol):
    """A stage that follows a file while it runs."""

    def maybe_renewal(self) -> Callable[[], Callable[[], None]] | None:
        """Asked now and then, in the thread that calls the stage: is there something new?

        Returns:
            None where there is not; else what gets it ready. That may take seconds, runs in any thread, and gives what
            puts it to work: to be called between two batches, in the thread that calls the stage.
        """
        raise NotImplementedError


class StageConfig(Protocol):
    """What a person writes under `[[stream.stage]]`; a stage that exists is valid."""

    @property
    def kind(self) -> Literal["judge", "mender", "adder", "thinner"]:
        """Which laws it obeys."""
        raise NotImplementedError

    def stage(self, schema: Schema) -> Stage:
        """The stage for readings of this schema.

        Raises:
            ConfigError: a file it names cannot be used.
        """
        raise NotImplementedError

    def objections(self, schema: Schema) -> Iterator[Objection]:
        """Why it does not fit readings of this schema; `trueline-edge check` asks before anything runs."""
        raise NotImplementedError


class StageSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What the configurations of most stages have in common.

    Attributes:
        channels: the channels judged; all where left out.
    """

    kind: ClassVar[Literal["judge", "mender", "adder"]] = "judge"

    channels: tuple[str, ...] | None = None

    @property
    def has_unit(self) -> bool:
        """Does it hold a number in the unit of its channels? Then they must have one and the same."""
        return False

    def objections(self, schema: Schema) -> Iterator[Objection]:
        """Channels the stream does not have, or of several units; a stage with more to check adds to it."""
        yield from unknown_channels(schema, self.channels)
        units = sorted({c.unit for c in schema.channels if self.channels is None or c.name in self.channels})
        if self.has_unit and len(units) > 1:
            hint = "name channels of one unit, and add the stage again for the others"
            yield Objection(("channels",), f"its limits are numbers of one unit, but here are {', '.join(units)}", hint)


class Stateless:
    """A stage that remembers nothing and holds nothing back."""

    delay = 0

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def flush(self) -> Readings:
        """Nothing is held back."""
        return Readings.empty(self.schema)

    def state(self) -> bytes:
        """Nothing is remembered."""
        return b""

    def restore(self, state: bytes) -> None:
        """Nothing to remember."""
        if state:
            raise ValueError("a state for a stage that has none")


def unknown_channels(schema: Schema, channels: Sequence[str] | None, key: str = "channels") -> Iterator[Objection]:
    """An objection for each name under `key` that no channel has."""
    names = [channel.name for channel in schema.channels]
    for unknown in [name for name in channels or () if name not in names]:
        close = difflib.get_close_matches(unknown, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"channels here: {', '.join(names)}"
        yield Objection((key,), f"stream {schema.stream!r} has no channel {unknown!r}", hint)


def channel_mask(schema: Schema, channels: Sequence[str] | None) -> NDArray[np.bool_]:
    """(k,) bool: the channels a stage judges; None means all."""
    return np.array([channels is None or channel.name in channels for channel in schema.channels], np.bool_)


def usable(readings: Readings) -> NDArray[np.bool_]:
    """(n, k) bool: cells that carry information: finite, and neither FAIL nor MISSING so far."""
    finite: NDArray[np.bool_] = np.isfinite(readings.value)
    finite &= readings.flag < _FAIL
    return finite


def measured(readings: Readings, judged: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, k) the values of usable cells of the judged channels (k,); NaN elsewhere."""
    return pick(readings.value, readings.flag, _FAIL, judged)


def evaluated(readings: Readings, judged: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(n, k) the verdict "good" of the usable cells of the judged channels (k,); 0 elsewhere."""
    return there(readings.value, readings.flag, _FAIL, judged)


def apply_verdict(readings: Readings, verdict: NDArray[np.uint8], reason: Reason) -> Readings:
    """Flags from a kernel's verdicts (n, k): 0 nothing, 1 PASS, 2 SUSPECT, 3 FAIL; the worst flag wins."""
    bits_of = _BITS.get(reason)
    if bits_of is None:
        bits_of = _BITS[reason] = np.array([0, 0, reason, reason], np.uint32)
    flag, bits = look_up(verdict, readings.flag, readings.reason, _AFTER, bits_of)
    return readings.judged(flag, bits)


_FAIL = int(Flag.FAIL)
_BITS: dict[Reason, NDArray[np.uint32]] = {}
_AFTER = np.array(
    [
        range(256),
        [Flag.PASS if before == Flag.NOT_EVALUATED else before for before in range(256)],
        *[
            [worst_flag(np.array([before, after], np.uint8), axis=0) for before in range(256)]
            for after in (Flag.SUSPECT, Flag.FAIL)
        ],
    ],
    np.uint8,
)
"""(4, 256) the flag after each verdict, by the flag before."""


def pack_arrays(*arrays: NDArray[Any]) -> bytes:
    """Arrays as the state of a stage."""
    return msgspec.msgpack.encode([array.tobytes() for array in arrays])


def unpack_arrays(state: bytes, *like: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Arrays back from `pack_arrays`, as many as `like`, and of their shapes and types.

    Raises:
        ValueError: the state holds others.
    """
    packed = msgspec.msgpack.decode(state, type=list[bytes])
    if [len(data) for data in packed] != [array.nbytes for array in like]:
        raise ValueError("a state of other arrays than this stage has")
    return tuple(
        np.frombuffer(data, array.dtype).reshape(array.shape).copy() for data, array in zip(packed, like, strict=True)
    )


def pack_readings(readings: Readings) -> bytes:
    """Readings held back, as a part of the state of a stage."""
    return pack_arrays(readings.time_ns, readings.value, readings.u, readings.flag, readings.reason)


def unpack_readings(state: bytes, schema: Schema, rows_max: int) -> Readings:
    """Readings back from `pack_readings`.

    Raises:
        ValueError: the state holds none of this schema, or more than `rows_max`.
    """
    packed = msgspec.msgpack.decode(state, type=list[bytes])
    n, k = len(packed[0]) // 8 if packed else 0, len(schema.channels)
    if n > rows_max:
        raise ValueError(f"a state of {n} rows held back: {rows_max} at most")
    like = (np.empty(n, np.int64), *(np.empty((n, k), t) for t in (np.float64, np.float32, np.uint8, np.uint32)))
    return Readings(schema, *unpack_arrays(state, *like))
