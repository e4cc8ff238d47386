"""What an event is between device and cloud: the window that raised it, and what was said of it, as readings.

An event has a stream of its own, "STREAM.NAME": STREAM is the one a detector looks at, NAME the detector. Its columns,
for k inputs:

    k inputs            as the detector read them: value, u, flag and reason, under their own names and units
    NAME.share.INPUT    k parts of the row's score that came from each input; they sum to 1
    NAME.score, NAME.p  of the row, as in STREAM
    NAME.event.begun    names the event: when it began, in whole microseconds since 1970
    NAME.event.phase    a number of `PHASES`
    NAME.event.what     a number of `WHATS`: whose trouble it is
    NAME.event.channel  which input, from 0
    NAME.event.kind     a number of `KINDS`: of a sensor's fault
    NAME.event.confidence   0.5 (a guess) to 1
    NAME.event.model    version of the model that said so

An event is told up to three times: when it begins, with the rows before it; when it has lasted a while or is over, with
rows of both sides and the verdict they allow; and when it ends, where it lasted longer than that. What is told together
is one frame where it fits into one, and its `event` columns are the same in all its rows: so any row says what it
belongs to, however frames were split, thinned or merged, and in whatever order they are read.

Promises: `event_of` reads back what `event_readings` wrote, bit for bit. Refuses to know when an event begins (`alarm`)
and who is at fault (`verdict`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from trueline_wire.errors import NeverRetry
from trueline_wire.readings import Channel, Flag, Readings, Reason, Schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = [
    "KINDS",
    "PHASES",
    "WHATS",
    "Event",
    "Phase",
    "What",
    "event_of",
    "event_readings",
    "event_schema",
    "is_event",
    "latest_events",
]

Phase = Literal["begun", "reviewed", "ended"]
What = Literal["", "sensor fault", "process anomaly"]

PHASES: Final[tuple[Phase, ...]] = ("begun", "reviewed", "ended")
"""Index = number on the wire, as in the two below: never renumber, only append."""

WHATS: Final[tuple[What, ...]] = ("", "sensor fault", "process anomaly")

KINDS: Final = (
    "",
    "nan_run",
    "stuck",
    "spike",
    "noise_increase",
    "drift",
    "bias_step",
    "burst",
    "gain_change",
    "saturation",
    "unit_flip",
    "swapped_channels",
)
"""Kinds of sensor fault, by the names simulators label them with; "" where none is named."""

_SAID: Final = ("begun", "phase", "what", "channel", "kind", "confidence", "model")
_BEGUN, _PHASE, _WHAT, _CHANNEL, _KIND, _CONFIDENCE, _MODEL = range(len(_SAID))
_BEYOND: Final = 2 + len(_SAID)
"""Columns that are not there once for each input: score, p, and what is said."""

_EXACT_MAX: Final = 1 << 53


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Event:
    """What was told of an event at once: n rows of k inputs.

    Attributes:
        detector: NAME of the stage.
        begun_us: names it, among those of its device, stream and detector: microseconds since 1970.
        phase: how far it had come.
        window: the inputs' readings, in order; their schema names device and STREAM.
        score: (n,) NaN where nothing was said.
        p: (n,) conformal p-values.
        share: (n, k) parts of the score that came from each input.
        what: whose trouble it is; "" where nobody could say.
        channel: name of the input at fault, or of the one that moved most; "" where `what` is.
        kind: one of `KINDS`.
        confidence: NaN where `what` is "".
        model: version of the model.
    """

    detector: str
    begun_us: int
    phase: Phase
    window: Readings
    score: NDArray[np.float64]
    p: NDArray[np.float64]
    share: NDArray[np.float64]
    what: What = ""
    channel: str = ""
    kind: str = ""
    confidence: float = float("nan")
    model: int = 0

    @property
    def name(self) -> tuple[str, str, str, int]:
        """Device, STREAM, detector, and when it began: no two events share them."""
        return self.window.schema.device, self.window.schema.stream, self.detector, self.begun_us

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(channel.name for channel in self.window.schema.channels)


@lru_cache(maxsize=64)
def event_schema(inputs: Schema, detector: str) -> Schema:
    """Of the events of a detector.

    Args:
        inputs: device and stream, and the channels the detector reads, in its order.
        detector: NAME.

    Raises:
        ValueError: a name is taken, or too long.
    """
    shares = tuple(Channel(name=f"{detector}.share.{channel.name}") for channel in inputs.channels)
    said = tuple(
        Channel(
            name=f"{detector}.event.{name}",
            unit="us" if name == "begun" else "1",
            resolution=1.0 * (name != "confidence"),
        )
        for name in _SAID
    )
    scores = (Channel(name=f"{detector}.score"), Channel(name=f"{detector}.p"))
    return replace(inputs, stream=f"{inputs.stream}.{detector}", channels=(*inputs.channels, *shares, *scores, *said))


def is_event(schema: Schema) -> bool:
    """Are readings of this schema events?"""
    return _read_schema(schema) is not None


def event_readings(event: Event) -> Readings:
    """An event as it travels, on the event lane.

    Raises:
        ValueError: a name or number it holds has no code, or its time no place in a float.
    """
    schema = event_schema(event.window.schema, event.detector)
    n, k = event.share.shape
    if not 0 <= event.begun_us < _EXACT_MAX:
        raise ValueError(f"an event that began {event.begun_us} us after 1970")
    said = np.full(len(_SAID), np.nan)
    said[[_BEGUN, _PHASE, _WHAT]] = event.begun_us, PHASES.index(event.phase), WHATS.index(event.what)
    said[_MODEL] = event.model
    if event.what:
        said[_CHANNEL], said[_KIND] = event.channels.index(event.channel), KINDS.index(event.kind)
        said[_CONFIDENCE] = event.confidence
    new = np.empty((n, k + _BEYOND))
    new[:, :k], new[:, k], new[:, k + 1], new[:, k + 2 :] = event.share, event.score, event.p, said
    nothing = np.isnan(new)
    window = event.window
    return Readings(
        schema,
        window.time_ns,
        np.concatenate([window.value, new], axis=1),
        np.concatenate([window.u, np.full(new.shape, np.nan, np.float32)], axis=1),
        np.concatenate([window.flag, np.where(nothing, Flag.MISSING, Flag.PASS).astype(np.uint8)], axis=1),
        np.concatenate([window.reason, np.where(nothing, Reason.MISSING, 0).astype(np.uint32)], axis=1),
    )


def event_of(readings: Readings) -> Event:
    """What a frame tells of an event: its readings, or any of their rows.

    Raises:
        NeverRetry: they are no event's, or of several.
    """
    found = _read_schema(readings.schema)
    if found is None:
        raise NeverRetry(f"stream {readings.schema.stream!r:.80} is none of events")
    inputs, detector = found
    k = len(inputs.channels)
    said = readings.value[:, 2 * k + 2 :]
    if not len(said) or not np.array_equal(said, np.broadcast_to(said[0], said.shape), equal_nan=True):
        raise NeverRetry(f"{len(said)} rows that do not tell one event")
    what = WHATS[_code(said[0, _WHAT], len(WHATS))]
    return Event(
        detector=detector,
        begun_us=_code(said[0, _BEGUN], _EXACT_MAX),
        phase=PHASES[_code(said[0, _PHASE], len(PHASES))],
        window=Readings(
            inputs,
            readings.time_ns,
            readings.value[:, :k],
            readings.u[:, :k],
            readings.flag[:, :k],
            readings.reason[:, :k],
        ),
        score=readings.value[:, 2 * k],
        p=readings.value[:, 2 * k + 1],
        share=readings.value[:, k : 2 * k],
        what=what,
        channel=inputs.channels[_code(said[0, _CHANNEL], k)].name if what else "",
        kind=KINDS[_code(said[0, _KIND], len(KINDS))] if what else "",
        confidence=float(said[0, _CONFIDENCE]),
        model=_code(said[0, _MODEL], 1 << 31),
    )


def latest_events(batches: Iterable[Readings]) -> list[Event]:
    """Every event that readings of event streams tell, once: all its rows, with what was said of it last.

    Args:
        batches: in any order, split or merged in any way.

    Returns:
        The events, oldest first; rows told twice stand in them once.

    Raises:
        NeverRetry: a batch is none of events.
    """
    told: dict[tuple[str, str, str, int], list[Event]] = {}
    for batch in batches:
        for part in _apart(batch):
            event = event_of(part)
            told.setdefault(event.name, []).append(event)
    merged = [_merged(sorted(parts, key=lambda part: PHASES.index(part.phase))) for parts in told.values()]
    return sorted(merged, key=lambda event: event.begun_us)


def _merged(parts: list[Event]) -> Event:
    """One event out of what was told of it, the last word last."""
    last = parts[-1]
    parts = [part for part in parts if part.window.schema == last.window.schema]
    time_ns = np.concatenate([part.window.time_ns for part in parts])
    _, rows = np.unique(time_ns, return_index=True)
    window = Readings.concatenate([part.window for part in parts])
    return replace(
        last,
        window=Readings(
            window.schema, time_ns[rows], window.value[rows], window.u[rows], window.flag[rows], window.reason[rows]
        ),
        score=np.concatenate([part.score for part in parts])[rows],
        p=np.concatenate([part.p for part in parts])[rows],
        share=np.concatenate([part.share for part in parts])[rows],
    )


def _apart(readings: Readings) -> list[Readings]:
    """Readings of one event and phase each, of a batch that may hold several."""
    found = _read_schema(readings.schema)
    if found is None or not len(readings):
        return [readings] if len(readings) else []
    said = readings.value[:, -len(_SAID) :]
    same = (said[1:] == said[:-1]) | (np.isnan(said[1:]) & np.isnan(said[:-1]))
    edges = [0, *(np.flatnonzero(~same.all(axis=1)) + 1).tolist(), len(said)]
    return [readings[a:b] for a, b in pairwise(edges)]


@lru_cache(maxsize=256)
def _read_schema(schema: Schema) -> tuple[Schema, str] | None:
    """The inputs' schema and the detector's name; None where it is not one of events."""
    names = [channel.name for channel in schema.channels]
    k, odd = divmod(len(names) - _BEYOND, 2)
    detector = names[-1].removesuffix(f".event.{_SAID[-1]}")
    stream = schema.stream.removesuffix(f".{detector}")
    if k < 1 or odd or detector == names[-1] or stream == schema.stream:
        return None
    inputs = replace(schema, stream=stream, channels=schema.channels[:k])
    try:
        wanted = event_schema(inputs, detector)
    except ValueError:
        return None
    return (inputs, detector) if [channel.name for channel in wanted.channels] == names else None


def _code(number: Any, below: int) -> int:
    """A number that stands for something.

    Raises:
        NeverRetry: it is none, or one this version does not know.
    """
    if not 0 <= number < below or number != int(number):
        raise NeverRetry(f"an event says {number}, and a whole number below {below} is wanted")
    return int(number)
