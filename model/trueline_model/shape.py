"""How a channel changed: in one row or slowly, frozen, or alone in its noise; and what kind of sensor fault that is.

A process has inertia: what it does takes a few rows at least, and it has done much of it before. The error of a sensor
comes at once (a loose contact, another range, a wrong unit) or creeps; and only a sensor can stand still to the last
digit where it never did, or say another channel's numbers.

Refuses to know how the others moved: `moves`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from trueline_model.arrays import array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["LATE_ROWS", "SWAPPED", "Kind", "Motion", "Shape", "fit_motion"]

Kind = Literal[
    "", "nan_run", "stuck", "spike", "noise_increase", "drift", "bias_step",
    "burst", "gain_change", "saturation", "unit_flip", "swapped_channels",
]  # fmt: skip
"""Kinds of sensor fault, by the names simulators label them with; "" for the process."""

LATE_ROWS: Final = 6
"""Rows before the alarm in which what it is about may have begun."""

_BEFORE: Final = 30
_FEW: Final = 8
_OUT: Final = 5.0
_LOUD: Final = 3.0
_HALF: Final = 0.5
SWAPPED: Final = 0.7
"""From here on two channels have changed places."""
_MOVED: Final = 6.0
_SPIKE_ROWS: Final = 2
_SAME: Final = 0.03
_FACTORS: Final = (1e3, 1e2, 1e1, 9.80665, 1.0 / 0.06, 1.0 / 0.0929, 3.2808)
_UNITS: Final = (
    (1.8, 32.0),
    (1.0 / 1.8, -32.0 / 1.8),
    (1.0, 273.15),
    (1.0, -273.15),
    *((factor, 0.0) for factor in _FACTORS),
    *((1.0 / factor, 0.0) for factor in _FACTORS),
)
"""Factor and offset between units people mix up: degrees, powers of ten, g, m3/h, foot-candles, feet."""


class Shape(NamedTuple):
    """How one channel changed.

    Attributes:
        step: log10 of its fastest step over the fastest in normal running, -0.5 to 1.5.
        frozen: log2 of its longest run of equal values over the longest in normal running, 0 to 4.
        sharp: share of its move that was done in one row, 0 to 1.5: above 1 it went back.
        smooth: autocorrelation of neighbouring rows, -1 to 1.
        swapped: how well it says what another channel said before, and that one what it said, 0 to 1.
    """

    step: float
    frozen: float
    sharp: float
    smooth: float
    swapped: float


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """How channels move from row to row while nothing is wrong; (k,) each, the channels' units.

    Attributes:
        noise: mean squared difference of neighbouring rows.
        step: greatest difference of neighbouring rows.
        run: rows of the longest run of equal values.
    """

    noise: Array
    step: Array
    run: Array

    def shape(self, value: Array, begun: int, channel: int, move: float) -> Shape:
        """How a channel changed.

        Args:
            value: (n, k), without gaps.
            begun: row the alarm began with.
            channel: which.
            move: how far its mean moved, its unit.
        """
        start = max(begun - LATE_ROWS, 1)
        now = value[start:, channel]
        steps = np.abs(np.diff(value[start - 1 :, channel]))
        fastest = float(steps.max())
        sigma = max(float(np.sqrt(self.noise[channel] / 2.0)), 1e-12)
        around = now - np.median(now)
        power = float(np.sum(around**2))
        return Shape(
            float(np.clip(np.log10((fastest + 1e-12) / (self.step[channel] + 1e-12)), -0.5, 1.5)),
            float(np.clip(np.log2((_longest(now) + 1) / (self.run[channel] + 1)), 0.0, 4.0)),
            min(fastest / max(move, 3.0 * sigma), 1.5),
            float(np.sum(around[1:] * around[:-1])) / power if power > 0.0 else 1.0,
            self._swapped(value, start + int(steps.argmax()), channel),
        )

    def kind(self, value: Array, valid: NDArray[np.bool_], begun: int, channel: int) -> Kind:
        """The kind of fault of a channel that is at fault.

        Args:
            value: (n, k), without gaps.
            valid: (n, k), False where `value` is only held.
            begun: row the alarm began with.
            channel: which.
        """
        start = max(begun - LATE_ROWS, 1)
        steps = np.abs(np.diff(value[start - 1 :, channel]))
        jump = start + int(steps.argmax())
        if self._swapped(value, jump, channel) > SWAPPED:
            return "swapped_channels"
        if valid[begun:, channel].mean() < _HALF:
            return "nan_run"
        before, now = value[max(start - _BEFORE, 0) : start, channel], value[start:, channel]
        sigma = max(float(np.sqrt(self.noise[channel] / 2.0)), 1e-12)
        return self._of_rows(before, now, value[jump:, channel], sigma, float(self.run[channel]))

    @staticmethod
    def _of_rows(before: Array, now: Array, after: Array, sigma: float, run: float) -> Kind:
        """From rows before, since the alarm, and since the fastest step; `sigma` of its noise, longest `run`."""
        usual, level = float(np.median(before)), float(np.median(after))
        away = np.abs(now - usual)
        out = int(np.sum(away > _OUT * max(sigma, float(np.std(np.diff(before))) / np.sqrt(2.0))))
        if _longest(now) > max(2.0 * run, _FEW):
            return "stuck" if abs(level - float(before[-1])) < _OUT * sigma else "saturation"
        if 1 <= out <= _SPIKE_ROWS:
            return "spike"
        if abs(level - usual) > _MOVED * _MOVED * sigma and _converted(usual, level):
            return "unit_flip"
        rough = float(np.mean(np.sort(np.diff(now) ** 2)[:-1])) / (2.0 * sigma**2)
        if rough > _LOUD and abs(float(np.median(now)) - usual) < _HALF * np.ptp(now):
            # A burst leaves about every other reading as it is, and is soon over.
            return "burst" if float(np.median(away)) < _OUT * sigma else "noise_increase"
        if rough < 1.0 / _LOUD:
            return "gain_change"
        third = max(len(now) // 3, 1)
        moved = max(abs(float(now[:third].mean()) - usual), abs(float(now[-third:].mean()) - usual))
        return "drift" if np.abs(np.diff(now)).max() < _HALF * moved else "bias_step"

    def _swapped(self, value: Array, jump: int, channel: int) -> float:
        """How well a channel goes on with the values of another, and that one with these; 1 is wholly."""
        before = np.median(value[max(jump - _FEW, 0) : jump], axis=0)
        after = np.median(value[jump : jump + _FEW], axis=0)
        gone, far = np.abs(after - before), _MOVED * np.sqrt(self.noise / 2.0)
        others = [j for j in range(len(gone)) if j != channel and gone[j] > far[j] and gone[channel] > far[channel]]
        apart = (
            max(abs(after[channel] - before[j]) / gone[channel], abs(after[j] - before[channel]) / gone[j])
            for j in others
        )
        return float(max(1.0 - min(apart, default=1.0), 0.0))

    def arrays(self) -> dict[str, Array]:
        """What to keep of it in a package."""
        return {"noise": self.noise, "step": self.step, "run": self.run}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Motion:
        """The motion whose `arrays()` these are.

        Raises:
            ConfigError: one is missing, or of another shape.
        """
        noise = array(arrays, "noise", 1)
        return cls(noise, array(arrays, "step", 1, noise.shape), array(arrays, "run", 1, noise.shape))


def fit_motion(recordings: Sequence[Array]) -> Motion:
    """From recordings (n, k) of normal running, without gaps."""
    steps = np.concatenate([np.diff(each, axis=0) for each in recordings])
    largest = np.max([np.abs(each).max(axis=0) for each in recordings], axis=0)
    noise = np.maximum(np.mean(steps**2, axis=0), 1e-12 * np.maximum(largest, 1e-9) ** 2)
    run = np.max([[_longest(column) for column in each.T] for each in recordings], axis=0)
    return Motion(noise, np.abs(steps).max(axis=0), run.astype(np.float64))


def _longest(column: Array) -> int:
    """Rows of the longest run of equal values."""
    edges = np.flatnonzero(np.diff(column) != 0.0)
    return int(np.diff(np.concatenate([[-1], edges, [len(column) - 1]])).max())


def _converted(before: float, after: float) -> bool:
    """Is the level after the level before in another unit, to within three per cent?"""
    return any(abs(factor * before + offset - after) < _SAME * abs(after) for factor, offset in _UNITS)
