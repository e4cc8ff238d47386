"""The coverage a sensor's intervals deserve: the exact share within so many standard uncertainties.

Nearer to the GUM's Monte Carlo supplement (JCGM 101:2008) than to its formula: the distribution of the error is the
convolution of what `SensorModel` says, and need not be normal: where a rectangle rules, 95 % intervals hold all.

Promises: exact to 1e-4 for a truth that stands still, anywhere within a step of the resolution, in surroundings that
stand still. A moving truth adds lag, which no datasheet knows, and makes play one-sided. Refuses to look at readings:
this is what they are compared with.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from trueline_sim.sensors.bank import bow
from trueline_sim.sensors.model import AMBIENT_DEGC, DAY_S, HUMIDITY_PCT, YEAR_S

if TYPE_CHECKING:
    from trueline_sim.sensors.model import SensorModel

__all__ = ["expected_coverage"]

_TERMS: Final = 4000
_SIGMAS: Final = 9.0


def expected_coverage(
    model: SensorModel,
    half_width: float,
    *,
    truth: float,
    interval_s: float,
    elapsed_s: float = 0.0,
    ambient_degC: float = AMBIENT_DEGC,  # noqa: N803 - the unit keeps its capital
    humidity_pct: float = HUMIDITY_PCT,
) -> float:
    """Share of individuals whose reading is within `half_width` of the truth.

    The error is a sum of independent rectangles of half-widths a_i and a normal of standard deviation s; its
    characteristic function is known, and a cosine series over an interval that holds all of it gives the share.

    Args:
        model: the datasheet.
        half_width: of the interval, in the model's unit, such as 1.96 u.
        truth: constant, well within the range.
        interval_s: between readings.
        elapsed_s: since calibration.
        ambient_degC: constant.
        humidity_pct: constant.
    """
    low, high = model.span
    off_middle = truth - (low + high) / 2
    heating = model.heating(interval_s)
    rectangles = np.abs(
        [
            model.bias_max,
            model.gain_error_max * (truth - model.pivot),
            model.nonlinearity * float(bow(np.array(off_middle / ((high - low) / 2)))),
            model.temperature_coefficient * (ambient_degC - AMBIENT_DEGC),
            model.humidity_coefficient * (humidity_pct - HUMIDITY_PCT),
            heating / 2,
            model.ageing * elapsed_s / YEAR_S,
            model.hysteresis,
            model.resolution / 2,
        ]
    )
    sigma = math.sqrt(model.noise**2 + model.flicker**2 + model.drift_walk**2 * elapsed_s / DAY_S)
    reach = float(rectangles.sum()) + heating / 2 + _SIGMAS * sigma
    if half_width >= reach:
        return 1.0
    order = np.arange(1, _TERMS + 1)
    frequency = order * np.pi / reach
    characteristic = np.exp(-0.5 * (sigma * frequency) ** 2) * np.cos(frequency * heating / 2)
    characteristic = characteristic * np.prod(np.sinc(np.outer(rectangles, frequency / np.pi)), axis=0)
    series = characteristic * np.sin(frequency * half_width) / (order * np.pi)
    return float(half_width / reach + 2.0 * series.sum())
