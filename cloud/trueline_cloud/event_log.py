"""The events a store holds: what detectors on devices raised, what they said of it last, and the window that raised it.

Promises: the newest first, and no more read than is asked for; frames of one event told at several times, or cut in
two, are one event (`trueline_model.event`). What a device sends on a stream of events that is none is left out, and
never keeps the others from being read. Refuses to judge: the verdict is the device's.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from trueline_model.event import is_event, latest_events
from trueline_wire.errors import NeverRetry

if TYPE_CHECKING:
    from trueline_cloud.storage.store import Reader
    from trueline_model.event import Event
    from trueline_wire.readings import Readings

__all__ = ["EventWindow", "Happening", "Share", "happening", "newest_events", "window_of"]

_FRAMES_AN_EVENT: Final = 4
"""It is told up to three times, and an outage or a full spool may cut what was one frame."""

_HOUR_NS: Final = 3600 * 10**9
_REACH_NS: Final = 24 * _HOUR_NS
"""Rows of an event lie no further from its beginning."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """How much of an event's score came from a channel, 0 to 1."""

    channel: str
    share: float | None


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """An event.

    Attributes:
        device: where.
        stream: whose channels the detector looks at.
        detector: name of the stage.
        begun_us: when it began, microseconds since 1970: its name among those of its device, stream and detector.
        first_ns: time of the first row told, before it began: the pre-trigger.
        last_ns: time of the last row told.
        phase: "begun"; "reviewed", with a second look at more rows; or "ended".
        what: "sensor fault", "process anomaly", or "" where the device could not say.
        channel: the sensor at fault, or the channel that moved most; "" where `what` is.
        kind: of a sensor's fault; "" where none is named.
        confidence: of the verdict, 0.5 (a guess) to 1; null where `what` is "".
        p: the smallest conformal p-value of its rows: how often normal running looks like that; null where unknown.
        score: the highest.
        shares: of each input, over the rows since it began.
        rows: how many were told.
        model: version of the model.
    """

    device: str
    stream: str
    detector: str
    begun_us: int
    first_ns: int
    last_ns: int
    phase: str
    what: str
    channel: str
    kind: str
    confidence: float | None
    p: float | None
    score: float | None
    shares: list[Share]
    rows: int
    model: int


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """An input over the rows of an event, as the detector read it; as long as `time_ns`, null where nothing is."""

    channel: str
    unit: str
    value: list[float | None]
    u: list[float | None]
    flag: list[int]
    share: list[float | None]


class EventWindow(msgspec.Struct, frozen=True, kw_only=True):
    """An event with the rows that were told of it."""

    event: Happening
    time_ns: list[int]
    score: list[float | None]
    p: list[float | None]
    series: list[Trace]


def newest_events(
    reader: Reader, device: str | None, start_ns: int, end_ns: int, limit: int
) -> tuple[list[Event], bool]:
    """The events that began in start_ns <= time < end_ns, the newest first.

    Args:
        reader: of the store.
        device: its id; None for all.
        start_ns: first time.
        end_ns: first time not included.
        limit: at most so many.

    Returns:
        The events, and whether older ones were left out.

    Raises:
        NeverHeardOfError: no such device.
    """
    found: list[Event] = []
    for name in [device] if device is not None else _with_events(reader):
        for schema in reader.streams(name):
            if is_event(schema):
                batches = _newest(reader, name, schema.stream, start_ns, end_ns, _FRAMES_AN_EVENT * limit)
                found += [one for one in latest_events(batches) if start_ns <= one.begun_us * 1000 < end_ns]
    found.sort(key=lambda one: one.begun_us, reverse=True)
    return found[:limit], len(found) > limit


def window_of(reader: Reader, device: str, stream: str, detector: str, begun_us: int) -> EventWindow | None:
    """An event with its rows; None where there is no such event.

    Raises:
        NeverHeardOfError: no such device, or no events of that detector.
    """
    begun_ns = begun_us * 1000
    batches = reader.readings(device, f"{stream}.{detector}", begun_ns - _REACH_NS, begun_ns + _REACH_NS)
    # A frame tells one event: those of others are let go as they are read.
    mine = [part for batch in batches for part in _good(batch) if _names(part, begun_us)]
    events = [one for one in latest_events(mine) if one.name[1:] == (stream, detector, begun_us)]
    if not events:
        return None
    (event,) = events
    return EventWindow(
        event=happening(event),
        time_ns=event.window.time_ns.tolist(),
        score=event.score.tolist(),
        p=event.p.tolist(),
        series=[
            Trace(
                channel=channel.name,
                unit=channel.unit,
                value=event.window.value[:, j].tolist(),
                u=[float(f"{u:.4g}") for u in event.window.u[:, j].tolist()],
                flag=event.window.flag[:, j].tolist(),
                share=event.share[:, j].tolist(),
            )
            for j, channel in enumerate(event.window.schema.channels)
        ],
    )


def happening(event: Event) -> Happening:
    """An event as it is answered."""
    times = event.window.time_ns
    device, stream, detector, begun_us = event.name
    return Happening(
        device=device,
        stream=stream,
        detector=detector,
        begun_us=begun_us,
        first_ns=int(times.min()),
        last_ns=int(times.max()),
        phase=event.phase,
        what=event.what,
        channel=event.channel,
        kind=event.kind,
        confidence=_known(event.confidence),
        p=_known(np.min(event.p[np.isfinite(event.p)], initial=np.inf)),
        score=_known(np.max(event.score[np.isfinite(event.score)], initial=-np.inf)),
        shares=[
            Share(channel=name, share=_known(_mean(event.share[times >= begun_us * 1000, j])))
            for j, name in enumerate(event.channels)
        ],
        rows=len(times),
        model=event.model,
    )


def _with_events(reader: Reader) -> list[str]:
    """Devices that have sent anything on their lane of events."""
    return sorted({lane.device for lane in reader.ledger() if lane.lane == "event" and lane.rows_stored})


def _newest(reader: Reader, device: str, stream: str, start_ns: int, end_ns: int, frames_max: int) -> list[Readings]:
    """The newest frames of a stream, found backwards in steps that grow."""
    found: list[Readings] = []
    span_ns, last_ns = _HOUR_NS, end_ns
    span = reader.span(device, stream)
    if span is None:
        return found
    first_ns, last_ns = max(start_ns - _REACH_NS, span[0]), min(end_ns + _REACH_NS, span[1] + 1)
    while last_ns > first_ns and len(found) < frames_max:
        from_ns = max(first_ns, last_ns - span_ns)
        batches = reader.readings(device, stream, from_ns, last_ns)
        found += [part for batch in deque(batches, frames_max) for part in _good(batch)]
        last_ns, span_ns = from_ns, 2 * span_ns
    return found


def _good(batch: Readings) -> list[Readings]:
    """The batch, where it tells of events and nothing else."""
    try:
        latest_events([batch])
    except NeverRetry:
        return []
    return [batch]


def _names(batch: Readings, begun_us: int) -> bool:
    return any(one.begun_us == begun_us for one in latest_events([batch]))


def _mean(values: Any) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _known(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
