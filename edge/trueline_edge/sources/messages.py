"""Other people's messages -> rows: where in a payload the numbers are.

Promises: a message becomes one row; a channel it does not mention is NaN, one it mentions in words that are no number
is NaN, flagged MISSING for the reason UNPARSABLE. Refuses to know how messages come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np

from trueline_edge.sources.source import declared_u
from trueline_wire.readings import Flag, Readings, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trueline_edge.sources.source import ChannelConfig
    from trueline_edge.sources.times import TimeReader
    from trueline_wire.readings import Schema

__all__ = ["Message", "MessageReader", "field_steps", "topic_matches"]

_NAN: Final = float("nan")
_ABSENT: Final = object()


class Message(NamedTuple):
    """As it came."""

    topic: str
    payload: bytes
    arrival_ns: int


def field_steps(field: str) -> tuple[str, ...]:
    """The steps into a JSON document: a JSON pointer (RFC 6901) where it begins with "/", dotted otherwise."""
    if field.startswith("/"):
        return tuple(step.replace("~1", "/").replace("~0", "~") for step in field[1:].split("/"))
    return tuple(field.split(".")) if field else ()


def topic_matches(topic_filter: str, topic: str) -> bool:
    """Whether an MQTT topic fits a filter with `+` and `#` (MQTT 5, section 4.7)."""
    wanted, given = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in {"+", "#"}:
        return False
    for position, level in enumerate(wanted):
        if level == "#":
            return True
        if position >= len(given) or level not in {"+", given[position]}:
            return False
    return len(wanted) == len(given)


class MessageReader:
    """Reads messages of one stream.

    Args:
        schema: of the rows.
        channels: each with its topic filter and its field.
        topic: the filter of channels that name none.
        time_field: where in a JSON payload the time is; "" for the moment of arrival.
        times: reads it.
    """

    def __init__(
        self, schema: Schema, channels: Sequence[ChannelConfig], *, topic: str, time_field: str, times: TimeReader
    ) -> None:
        self._schema = schema
        self._u = declared_u(channels)
        self._fields = [field_steps(channel.field) for channel in channels]
        self._filters = [channel.topic or topic for channel in channels]
        self._time_field = field_steps(time_field)
        self._times = times

    @property
    def filters(self) -> list[str]:
        """What to subscribe to: no filter another one covers, since a broker may send such a message twice."""
        unique = sorted(set(self._filters))
        return [one for one in unique if not any(topic_matches(other, one) for other in unique if other != one)]

    def read(self, messages: Sequence[Message]) -> tuple[Readings, int]:
        """The rows of some messages, and how many messages gave none because no time could be read from them."""
        shape = len(messages), len(self._fields)
        value, unparsable = np.full(shape, np.nan), np.zeros(shape, np.bool_)
        texts = []
        for row, message in enumerate(messages):
            document = _decoded(message.payload)
            texts.append(_time_text(_found(document, self._time_field)))
            for k, steps in enumerate(self._fields):
                if topic_matches(self._filters[k], message.topic):
                    number = _number(_found(document, steps))
                    unparsable[row, k] = number is None
                    value[row, k] = _NAN if number is None else number
        if self._time_field:
            time_ns, bad = self._times.read(texts)
        else:
            time_ns = np.array([message.arrival_ns for message in messages], np.int64)
            bad = np.zeros(len(messages), np.bool_)
        readings = Readings.raw(self._schema, time_ns[~bad], value[~bad].reshape(-1, shape[1]), self._u)
        return readings.flagged(unparsable[~bad], Flag.MISSING, Reason.UNPARSABLE), int(bad.sum())


def _decoded(payload: bytes) -> Any:
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return payload.decode(errors="replace")  # a plain number that is not JSON (" 1.5", "+3"), or nothing we know


def _found(document: Any, steps: tuple[str, ...]) -> Any:
    """What stands there; _ABSENT where the document does not mention it."""
    for step in steps:
        if isinstance(document, dict):
            document = document.get(step, _ABSENT)
        elif isinstance(document, list):
            document = document[int(step)] if step.isdecimal() and int(step) < len(document) else _ABSENT
        else:
            return document if document is _ABSENT else {}  # not a document at all: no number either
    return document


def _number(found: Any) -> float | None:
    """NaN where nothing was measured; None where something was meant and cannot be read."""
    if found is _ABSENT or found is None:
        return _NAN
    if not isinstance(found, int | float | str) or (isinstance(found, str) and "_" in found):
        return None
    try:
        return float(found)
    except (ValueError, OverflowError):
        return None


def _time_text(found: Any) -> str:
    return repr(found) if isinstance(found, int | float) and not isinstance(found, bool) else str(found)
