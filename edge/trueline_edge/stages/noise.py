"""Noise test: has the noise of the sensor increased?

A loose contact, moisture, a dying reference or a pump nearby show in it long before the mean moves.

Noise is what changes from value to value with no regard to level and slope: the standard deviation as the second
differences show it, sqrt(mean((x[i] - 2 x[i-1] + x[i-2])^2) / 6) (Gasser, Sroka and Jennen-Steinmetz 1986).
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_edge.stages.stage import StageSettings, channel_mask, pack_arrays, unpack_arrays, usable
from trueline_edge.stages.windows import sliding_sum
from trueline_wire.readings import Flag, Readings, Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_wire.readings import Schema

__all__ = ["Noise"]

_WINDOW_MAX = 10_000  # the state saved with each frame holds so many values a channel


class Noise(StageSettings, frozen=True, kw_only=True, tag="noise"):
    """The noise of the last `window` rows, in the channel's unit, against limits or against what it was at first.

    Attributes:
        suspect: above this noise a value is SUSPECT.
        fail: above this noise it FAILs.
        suspect_times: SUSPECT above so many times the noise of the first `learn_samples` values; left out: no limit.
        fail_times: FAIL above so many times.
        learn_samples: values from which the first noise is learnt, once; not used where both `*_times` are left out.
            A channel quieter than its resolution is taken to have the noise of rounding, resolution / sqrt(12).
        window: rows; at least half of the second differences in it must be known, or nothing is said.
        channels: the channels judged; all where left out.
    """

    suspect: float = inf
    fail: float = inf
    suspect_times: float = inf
    fail_times: float = inf
    learn_samples: int = 600
    window: int = 60

    def __post_init__(self) -> None:
        for name in ("suspect", "fail", "suspect_times", "fail_times"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} {getattr(self, name)} must be above 0")
        if min(self.suspect, self.fail, self.suspect_times, self.fail_times) == inf:
            raise ValueError("one of suspect, fail, suspect_times and fail_times is wanted")
        if not 4 <= self.window <= _WINDOW_MAX:  # noqa: PLR2004 - two second differences
            raise ValueError(f"window {self.window} must be between 4 and {_WINDOW_MAX}")
        if not 10 <= self.learn_samples <= 10**9:  # noqa: PLR2004 - from fewer nothing is learnt
            raise ValueError(f"learn_samples {self.learn_samples} must be between 10 and 1000000000")

    @property
    def has_unit(self) -> bool:
        """`suspect` and `fail` are in it; `*_times` have none."""
        return min(self.suspect, self.fail) < inf

    def stage(self, schema: Schema) -> FlagNoise:
        """The stage for readings of this schema."""
        return FlagNoise(self, schema)


class _Past(NamedTuple):
    """(2, k) the last two rows' values, NaN where not usable; (window - 1, k) squared second differences, NaN likewise.

    (2, k) of the first noise: how many squares were summed up, and their sum.
    """

    values: NDArray[np.float64]
    squares: NDArray[np.float64]
    learnt: NDArray[np.float64]


class FlagNoise:
    """A second difference is known where three rows in a row are usable. The first noise is learnt once and stays."""

    delay = 0

    def __init__(self, config: Noise, schema: Schema) -> None:
        self._config = config
        self.schema = schema
        k = len(schema.channels)
        self._judged = channel_mask(schema, config.channels)
        self._least = np.array([c.resolution for c in schema.channels]) ** 2 / 12.0
        self._learns = min(config.suspect_times, config.fail_times) < inf
        self._past = _Past(np.full((2, k), np.nan), np.full((config.window - 1, k), np.nan), np.zeros((2, k)))

    def __call__(self, readings: Readings, /) -> Readings:
        if not len(readings):
            return readings
        config, n = self._config, len(readings)
        trusted = usable(readings)
        trusted &= self._judged
        value = readings.value if trusted.all() else np.where(trusted, readings.value, np.nan)
        values = np.concatenate([self._past.values, value])
        second = values[2:] - values[1:-1]
        second -= values[1:-1]
        second += values[:-2]
        squares = np.concatenate([self._past.squares, second * second])
        variance = self._variance(squares)
        suspect: NDArray[np.float64] | float = config.suspect**2 if config.suspect < inf else inf
        fail: NDArray[np.float64] | float = config.fail**2 if config.fail < inf else inf
        learnt = self._past.learnt
        if self._learns:
            first, learnt = self._learn(squares[config.window - 1 :])
            suspect = np.fmin(suspect, first * config.suspect_times**2) if config.suspect_times < inf else suspect
            fail = np.fmin(fail, first * config.fail_times**2) if config.fail_times < inf else fail
            if min(config.suspect, config.fail) == inf and np.isnan(first).any():
                variance[np.isnan(first)] = np.nan
        self._past = _Past(values[n:], squares[n:], learnt)
        known = ~np.isnan(variance)
        known &= trusted
        readings = readings.passed(known)
        for limit, flag in ((suspect, Flag.SUSPECT), (fail, Flag.FAIL)):
            if limit is not inf and (loud := variance > limit).any():
                readings = readings.flagged(loud & known, flag, Reason.NOISE)
        return readings

    def flush(self) -> Readings:
        """Nothing is held back."""
        return Readings.empty(self.schema)

    def state(self) -> bytes:
        """The window, and the noise learnt."""
        return pack_arrays(*self._past)

    def restore(self, state: bytes) -> None:
        """Go on with the window of another life."""
        self._past = _Past(*unpack_arrays(state, *self._past))

    def _variance(self, squares: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, k) the variance of the noise in the window that ends at each row; NaN where too little is known."""
        window = self._config.window
        whole = sliding_sum(squares, window)
        if not np.isnan(whole).any():
            whole /= 6.0 * window
            return whole
        known = ~np.isnan(squares)
        count = sliding_sum(known.astype(np.float64), window)
        total = sliding_sum(np.where(known, squares, 0.0), window)
        variance: NDArray[np.float64] = np.where(count >= window / 2.0, total / (6.0 * np.maximum(count, 1.0)), np.nan)
        return variance

    def _learn(self, squares: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n, k), or (k,) once learnt: the variance of the first noise, NaN on rows before; what to remember."""
        wanted = float(self._config.learn_samples)
        had = self._past.learnt
        if (had[0] >= wanted).all():
            first = np.maximum(had[1] / (6.0 * wanted), self._least)
            return first, had
        known = ~np.isnan(squares)
        count = np.cumsum(np.concatenate([had[:1], known]), axis=0)
        taken = np.where(known & (count[1:] <= wanted), squares, 0.0)
        total = np.cumsum(np.concatenate([had[1:], taken]), axis=0)
        first = np.maximum(total[1:] / (6.0 * wanted), self._least)
        first[count[1:] < wanted] = np.nan
        return first, np.stack([np.minimum(count[-1], wanted), total[-1]])
