"""What each fault of a sensor does to the readings it touches: one pure function a kind.

Promises: arrays given are left untouched. A sensor's fault happens before its converter, so that what comes out is
rounded to the sensor's resolution again: digits that no sensor shows would give the fault away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["EFFECTS", "RANDOM", "UNITS", "Touched"]

UNITS: Final[dict[str, tuple[float, float]]] = {
    "Cel": (1.8, 32.0),  # Fahrenheit
    "%": (0.01, 0.0),  # a share
    "bar": (100.0, 0.0),  # kPa
    "hPa": (0.1, 0.0),  # kPa
    "kPa": (10.0, 0.0),  # hPa
    "m/s2": (1 / 9.80665, 0.0),  # g
    "[g]": (9.80665, 0.0),  # m/s2
    "L/min": (0.06, 0.0),  # m3/h
    "lx": (0.0929, 0.0),  # foot-candle
    "m": (3.2808, 0.0),  # feet
}
"""Factor and offset of the unit a channel is mistaken for; of any other unit: a thousandth."""


class Touched(NamedTuple):
    """The readings of one channel of one device that a fault touches, or the next piece of them.

    Attributes:
        value: (m,) what the sensor would have said.
        partner: (m,) what the other channel would have said, for `swapped_channels`.
        anchor: the first reading of all those touched.
        progress: (m,) 0 at the fault's start, 1 at its end.
        normal: (m, 2) standard normal numbers, for the kinds in `RANDOM`.
        size: magnitude in the channel's unit: magnitude times u.
        magnitude: as labelled.
        unit: UCUM code of the channel.
    """

    value: Array
    partner: Array
    anchor: float
    progress: Array
    normal: Array
    size: float
    magnitude: float
    unit: str


def _stuck(at: Touched) -> Array:
    return np.full_like(at.value, at.anchor)


def _offset(at: Touched) -> Array:
    return at.value + at.size


def _burst(at: Touched) -> Array:
    return at.value + np.where(at.normal[:, 1] > 0.0, at.normal[:, 0] * at.size, 0.0)


def _drift(at: Touched) -> Array:
    return at.value + at.size * at.progress


def _gain_change(at: Touched) -> Array:
    return at.anchor + (at.value - at.anchor) * at.magnitude


def _noise_increase(at: Touched) -> Array:
    return at.value + at.normal[:, 0] * at.size


def _saturation(at: Touched) -> Array:
    return np.minimum(at.value, at.anchor - at.size)


def _nan_run(at: Touched) -> Array:
    return np.full_like(at.value, np.nan)


def _unit_flip(at: Touched) -> Array:
    factor, offset = UNITS.get(at.unit, (0.001, 0.0))
    return at.value * factor + offset


def _swapped_channels(at: Touched) -> Array:
    return at.partner


EFFECTS: Final[dict[str, Callable[[Touched], Array]]] = {
    "stuck": _stuck,
    "spike": _offset,
    "burst": _burst,
    "bias_step": _offset,
    "drift": _drift,
    "gain_change": _gain_change,
    "noise_increase": _noise_increase,
    "saturation": _saturation,
    "nan_run": _nan_run,
    "unit_flip": _unit_flip,
    "swapped_channels": _swapped_channels,
}

RANDOM: Final = frozenset({"burst", "noise_increase"})
"""Kinds that draw."""
