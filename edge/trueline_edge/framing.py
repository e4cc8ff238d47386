"""Readings -> frames: rows wait until there are enough of them, or long enough, and become compressed batches.

Promises: rows stay in order; a frame has at most `rows_max` rows and fits into one message; each cut says how far the
source and the stages had come, so that rows and checkpoint are committed together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from trueline_wire.columns import encode_columns
from trueline_wire.delivery import Outgoing
from trueline_wire.readings import Readings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from trueline_wire.envelope import Lane

__all__ = ["Cut", "Framer", "encode_frames"]

_HEADER_ROOM: Final = 512
"""Bytes of a message that are not its body: prefix, header, signature."""


@dataclass(slots=True)
class Cut:
    """Rows that go to the spool together, and where the stream stands behind them.

    Attributes:
        readings: (n rows), in order; may be empty where only losses are told.
        offset: of the source, behind these rows.
        stages: state of the pipeline behind these rows.
        sampled: rows the source gave or lost since the cut before.
        lost: rows lost since the cut before, by reason.
        insignificant: rows left out by the stages since the cut before.
        events: what the stages have to tell beside these rows, a frame of a stream of its own each.
    """

    readings: list[Readings] = field(default_factory=list)
    offset: bytes = b""
    stages: bytes = b""
    sampled: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    insignificant: int = 0
    events: list[Readings] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows to be spooled."""
        return sum(map(len, self.readings))


class Framer:
    """Collects the rows of one stream.

    Args:
        rows_max: a cut comes before there are more rows than this.
        interval_s: a cut comes when the oldest row has waited so long.
    """

    def __init__(self, rows_max: int, interval_s: float) -> None:
        self._rows_max = rows_max
        self._interval_s = interval_s
        self._open = Cut()
        self._since_s: float | None = None

    @property
    def due_s(self) -> float | None:
        """When a cut is due (monotonic seconds); None while nothing waits."""
        return None if self._since_s is None else self._since_s + self._interval_s

    def add(
        self,
        readings: Readings,
        now_s: float,
        *,
        offset: bytes,
        stages: bytes,
        sampled: int,
        lost: Mapping[str, int],
        insignificant: int = 0,
        events: Sequence[Readings] = (),
    ) -> list[Cut]:
        """Take what came out of the stages for one batch of the source; give the cuts that became due by it.

        Args:
            readings: may be empty.
            now_s: monotonic seconds.
            offset: of the source behind the batch.
            stages: state of the pipeline behind the batch.
            sampled: rows the source gave in the batch.
            lost: rows the source lost before the batch, by reason.
            insignificant: rows the stages have left out.
            events: what the stages have to tell at once: a cut is due, with the rows they came of.
        """
        crowded = self._open.rows > 0 and self._open.rows + len(readings) > self._rows_max
        cuts = [self.cut()] if crowded else []
        waiting = self._open
        if len(readings):
            waiting.readings.append(readings)
        waiting.offset, waiting.stages = offset, stages
        waiting.sampled += sampled + sum(lost.values())
        waiting.insignificant += insignificant
        waiting.events += events
        for reason, count in lost.items():
            waiting.lost[reason] = waiting.lost.get(reason, 0) + count
        if self._since_s is None and waiting.sampled:
            self._since_s = now_s
        if waiting.rows >= self._rows_max or waiting.events:
            cuts.append(self.cut())
        return cuts

    def cut(self) -> Cut:
        """Everything that waits."""
        cut, self._open, self._since_s = self._open, Cut(), None
        self._open.offset, self._open.stages = cut.offset, cut.stages
        return cut


def encode_frames(
    readings: list[Readings], lane: Lane, *, rows_max: int, message_max: int
) -> tuple[list[Outgoing], int]:
    """Compress rows into as few frames as fit.

    Args:
        readings: of one schema, in order.
        lane: where they go.
        rows_max: rows in a frame, at most.
        message_max: bytes in a message, at most.

    Returns:
        The frames, and how many rows fit into no frame (a single row larger than a message).
    """
    if not readings:
        return [], 0
    whole = Readings.concatenate(readings)
    frames: list[Outgoing] = []
    lost = 0
    for part in _parts(whole, rows_max):
        for rows, body in _encode(part, message_max - _HEADER_ROOM):
            if body is None:
                lost += len(rows)
                continue
            times = rows.time_ns
            frames.append(Outgoing(lane, rows.schema.encoded, len(rows), int(times.min()), int(times.max()), body))
    return frames, lost


def _parts(readings: Readings, rows_max: int) -> Iterator[Readings]:
    """Parts of nearly equal size, none above `rows_max`."""
    count = -(-len(readings) // rows_max)
    for part in range(count):
        yield readings[len(readings) * part // count : len(readings) * (part + 1) // count]


def _encode(readings: Readings, body_max: int) -> Iterator[tuple[Readings, bytes | None]]:
    body = encode_columns(readings)
    if len(body) <= body_max:
        yield readings, body
    elif len(readings) == 1:
        yield readings, None
    else:
        half = len(readings) // 2
        yield from _encode(readings[:half], body_max)
        yield from _encode(readings[half:], body_max)
