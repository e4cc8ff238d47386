"""Calibration: raw readings become corrected ones, each with the standard uncertainty that its calibration file states.

A mender: `value`, `u` and the schema's unit, resolution and calibration id change. Recalibration starts from raw: a
channel that carries a calibration id already is refused. Out of its range, beyond its validity, or with an input
missing (which is then taken from the middle of its range), or come faster than its lag allows, a reading is SUSPECT and
its `u` is wider. FAIL and MISSING
cells are converted like the others, so that the column has one unit, and no other cell is corrected with them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec
import numpy as np

from trueline_edge.calibration.correct import Corrector, Unlagged
from trueline_edge.calibration.cut import CutOff
from trueline_edge.calibration.file import Calibration, load_calibration
from trueline_edge.calibration.lag import LagState, undo_lag
from trueline_edge.calibration.models import Affine, Offset
from trueline_edge.calibration.play import PlayInverter
from trueline_edge.calibration.task import Task
from trueline_edge.stages.stage import Objection, usable
from trueline_wire.errors import ConfigError
from trueline_wire.readings import Flag, Readings, Reason, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["Calibrate"]


class Calibrate(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="calibrate"
):
    """Channels without a file come out as they came in.

    Attributes:
        files: calibration files, one for each channel to correct (`trueline-edge calibrate` writes them).
    """

    kind: ClassVar[Literal["judge", "mender", "adder"]] = "mender"

    files: tuple[Path, ...]

    def objections(self, schema: Schema) -> Iterator[Objection]:
        """What is wrong in the files, and what in them does not fit the channels."""
        channels = {channel.name: channel for channel in schema.channels}
        seen: set[str] = set()
        for position, path in enumerate(self.files):
            where = ("files", position)
            try:
                calibration = load_calibration(path)
            except ConfigError as error:
                yield Objection(where, str(error))
                continue
            for name in (calibration.channel, *calibration.inputs):
                if name not in channels:
                    hint = f"channels here: {', '.join(channels)}"
                    yield Objection(where, f"{path}: stream {schema.stream!r} has no channel {name!r}", hint)
            if calibration.channel in seen:
                yield Objection(where, f"{path}: a second calibration of channel {calibration.channel!r}")
            seen.add(calibration.channel)
            channel = channels.get(calibration.channel)
            if channel is None:
                continue
            if channel.calibration:
                hint = "give the raw channel to it: a calibration never goes on top of another"
                yield Objection(where, f"{path}: {channel.name!r} is calibrated by {channel.calibration!r}", hint)
            if channel.unit != calibration.raw_unit:
                message = (
                    f"{path}: is for {channel.name!r} in {calibration.raw_unit!r}, and it comes in {channel.unit!r}"
                )
                yield Objection(where, message)
            if calibration.sensor and channel.sensor and calibration.sensor != channel.sensor:
                message = f"{path}: is of sensor {calibration.sensor!r}, and {channel.name!r} is {channel.sensor!r}"
                yield Objection(where, message)

    def stage(self, schema: Schema) -> CorrectReadings:
        """The stage for readings of this schema.

        Raises:
            ConfigError: a file cannot be read, or does not fit the schema.
        """
        for objection in self.objections(schema):
            raise ConfigError(f"{objection.message}{': ' if objection.hint else ''}{objection.hint}")
        return CorrectReadings([load_calibration(path) for path in self.files], schema)


class CorrectReadings:
    """Corrects; remembers the last usable reading of channels with a lag, and where within its play a sensor is."""

    delay = 0

    def __init__(self, calibrations: Sequence[Calibration], schema: Schema) -> None:
        columns = {channel.name: position for position, channel in enumerate(schema.channels)}
        self._tasks = [
            Task(
                c, columns[c.channel], {n: columns[n] for n in c.inputs}, schema.channels[columns[c.channel]].resolution
            )
            for c in calibrations
        ]
        self._corrector = Corrector(self._tasks)
        self._lagging = [task for task in self._tasks if task.calibration.lag]
        self._lags = [task.calibration.lag for task in self._tasks if task.calibration.lag]
        self._past = tuple(LagState() for _ in self._lagging)
        self.schema = _corrected(schema, self._tasks)
        played = [task for task in self._tasks if task.calibration.play]
        self._play = (
            PlayInverter(played, [self.schema.channels[t.column].resolution for t in played]) if played else None
        )
        limited = [task for task in self._tasks if task.calibration.limits]
        self._cut = CutOff(limited) if limited else None
        remembers = bool(self._lagging) or self._play is not None
        self._needs_usable = remembers or any(task.inputs for task in self._tasks)

    def __call__(self, readings: Readings, /) -> Readings:
        good = usable(readings) if self._needs_usable else _NONE
        unlagged, fast = self._unlag(readings, good) if self._lagging else (None, None)
        corrected = self._corrector(readings.time_ns, readings.value, readings.u, good, unlagged)
        value, u = corrected.value, corrected.u
        if self._cut is not None or self._play is not None:
            value, u = self._seen_past(readings, value, u, good)
        out = Readings.trusted(self.schema, readings.time_ns, value, u, readings.flag, readings.reason)
        doubtful = corrected.doubtful
        if fast is not None and fast.any():
            doubtful = fast if doubtful is None else doubtful | fast
        if doubtful is None:
            return out
        return out.flagged(doubtful & np.isfinite(readings.value), Flag.SUSPECT, Reason.CALIBRATION)

    def _seen_past(
        self, readings: Readings, value: NDArray[np.float64], u: NDArray[np.float32], good: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """What hides the quantity from a sensor that is calibrated: the end of its range, and its play."""
        with np.errstate(invalid="ignore", over="ignore"):
            uncut = None if self._cut is None else self._cut(readings.value, value, u)
            if uncut is not None:
                value, u = uncut.value, uncut.u
            return (value, u) if self._play is None else self._play(readings.time_ns, value, u, good, uncut)

    def _unlag(self, readings: Readings, good: NDArray[np.bool_]) -> tuple[Unlagged, NDArray[np.bool_]]:
        """The readings without their lag, and those that came too fast to have one."""
        value, u = readings.value.copy(), readings.u.copy()
        u_lag = np.zeros(u.shape, np.float32)
        fast = np.zeros(u.shape, np.bool_)
        past = []
        for task, lag, state in zip(self._lagging, self._lags, self._past, strict=True):
            k = task.column
            with np.errstate(invalid="ignore", over="ignore"):
                settled, after = undo_lag(
                    state, readings.time_ns, value[:, k], good[:, k], lag.time_constant_s, lag.rate_max
                )
                # Rounding grows like noise; what the corrector adds for it is that of a reading without lag.
                grown = settled.gain**2
                u[:, k] = np.sqrt(np.square(u[:, k]) * grown + (grown - 1.0) * task.resolution**2 / 12.0)
                u_lag[:, k] = np.hypot(settled.slope * lag.u_s, settled.left)
            fast[:, k] = settled.left > 0.0
            value[:, k] = settled.value
            past.append(after)
        self._past = tuple(past)
        return Unlagged(value, u, u_lag), fast

    def flush(self) -> Readings:
        """Nothing is held back."""
        return Readings.empty(self.schema)

    def state(self) -> bytes:
        """The last usable reading of each channel with a lag, and the plays."""
        if self._play is not None:
            return msgspec.msgpack.encode((self._past, self._play.state()))
        return msgspec.msgpack.encode(self._past) if self._lagging else b""

    def restore(self, state: bytes) -> None:
        """Go on with the readings of another life."""
        if self._play is not None:
            past, play = msgspec.msgpack.decode(state, type=tuple[tuple[LagState, ...], bytes])
        else:
            past = msgspec.msgpack.decode(state, type=tuple[LagState, ...]) if state else ()
        if len(past) != len(self._lagging):
            raise ValueError(f"a state of {len(past)} lags, not {len(self._lagging)}")
        if self._play is not None:
            self._play.restore(play)
        self._past = past


_NONE = np.empty((0, 0), np.bool_)


def _corrected(schema: Schema, tasks: Sequence[Task]) -> Schema:
    """The schema of what comes out."""
    channels = list(schema.channels)
    for task in tasks:
        calibration, raw = task.calibration, channels[task.column]
        gain = {Offset: 1.0, Affine: abs(getattr(calibration.model, "gain", 0.0))}.get(type(calibration.model), 0.0)
        channels[task.column] = replace(
            raw, unit=calibration.unit, resolution=raw.resolution * gain, calibration=calibration.id
        )
    return replace(schema, channels=tuple(channels))
