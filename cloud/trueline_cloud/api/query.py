"""What a query asks for: text from a URL to bounded numbers, or a problem that names the parameter and the mend.

Promises: whatever comes back can be answered in bounded time and bounded memory. Refuses to know HTTP and the store.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, NamedTuple

from trueline_cloud.api.problems import ProblemError
from trueline_wire.topics import DEVICE_ID

__all__ = [
    "EVENTS_MAX",
    "POINTS_MAX",
    "Range",
    "parse_begun",
    "parse_device",
    "parse_limit",
    "parse_range",
    "parse_span",
    "parse_stream",
    "parse_time",
]

POINTS_MAX: Final = 10_000
"""Steps in one answer, at most."""

EVENTS_MAX: Final = 1_000
"""Events in one answer, at most."""

_POINTS_DEFAULT: Final = 720
_SECOND_NS: Final = 1_000_000_000
_MINUTE_NS: Final = 60 * _SECOND_NS
_FRAMES_RANGE_MAX_NS: Final = 6 * 3600 * _SECOND_NS
"""A step of whole minutes is answered from stored rollups; any other reads every frame, so its range is bounded."""

_UNITS: Final = {"ms": 10**6, "s": _SECOND_NS, "m": _MINUTE_NS, "h": 60 * _MINUTE_NS, "d": 1440 * _MINUTE_NS}
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)?")
_NANOSECONDS: Final = re.compile(r"-?\d{1,19}")
_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_TIME_MAX: Final = 2**63 - 1
_TEXT_MAX: Final = 256

# Steps people read off an axis, ns: the smallest that keeps to `points` is taken.
_LADDER: Final = [
    *(n * 10**6 for n in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(n * _SECOND_NS for n in (1, 2, 5, 10, 15, 30)),
    *(n * _MINUTE_NS for n in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2 * 1440, 7 * 1440, 28 * 1440)),
]


class Range(NamedTuple):
    """start_ns <= time < end_ns, in steps of step_ns."""

    start_ns: int
    end_ns: int
    step_ns: int


def parse_device(text: str) -> str:
    """A device id, as the wire allows it.

    Raises:
        ProblemError: it cannot be one.
    """
    if not DEVICE_ID.fullmatch(text):
        raise ProblemError(
            422, f"device: {text[:40]!r} is not a device id", "1 to 64 of A-Z a-z 0-9 . _ -; /api/v1/devices lists them"
        )
    return text


def parse_stream(text: str) -> str:
    """A stream's name.

    Raises:
        ProblemError: it cannot be one.
    """
    if not 0 < len(text) <= _TEXT_MAX:
        raise ProblemError(
            422, "stream: a name of 1 to 256 characters is wanted", "/api/v1/devices/<device>/streams lists them"
        )
    return text


def parse_time(name: str, text: str) -> int:
    """A time, RFC 3339 or integer nanoseconds since 1970, as nanoseconds.

    Raises:
        ProblemError: it is neither.
    """
    hint = f"{name}=2026-01-31T12:00:00Z (in a URL a + is written %2B), or nanoseconds since 1970"
    if _NANOSECONDS.fullmatch(text):
        time_ns = int(text)
        if abs(time_ns) <= _TIME_MAX:
            return time_ns
    if match := _RFC_3339.fullmatch(text):
        fraction = match[1] or ""
        try:
            moment = datetime.fromisoformat(text.upper().replace(fraction, "", 1) if fraction else text.upper())
        except ValueError as error:
            raise ProblemError(422, f"{name}: {text!r} is not a time ({error})", hint) from None
        whole_s = int((moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
        time_ns = whole_s * _SECOND_NS + (int(fraction[1:].ljust(9, "0")) if fraction else 0)
        if abs(time_ns) <= _TIME_MAX:
            return time_ns
    raise ProblemError(422, f"{name}: {text[:40]!r} is not a time from 1678 to 2262", hint)


def _parse_step(text: str) -> int:
    match = _DURATION.fullmatch(text)
    step_ns = round(float(match[1]) * _UNITS[match[2] or "s"]) if match else 0
    if step_ns < _UNITS["ms"]:
        raise ProblemError(422, f"step: {text[:40]!r} is not a length of time", "step=60s, 500ms, 15m, 6h or 1d")
    return step_ns


def _parse_points(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text) or not 0 < int(text) <= POINTS_MAX:
        raise ProblemError(422, f"points: {text[:40]!r} is not a number from 1 to {POINTS_MAX}", "points=720")
    return int(text)


def _step_for(span_ns: int, points: int) -> int:
    smallest_ns = _MINUTE_NS if span_ns > _FRAMES_RANGE_MAX_NS else 0
    for step_ns in _LADDER:
        # One more than fits: the range need not begin where a step does.
        if step_ns >= smallest_ns and span_ns // step_ns + 1 <= points:
            return step_ns
    return (span_ns // points // _MINUTE_NS + 1) * _MINUTE_NS


def parse_limit(text: str) -> int:
    """How many events.

    Raises:
        ProblemError: not a number, or too many.
    """
    if not re.fullmatch(r"\d{1,6}", text) or not 0 < int(text) <= EVENTS_MAX:
        raise ProblemError(422, f"limit: {text[:40]!r} is not a number from 1 to {EVENTS_MAX}", "limit=100")
    return int(text)


def parse_begun(text: str) -> int:
    """When an event began, microseconds since 1970.

    Raises:
        ProblemError: it cannot be read.
    """
    if not re.fullmatch(r"\d{1,16}", text) or int(text) * 1000 > _TIME_MAX:
        raise ProblemError(
            422, f"begun_us: {text[:40]!r} is no time of an event", "copy it from an answer of /api/v1/events"
        )
    return int(text)


def parse_span(start: str | None, end: str | None, default_ns: int, *, now_ns: int) -> tuple[int, int]:
    """First time, and first time not included; `default_ns` until now where nothing else is said.

    Raises:
        ProblemError: a parameter cannot be read.
    """
    end_ns = parse_time("to", end) if end else now_ns
    start_ns = parse_time("from", start) if start else end_ns - default_ns
    if end_ns <= start_ns:
        raise ProblemError(422, "from: must be before `to`", "from is included, to is not; swap them, or leave one out")
    return start_ns, end_ns


def parse_range(start: str | None, end: str | None, step: str | None, points: str | None, *, now_ns: int) -> Range:
    """The range and step of a query; an hour until now, in at most 720 points, where nothing else is said.

    Raises:
        ProblemError: a parameter cannot be read, or the answer would be too big.
    """
    start_ns, end_ns = parse_span(start, end, 60 * _MINUTE_NS, now_ns=now_ns)
    span_ns = end_ns - start_ns
    if step and points:
        raise ProblemError(
            422, "step, points: one of them is enough", "leave `points` out, or let it choose the `step`"
        )
    if not step:
        return Range(start_ns, end_ns, _step_for(span_ns, _parse_points(points) if points else _POINTS_DEFAULT))
    step_ns = _parse_step(step)
    if span_ns > step_ns * POINTS_MAX:
        least_s = -(-span_ns // POINTS_MAX // _SECOND_NS)
        raise ProblemError(
            422,
            f"step: {span_ns // step_ns} steps asked for, at most {POINTS_MAX} are answered",
            f"step={max(60, -(-least_s // 60) * 60)}s or longer, a shorter range, or points={POINTS_MAX}",
        )
    if step_ns % _MINUTE_NS and span_ns > _FRAMES_RANGE_MAX_NS:
        raise ProblemError(
            422,
            f"step: {step} over more than 6 h would read every frame",
            "a step of whole minutes is answered from stored rollups: step=60s, or a range of at most 6 h",
        )
    return Range(start_ns, end_ns, step_ns)
