"""Flat line test (QARTOD test 8): does the value repeat itself for longer than the process and the sensor allow?"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from trueline_edge.stages.stage import StageSettings, channel_mask, usable
from trueline_wire.readings import Flag, Readings, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_wire.readings import Schema

__all__ = ["FlatLine"]


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


_REPEATS_MAX = 10_000  # the state saved with each frame holds so many values a channel


class _Past(NamedTuple):
    """The last `fail_repeats` measured values of each channel, oldest first; fewer at the start."""

    values: tuple[NDArray[np.float64], ...]


class FlagFlatLine:
    """Compares each value with those before it. A missing or infinite value neither repeats nor breaks a flat line.

    Until `suspect_repeats` values have been seen, nothing can be said, and a value stays NOT_EVALUATED.
    """

    delay = 0

    def __init__(self, config: FlatLine, schema: Schema) -> None:
        self._config = config
        self.schema = schema
        self._judged = np.flatnonzero(channel_mask(schema, config.channels))
        self._tolerance = [c.resolution / 2 if config.tolerance is None else config.tolerance for c in schema.channels]
        self._past = _Past(tuple(np.empty(0) for _ in schema.channels))

    def __call__(self, readings: Readings, /) -> Readings:
        config = self._config
        evaluated, suspect, fail = (np.zeros(readings.value.shape, np.bool_) for _ in range(3))
        kept = list(self._past.values)
        trusted = usable(readings)
        for k in self._judged:
            measured = np.flatnonzero(trusted[:, k])
            past = kept[k]
            values = np.concatenate([past, readings.value[measured, k]])
            new = slice(len(past), None)
            evaluated[measured, k] = np.arange(len(values))[new] >= config.suspect_repeats
            suspect[measured, k] = _repeats(values, config.suspect_repeats, self._tolerance[k])[new]
            fail[measured, k] = _repeats(values, config.fail_repeats, self._tolerance[k])[new]
            kept[k] = values[-config.fail_repeats :]
        self._past = _Past(tuple(kept))
        return (
            readings.passed(evaluated)
            .flagged(suspect, Flag.SUSPECT, Reason.FLAT_LINE)
            .flagged(fail, Flag.FAIL, Reason.FLAT_LINE)
        )

    def flush(self) -> Readings:
        """Nothing is held back."""
        return Readings.empty(self.schema)

    def state(self) -> bytes:
        """The values the next ones are compared with."""
        return msgspec.msgpack.encode([values.tobytes() for values in self._past.values])

    def restore(self, state: bytes) -> None:
        """Go on with the values of another life."""
        columns = msgspec.msgpack.decode(state, type=list[bytes])
        size_max = 8 * self._config.fail_repeats
        if len(columns) != len(self._past.values) or any(len(c) > size_max or len(c) % 8 for c in columns):
            raise ValueError("not the state of this flat line test")
        self._past = _Past(tuple(np.frombuffer(column) for column in columns))


def _repeats(values: NDArray[np.float64], count: int, tolerance: float) -> NDArray[np.bool_]:
    """(n,) bool: is each value within `tolerance` of the `count` values before it? False where there are fewer."""
    flat = np.zeros(len(values), np.bool_)
    if len(values) > count:
        now = values[count:]
        highest = sliding_extreme(values, count + 1, np.maximum)
        lowest = sliding_extreme(values, count + 1, np.minimum)
        flat[count:] = (highest - now <= tolerance) & (now - lowest <= tolerance)
    return flat


def sliding_extreme(values: NDArray[np.float64], width: int, extreme: np.ufunc) -> NDArray[np.float64]:
    """(n - width + 1,) the extreme of each window, in O(n) whatever the width (van Herk 1992; Gil and Werman 1993).

    Args:
        values: (n,) with n at least `width`; no NaN.
        width: of the window, in samples.
        extreme: `np.maximum` or `np.minimum`.
    """
    blocks = -(-len(values) // width)
    padded = np.concatenate([values, np.full(blocks * width - len(values), values[-1])]).reshape(blocks, width)
    forward = extreme.accumulate(padded, axis=1).ravel()
    backward = extreme.accumulate(padded[:, ::-1], axis=1)[:, ::-1].ravel()
    result: NDArray[np.float64] = extreme(backward[: len(values) - width + 1], forward[width - 1 : len(values)])
    return result
