"""Flat line test (QARTOD test 8): does the value repeat itself for longer than the process and the sensor allow?"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_edge.stages.stage import StageSettings, channel_mask, pack_arrays, unpack_arrays, usable
from trueline_edge.stages.windows import sliding_extreme
from trueline_wire.readings import Flag, Readings, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_wire.readings import Schema

__all__ = ["FlatLine"]

_REPEATS_MAX = 10_000  # the state saved with each frame holds so many values a channel
_LOOK_BACK = 6  # so many values back, before windows are looked at


class FlatLine(StageSettings, frozen=True, kw_only=True, tag="flat_line"):
    """A value within `tolerance` of each of so many values before it is flat.

    Attributes:
        suspect_repeats: so many repeats make a value SUSPECT (QARTOD: 3).
        fail_repeats: so many make it FAIL (QARTOD: 5).
        tolerance: in the channel's unit; where left out, half the channel's resolution: the sensor shows the same step.
        channels: the channels judged; all where left out.
    """

    suspect_repeats: int = 3
    fail_repeats: int = 5
    tolerance: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.suspect_repeats <= self.fail_repeats <= _REPEATS_MAX:
            raise ValueError(
                f"suspect_repeats {self.suspect_repeats} and fail_repeats {self.fail_repeats} must be at least 1, "
                f"in this order, and at most {_REPEATS_MAX}"
            )
        if self.tolerance is not None and not 0.0 <= self.tolerance < float("inf"):
            raise ValueError(f"tolerance {self.tolerance} must be a number that is not negative")

    def stage(self, schema: Schema) -> FlagFlatLine:
        """The stage for readings of this schema."""
        return FlagFlatLine(self, schema)


class _Past(NamedTuple):
    """(fail_repeats, k) the last usable values of each channel, oldest first; NaN where there are fewer."""

    values: NDArray[np.float64]


class FlagFlatLine:
    """Compares each value with those before it. An unusable value neither repeats nor breaks a flat line.

    Until `suspect_repeats` values have been seen, nothing can be said, and a value stays NOT_EVALUATED.
    """

    delay = 0

    def __init__(self, config: FlatLine, schema: Schema) -> None:
        self._config = config
        self.schema = schema
        self._judged = channel_mask(schema, config.channels)
        tolerance = [c.resolution / 2 if config.tolerance is None else config.tolerance for c in schema.channels]
        self._tolerance = np.array(tolerance)
        self._past = _Past(np.full((config.fail_repeats, len(schema.channels)), np.nan))

    def __call__(self, readings: Readings, /) -> Readings:
        trusted = usable(readings) & self._judged
        if trusted.all():
            repeats, evaluated, past = self._judge(self._past.values, readings.value, self._tolerance)
        else:
            repeats, evaluated, past = np.zeros(trusted.shape, np.int8), trusted.copy(), self._past.values.copy()
            for k in np.flatnonzero(trusted.any(axis=0)):
                rows = trusted[:, k]
                repeats[rows, k], evaluated[rows, k], past[:, k] = self._judge(
                    self._past.values[:, k], readings.value[rows, k], self._tolerance[k]
                )
        self._past = _Past(past)
        return (
            readings.passed(evaluated)
            .flagged(repeats >= 1, Flag.SUSPECT, Reason.FLAT_LINE)
            .flagged(repeats > 1, Flag.FAIL, Reason.FLAT_LINE)
        )

    def flush(self) -> Readings:
        """Nothing is held back."""
        return Readings.empty(self.schema)

    def state(self) -> bytes:
        """The values the next ones are compared with."""
        return pack_arrays(self._past.values)

    def restore(self, state: bytes) -> None:
        """Go on with the values of another life."""
        self._past = _Past(*unpack_arrays(state, self._past.values))

    def _judge(
        self, past: NDArray[np.float64], now: NDArray[np.float64], tolerance: NDArray[np.float64]
    ) -> tuple[NDArray[np.int8], NDArray[np.bool_], NDArray[np.float64]]:
        """(n, ...) 0, 1 suspect or 2 fail; whether there were values enough to say so; the past of the next."""
        suspect, fail = self._config.suspect_repeats, self._config.fail_repeats
        values = np.concatenate([past, now])
        evaluated = ~np.isnan(values[fail - suspect : len(values) - suspect])
        repeats = np.zeros(now.shape, np.int8)
        if _any_repeat(values, min(suspect, _LOOK_BACK), now, tolerance):
            repeats += _repeat(values[fail - suspect :], suspect, now, tolerance)
            if repeats.any():
                repeats += _repeat(values, fail, now, tolerance)
        return repeats, evaluated, values[len(values) - fail :]


def _any_repeat(
    values: NDArray[np.float64], count: int, now: NDArray[np.float64], tolerance: NDArray[np.float64]
) -> bool:
    """Is any of the last n of `values` within the tolerance of each of the `count` before it? Cheap where none is."""
    start, k = len(values) - len(now), now[:1].size
    flat, old = now.reshape(-1), values.reshape(-1)
    within = np.broadcast_to(tolerance, now.shape).reshape(-1)
    cells = np.flatnonzero(np.abs(now - values[start - 1 : -1]) <= tolerance)
    for lag in range(2, count + 1):
        cells = cells[np.abs(flat[cells] - old[cells + (start - lag) * k]) <= within[cells]]
    return len(cells) > 0


def _repeat(
    values: NDArray[np.float64], count: int, now: NDArray[np.float64], tolerance: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(n, ...) is each of the last n of `values` within the tolerance of the `count` before it? NaN is not."""
    highest = sliding_extreme(values, count + 1, np.maximum)
    lowest = sliding_extreme(values, count + 1, np.minimum)
    flat: NDArray[np.bool_] = (highest - now <= tolerance) & (now - lowest <= tolerance)
    return flat
