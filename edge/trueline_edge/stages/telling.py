"""From alarms to events: the rows around a beginning are kept until they are told, with the verdict they allow.

Promises: an event is told with the row it begins with; again as soon as there are the rows a verdict makes use of, or
when it ends or the detector starts anew, whichever comes first; and once more when it ends later than that. Where rows
are cut into batches changes nothing of it. No window spans a gap. Room is bounded: the rows kept before a beginning,
and those behind it up to the review.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from trueline_edge.stages.stage import usable
from trueline_model.event import Event, Phase, event_readings
from trueline_wire.readings import Readings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_model.judge import Judge, Judged
    from trueline_wire.readings import Schema

__all__ = ["Telling", "shares"]

_DECIMALS: Final = 3
_US_MAX: Final = (1 << 53) - 1


class _Open(msgspec.Struct, array_like=True):
    """An event that has not ended.

    Attributes:
        begun_us: see `Event`.
        row: it began with, among those kept; None once it was reviewed.
        said: what, channel, kind, confidence: of the last verdict.
    """

    begun_us: int
    row: int | None
    said: tuple[str, str, str, float | None]


class _Memory(msgspec.Struct, frozen=True, array_like=True):
    kept: bytes
    open: _Open | None


class Telling:
    """The last rows a detector has looked at, and the event that goes on.

    Args:
        inputs: schema of what it looks at.
        detector: its name.
        judge: what judges the rows.
        model: version of it.
        rows: an event is told with, up to the one it begins with, and at least so many behind it. What a verdict wants
            beyond those before is kept and not told.
    """

    def __init__(self, inputs: Schema, detector: str, judge: Judge, model: int, rows: int) -> None:
        self.inputs: Final = inputs
        self._detector, self._judge, self._model = detector, judge, model
        self._before, self._kept_rows = rows, max(rows, judge.verdict_rows)
        self._review_rows = max(rows, judge.review_rows)
        k = len(inputs.channels)
        self._type = np.dtype(
            [
                ("time_ns", "<i8"),
                ("score", "<f8"),
                ("p", "<f8"),
                ("value", "<f8", k),
                ("u", "<f4", k),
                ("reason", "<u4", k),
                ("share", "<f4", k),
                ("flag", "u1", k),
            ]
        )
        self._kept = np.empty(0, self._type)
        self._open: _Open | None = None

    def __call__(self, window: Readings, said: Judged) -> list[Readings]:
        """What is to be told after a batch.

        Args:
            window: the inputs' readings.
            said: what the judge says of them.
        """
        rows = np.flatnonzero(said.looked)
        if self._open is None and not said.begins.any() and not said.fresh[rows[1:]].any():
            # Nothing to tell, as nearly always: only the last rows will be kept.
            if len(rows) and said.fresh[rows[0]]:
                self._kept = self._kept[:0]
            self._keep(self._records(window, said, rows[-self._kept_rows :]))
            return []
        new = self._records(window, said, rows)
        begins, fresh, off = said.begins[rows], said.fresh[rows], said.alarm[rows] == 0.0
        told: list[Readings] = []
        start = 0
        while start < len(new):
            stop = self._next(start, begins, fresh, off)
            if begins[start]:  # one that has not been quiet, and yet is over
                told += self._end()
            if fresh[start]:
                told += self._review()
                self._kept = self._kept[:0]
            self._keep(new[start:stop])
            last = stop - 1
            if self._open is not None and off[last]:
                told += self._end()
            elif begins[last]:
                told.append(self._begin())
            elif self._open is not None and self._open.row is not None and self._after == self._review_rows:
                told += self._review()
            start = stop
        return told

    def close(self) -> list[Readings]:
        """What is to be told where the model is replaced: an event that goes on ends with it."""
        return self._end()

    def state(self) -> bytes:
        """The rows kept, and the event that goes on."""
        return msgspec.msgpack.encode(_Memory(self._kept.tobytes(), self._open))

    def restore(self, state: bytes) -> None:
        """Go on with them.

        Raises:
            ValueError: they are another detector's.
        """
        memory = msgspec.msgpack.decode(state, type=_Memory)
        self._kept, self._open = np.frombuffer(memory.kept, self._type).copy(), memory.open
        if self._open is not None and self._open.row is not None and not -1 < self._open.row < len(self._kept):
            raise ValueError(f"an event that began with row {self._open.row} of {len(self._kept)}")

    # ------------------------------------------------------------ inside

    @property
    def _after(self) -> int:
        """Rows kept behind the one the event began with."""
        assert self._open is not None  # noqa: S101 - asked of an open event alone
        assert self._open.row is not None  # noqa: S101 - asked before its review alone
        return len(self._kept) - 1 - self._open.row

    def _next(self, start: int, begins: NDArray[np.bool_], fresh: NDArray[np.bool_], off: NDArray[np.bool_]) -> int:
        """The row up to which nothing happens that is to be told, or that does with its last row."""
        stop = len(begins)
        if begins[start]:
            return start + 1
        if self._open is not None and self._open.row is not None and not fresh[start]:
            stop = min(stop, start + self._review_rows - self._after)
        if self._open is not None:
            stop = min(stop, start + _first(off[start:stop]) + 1)
        stop = min(stop, start + _first(begins[start:stop]) + (self._open is None))
        return min(stop, start + 1 + _first(fresh[start + 1 : stop]))

    def _keep(self, new: NDArray[np.void]) -> None:
        self._kept = np.concatenate([self._kept, new])
        if self._open is None or self._open.row is None:
            self._kept = self._kept[-self._kept_rows :]

    def _begin(self) -> Readings:
        row = len(self._kept) - 1
        begun_us = min(max(int(self._kept["time_ns"][row]) // 1000, 0), _US_MAX)
        self._open = _Open(begun_us, row, self._verdict(row))
        return self._tell("begun")

    def _review(self) -> list[Readings]:
        """Say more of an event that goes on, once."""
        if self._open is None or self._open.row is None:
            return []
        self._open.said = self._verdict(self._open.row)
        told = self._tell("reviewed")
        self._open.row = None
        self._kept = self._kept[-self._kept_rows :]
        return [told]

    def _end(self) -> list[Readings]:
        if self._open is None:
            return []
        if self._open.row is not None:
            self._open.said = self._verdict(self._open.row)
        told = self._tell("ended")
        self._open = None
        self._kept = self._kept[-self._kept_rows :]
        return [told]

    def _verdict(self, row: int) -> tuple[str, str, str, float | None]:
        valid = usable(self._window(self._kept))
        verdict = self._judge.verdict(np.where(valid, self._kept["value"], 0.0), valid, row)
        if verdict is None:
            return "", "", "", None
        return verdict.what, self.inputs.channels[verdict.channel].name, verdict.kind, verdict.confidence

    def _tell(self, phase: Phase) -> Readings:
        assert self._open is not None  # noqa: S101 - told of an open event alone
        row = self._open.row  # once it was reviewed, there is its end to tell
        kept = self._kept[-1:] if row is None else self._kept[max(row + 1 - self._before, 0) :]
        what, channel, kind, confidence = self._open.said
        event = Event(
            detector=self._detector,
            begun_us=self._open.begun_us,
            phase=phase,
            window=self._window(kept),
            score=kept["score"].copy(),
            p=kept["p"].copy(),
            share=kept["share"].astype(np.float64).round(_DECIMALS),
            what=what,  # type: ignore[arg-type]  # one of a verdict's
            channel=channel,
            kind=kind,
            confidence=float("nan") if confidence is None else confidence,
            model=self._model,
        )
        return event_readings(event)

    def _window(self, kept: NDArray[np.void]) -> Readings:
        return Readings(
            self.inputs, *(np.ascontiguousarray(kept[name]) for name in ("time_ns", "value", "u", "flag", "reason"))
        )

    def _records(self, window: Readings, said: Judged, rows: NDArray[np.intp]) -> NDArray[np.void]:
        new = np.empty(len(rows), self._type)
        for name in ("time_ns", "value", "u", "flag", "reason"):
            new[name] = getattr(window, name)[rows]
        new["score"], new["p"] = said.score[rows], said.p[rows]
        new["share"] = shares(said.contribution[rows], said.score[rows])
        return new


def shares(contribution: NDArray[np.float64], score: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, k) of each input in the score; 0 of a score of 0, NaN where there is none."""
    parts = np.where(np.isnan(score)[:, None], np.nan, np.zeros(contribution.shape))
    np.divide(contribution, score[:, None], out=parts, where=score[:, None] > 0.0)
    return parts


def _first(where: NDArray[np.bool_]) -> int:
    """The first that is true; beyond the last where none is."""
    return int(where.argmax()) if where.any() else len(where)
