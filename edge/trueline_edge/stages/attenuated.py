"""Attenuated signal test (QARTOD test 10): does the signal move less than the process ever lets it?

A fouled, iced or half-dead sensor need not be flat: it goes on moving, but less.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from trueline_edge.stages.stage import StageSettings, channel_mask, pack_arrays, unpack_arrays, usable
from trueline_edge.stages.windows import sliding_extreme, sliding_std
from trueline_wire.readings import Flag, Readings, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_wire.readings import Schema

__all__ = ["Attenuated"]

_WINDOW_MIN, _WINDOW_MAX = 2, 10_000  # the state saved with each frame holds so many values a channel


class Attenuated(StageSettings, frozen=True, kw_only=True, tag="attenuated"):
    """The spread of the last `window` usable values, the one judged among them, in the channel's unit.

    Attributes:
        suspect: below this spread a value is SUSPECT.
        fail: below this spread it FAILs; 0: none does.
        window: so many values, which should span what the process needs to move.
        measure: "std", their standard deviation (of the population), or "range", the largest less the smallest.
        channels: the channels judged; all where left out.
    """

    suspect: float
    fail: float = 0.0
    window: int = 60
    measure: Literal["std", "range"] = "std"

    def __post_init__(self) -> None:
        if not 0.0 < self.suspect < float("inf"):
            raise ValueError(f"suspect {self.suspect} must be above 0")
        if not 0.0 <= self.fail <= self.suspect:
            raise ValueError(f"fail {self.fail} must be between 0 and suspect")
        if not _WINDOW_MIN <= self.window <= _WINDOW_MAX:
            raise ValueError(f"window {self.window} must be between {_WINDOW_MIN} and {_WINDOW_MAX}")

    @property
    def has_unit(self) -> bool:
        """Limits are in it."""
        return True

    def stage(self, schema: Schema) -> FlagAttenuated:
        """The stage for readings of this schema."""
        return FlagAttenuated(self, schema)


class _Past(NamedTuple):
    """(window - 1, k) the last usable values of each channel, oldest first; NaN where there are fewer."""

    values: NDArray[np.float64]


class FlagAttenuated:
    """Until a channel has shown `window` usable values, nothing can be said, and they stay NOT_EVALUATED."""

    delay = 0

    def __init__(self, config: Attenuated, schema: Schema) -> None:
        self._config = config
        self.schema = schema
        self._judged = channel_mask(schema, config.channels)
        self._past = _Past(np.full((config.window - 1, len(schema.channels)), np.nan))

    def __call__(self, readings: Readings, /) -> Readings:
        trusted = usable(readings) & self._judged
        spread = np.full(trusted.shape, np.nan)
        if trusted.all():
            values = np.concatenate([self._past.values, readings.value])
            if len(readings):
                spread = self._spread(values)
            past = values[len(readings) :]
        else:
            past = self._past.values.copy()
            for k in np.flatnonzero(trusted.any(axis=0)):
                rows = np.flatnonzero(trusted[:, k])
                values = np.concatenate([past[:, k], readings.value[rows, k]])
                spread[rows, k] = self._spread(values)
                past[:, k] = values[len(rows) :]
        self._past = _Past(past)
        return (
            readings.passed(~np.isnan(spread))
            .flagged(spread < self._config.suspect, Flag.SUSPECT, Reason.ATTENUATED_SIGNAL)
            .flagged(spread < self._config.fail, Flag.FAIL, Reason.ATTENUATED_SIGNAL)
        )

    def flush(self) -> Readings:
        """Nothing is held back."""
        return Readings.empty(self.schema)

    def state(self) -> bytes:
        """The values the window still holds."""
        return pack_arrays(*self._past)

    def restore(self, state: bytes) -> None:
        """Go on with the values of another life."""
        self._past = _Past(*unpack_arrays(state, *self._past))

    def _spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, ...) of each window. Where all are clearly lively, a lower bound of it stands for it."""
        window = self._config.window
        span = sliding_extreme(values, window, np.maximum) - sliding_extreme(values, window, np.minimum)
        if self._config.measure == "range":
            return span
        at_least = span / sqrt(2.0 * window)  # the two that are furthest apart alone make so much of a deviation
        return sliding_std(values, window) if (at_least < self._config.suspect).any() else at_least
