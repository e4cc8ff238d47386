"""A sensor as its datasheet describes it, and the uncertainty the datasheet alone lets one state (GUM type B).

Promises: `SensorBank` draws every individual's errors from exactly the distributions assumed here, so that the coverage
a sensor's intervals deserve is known before it is measured. Refuses to know any individual, and any truth.

The reading of an individual, of truth x in unit [x], at time t after calibration, ambient T and relative humidity H:

    y = Q(clip(P(L(x)) + b + g (x' - x0) + n s(z) + c (T - 25 degC) + h (H - 50 %) + w + walk(t) + a t + 1/f + white))

    L  first-order lag of `response_s`           P  play (backlash) of half-width `hysteresis`
    b  bias, g gain error about x0 (`pivot`: zero, or the end of the span nearest to it), n bow, c, h, w self-heating,
       a ageing: drawn once for each individual, rectangular between minus and plus the figure (w: 0 and the figure)
    s  (z - z^3) 3 sqrt(3) / 2, z from -1 to 1 over the span: zero in the middle and at both ends, one at its extremes
    Q  rounding to `resolution`

Rectangular because a datasheet's tolerance says no more (JCGM 100:2008, 4.3.7). The lag, and the waiting of a part that
is asked sooner than it can measure, are left out of the uncertainty: they depend on the truth, not on the sensor alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = ["AMBIENT_DEGC", "DAY_S", "HUMIDITY_PCT", "YEAR_S", "Contribution", "SensorModel"]

AMBIENT_DEGC: Final = 25.0
"""Ambient temperature at which datasheets state their figures."""

HUMIDITY_PCT: Final = 50.0
"""Relative humidity at which datasheets state their figures."""

DAY_S: Final = 86_400.0
YEAR_S: Final = 365.25 * DAY_S

_BOW_RMS: Final = math.sqrt(27 / 4 * (1 / 3 - 2 / 5 + 1 / 7))
"""Root mean square of s(z) over z uniform from -1 to 1."""


class Contribution(NamedTuple):
    """A line of the uncertainty budget.

    Attributes:
        name: the field it comes from.
        u: standard uncertainty, in the sensor's unit.
        constant: it is the same in all readings of one individual (a matter between devices, not within one).
        normal: it is normally distributed; else rectangular, or a product of two rectangular ones.
    """

    name: str
    u: float
    constant: bool
    normal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorModel:
    """Datasheet figures; [x] is the sensor's unit. Zero means: not there.

    Attributes:
        part: as it is sold, "SHT31".
        quantity: what it measures, "temperature".
        unit: UCUM code of [x].
        source: where the figures are from.
        range_low: readings never go below (saturation), [x].
        range_high: readings never go above, [x].
        span_low: where the figures hold from, [x]; -inf: from `range_low`.
        span_high: where they hold to, [x]; inf: to `range_high`.
        resolution: smallest step of a reading, [x].
        noise_density: white noise, [x]/sqrt(Hz).
        bandwidth_hz: noise bandwidth of one reading: its standard deviation is noise_density sqrt(bandwidth_hz).
        flicker: standard deviation of the 1/f noise over the simulated octaves, [x].
        bias_max: offset, half-width of a rectangle, [x].
        gain_error_max: relative error of the distance from `pivot`, half-width.
        nonlinearity: bow, half-width of its extreme, [x].
        temperature_coefficient: half-width, [x]/K.
        ambient_swing_K: half-width of the ambient temperatures (around 25 degC) that the uncertainty allows for.
        humidity_coefficient: half-width, [x] per % of relative humidity.
        humidity_swing_pct: half-width of the humidities (around 50 %) that the uncertainty allows for.
        hysteresis: half-width of the play, [x].
        response_s: time constant of the lag (63 %), s.
        self_heating: error when read as fast as possible, at most, [x]; goes down with the interval.
        drift_walk: random walk, [x]/sqrt(day).
        ageing: half-width, [x]/year.
        interval_min_s: shortest time between two measurements, s; asked sooner, it says again what it said last.
        energy_J: energy of one reading.
        price_eur: of one piece, about, for comparisons.
    """

    part: str
    quantity: str
    unit: str
    source: str
    range_low: float
    range_high: float
    span_low: float = -math.inf
    span_high: float = math.inf
    resolution: float = 0.0
    noise_density: float = 0.0
    bandwidth_hz: float = 1.0
    flicker: float = 0.0
    bias_max: float = 0.0
    gain_error_max: float = 0.0
    nonlinearity: float = 0.0
    temperature_coefficient: float = 0.0
    ambient_swing_K: float = 20.0  # noqa: N815 - the unit keeps its capital
    humidity_coefficient: float = 0.0
    humidity_swing_pct: float = 30.0
    hysteresis: float = 0.0
    response_s: float = 0.0
    self_heating: float = 0.0
    drift_walk: float = 0.0
    ageing: float = 0.0
    interval_min_s: float = 0.0
    energy_J: float = 0.0  # noqa: N815 - as above
    price_eur: float = 0.0

    @property
    def name(self) -> str:
        """Part and quantity, as in the catalogue: "SHT31/temperature"."""
        return f"{self.part}/{self.quantity}"

    @property
    def span(self) -> tuple[float, float]:
        """Where the figures hold, [x]."""
        return max(self.span_low, self.range_low), min(self.span_high, self.range_high)

    @property
    def pivot(self) -> float:
        """Where an error of gain makes none: zero, or the end of the span nearest to it, [x]."""
        low, high = self.span
        return min(max(0.0, low), high)

    @property
    def noise(self) -> float:
        """Standard deviation of the white noise of one reading, [x]."""
        return self.noise_density * math.sqrt(self.bandwidth_hz)

    def heating(self, interval_s: float) -> float:
        """Self-heating at most when read at this interval, [x]: in proportion to the time it is switched on."""
        return self.self_heating * min(1.0, self.interval_min_s / interval_s if self.interval_min_s else 1.0)

    def budget(self, interval_s: float, *, run_s: float = 0.0) -> tuple[Contribution, ...]:
        """Line by line, what makes up the standard uncertainty.

        Args:
            interval_s: between readings.
            run_s: time the readings span since calibration: drift and ageing count with their mean square over it.
        """
        low, high = (end - self.pivot for end in self.span)
        # Of x - x0, for a truth anywhere in the span.
        distance = math.sqrt((high**3 - low**3) / (3 * (high - low)))
        third = 1 / math.sqrt(3)
        days, years = run_s / DAY_S, run_s / YEAR_S
        lines = (
            Contribution("bias_max", self.bias_max * third, constant=True, normal=False),
            Contribution("gain_error_max", self.gain_error_max * distance * third, constant=True, normal=False),
            Contribution("nonlinearity", self.nonlinearity * third * _BOW_RMS, constant=True, normal=False),
            Contribution(
                "temperature_coefficient",
                self.temperature_coefficient * self.ambient_swing_K / 3,
                constant=True,
                normal=False,
            ),
            Contribution(
                "humidity_coefficient",
                self.humidity_coefficient * self.humidity_swing_pct / 3,
                constant=True,
                normal=False,
            ),
            Contribution("self_heating", self.heating(interval_s) * third, constant=True, normal=False),
            Contribution("ageing", self.ageing * years / 3, constant=True, normal=False),
            Contribution("hysteresis", self.hysteresis * third, constant=False, normal=False),
            Contribution("drift_walk", self.drift_walk * math.sqrt(days / 2), constant=False, normal=True),
            Contribution("flicker", self.flicker, constant=False, normal=True),
            Contribution("noise_density", self.noise, constant=False, normal=True),
            Contribution("resolution", self.resolution / math.sqrt(12), constant=False, normal=False),
        )
        return tuple(line for line in lines if line.u > 0.0)

    def standard_uncertainty(self, interval_s: float, *, run_s: float = 0.0) -> float:
        """What the datasheet alone lets one state of one reading, [x]: root of the sum of squares of the budget.

        Args:
            interval_s: between readings.
            run_s: see `budget`.
        """
        return math.sqrt(sum(line.u**2 for line in self.budget(interval_s, run_s=run_s)))
