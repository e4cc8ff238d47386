"""Rows held back until those behind them have had their say."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from trueline_edge.estimation.smoothing import smooth_level
from trueline_edge.stages.stage import pack_arrays, pack_readings, unpack_arrays, unpack_readings
from trueline_wire.readings import Flag, Readings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_wire.readings import Schema

    Array = NDArray[np.float64]

__all__ = ["Lag", "Steps"]


class Steps(NamedTuple):
    """What a smoother needs of the filter, (n, k) each: mean, variance, what it gained since the row before, link."""

    mean: Array
    var: Array
    gained: Array
    linked: Array


class Lag:
    """A fixed-lag smoother behind a filter of k local levels.

    Args:
        schema: of the rows.
        channels: where the k filtered channels stand in it.
        rows: to wait for.
    """

    def __init__(self, schema: Schema, channels: slice, rows: int) -> None:
        self._schema, self._channels, self._rows = schema, channels, rows
        self._outputs = channels.stop - channels.start
        self._held = Readings.empty(schema)
        self._steps = Steps(*(np.empty((0, self._outputs)) for _ in Steps._fields))

    def __call__(self, readings: Readings, steps: Steps) -> Readings:
        """Rows that have waited long enough, smoothed."""
        self._held = Readings.concatenate([self._held, readings])
        self._steps = Steps(*map(np.concatenate, zip(self._steps, steps, strict=True)))
        return self._give(len(self._held) - self._rows)

    def flush(self) -> Readings:
        """The rest, smoothed by what there is."""
        return self._give(len(self._held))

    def _give(self, count: int) -> Readings:
        if count <= 0:
            return Readings.empty(self._schema)
        steps, held = self._steps, self._held
        mean, var = smooth_level(steps.mean, steps.var, steps.gained, steps.linked > 0.0, self._rows)
        value, u = held.value[:count].copy(), held.u[:count].copy()
        live = held.flag[:count, self._channels] != Flag.MISSING
        value[:, self._channels] = np.where(live, mean[:count], value[:, self._channels])
        finite = np.isfinite(steps.var)  # an infinite variance has not been smoothed
        gained = np.where(finite, steps.var, 0.0) - np.where(finite, var, 0.0)
        stated = u[:, self._channels].astype(np.float64) ** 2
        u[:, self._channels] = np.sqrt(np.maximum(stated - gained[:count], 0.0))
        given = Readings(self._schema, held.time_ns[:count], value, u, held.flag[:count], held.reason[:count])
        self._held = held[count:]
        self._steps = Steps(*(each[count:] for each in steps))
        return given

    def state(self) -> bytes:
        """The rows held back."""
        return msgspec.msgpack.encode([pack_readings(self._held), pack_arrays(*self._steps)])

    def restore(self, state: bytes) -> None:
        """Hold them again."""
        held, steps = msgspec.msgpack.decode(state, type=tuple[bytes, bytes])
        readings = unpack_readings(held, self._schema, self._rows)
        like = np.empty((len(readings), self._outputs))
        self._steps = Steps(*unpack_arrays(steps, *[like] * len(Steps._fields)))
        self._held = readings
