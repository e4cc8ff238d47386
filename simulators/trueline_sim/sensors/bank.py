"""Individuals of one part, one in each device, looking at the truth.

Promises: every individual's errors are drawn from the distributions `SensorModel.standard_uncertainty` assumes, and the
readings are the same, bit for bit, wherever time is cut into blocks: each kind of noise has its own stream, drawn in
time order, and all that remembers is carried over. Refuses to know faults: a sensor here works as its datasheet says.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy.signal import lfilter

from trueline_sim.randomness import stream
from trueline_sim.sensors.model import AMBIENT_DEGC, DAY_S, HUMIDITY_PCT, YEAR_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_sim.sensors.model import SensorModel

    Array = NDArray[np.float64]

__all__ = ["Flicker", "Individuals", "SensorBank", "bow", "quantise"]

_WHOLE: Final = 1e-9
_BOW: Final = 1.5 * math.sqrt(3.0)
_OCTAVE_STEPS: Final = (2.0, 16.0, 128.0, 1024.0)
"""Time constants of the 1/f noise, three octaves apart, in readings."""


def bow(z: Array) -> Array:
    """The shape of a nonlinearity: 0 at -1, 0 and 1, at most 1 between; z (…), clipped to -1 … 1."""
    z = np.clip(z, -1.0, 1.0)
    shape: Array = (z - z * z * z) * _BOW
    return shape


def quantise(reading: Array, step: float) -> None:
    """Round to whole steps, in place; a step of 0.0 leaves it as it is.

    Where a unit is a whole number of steps, 21.3 comes out as 21.3 is written, bit for bit.
    """
    if step <= 0.0:
        return
    per_unit = 1.0 / step
    whole = round(per_unit)
    if abs(per_unit - whole) < _WHOLE * per_unit:
        reading *= whole
        np.rint(reading, out=reading)
        reading /= whole
    else:
        reading /= step
        np.rint(reading, out=reading)
        reading *= step


class Individuals(NamedTuple):
    """What was drawn once for each device; all (devices,), in the units of the model's fields."""

    bias: Array
    gain_error: Array
    nonlinearity: Array
    temperature_coefficient: Array
    humidity_coefficient: Array
    self_heating: Array
    ageing: Array
    play: Array


def _draw(model: SensorModel, devices: int, seed: int, name: str, interval_s: float) -> Individuals:
    def rectangular(field: str, half_width: float) -> Array:
        return stream(seed, name, "individual", field).uniform(-half_width, half_width, devices)

    return Individuals(
        bias=rectangular("bias", model.bias_max),
        gain_error=rectangular("gain", model.gain_error_max),
        nonlinearity=rectangular("nonlinearity", model.nonlinearity),
        temperature_coefficient=rectangular("temperature", model.temperature_coefficient),
        humidity_coefficient=rectangular("humidity", model.humidity_coefficient),
        self_heating=np.abs(rectangular("self heating", model.heating(interval_s))),
        ageing=rectangular("ageing", model.ageing),
        play=rectangular("play", model.hysteresis),
    )


class Flicker:
    """1/f noise of standard deviation one: a few first-order processes, three octaves apart, on one white noise.

    Each process k is y[n] = a_k y[n-1] + g_k w[n] with g_k = sqrt(1 - a_k) ~ sqrt(corner frequency), so that where one
    has fallen the next takes over: power about as 1/f from one corner to the last (as the parallel form of Keshner,
    "1/f noise", Proc. IEEE 70(3), 1982, sec. IV). Their sum is one recursive filter; it starts as if it had always run.
    """

    def __init__(self, devices: int, rng: np.random.Generator) -> None:
        self._rng = rng
        poles = np.exp(-1.0 / np.array(_OCTAVE_STEPS))
        gains = np.sqrt(1.0 - poles)
        # Stationary covariance of the processes, which share their white noise.
        covariance = np.outer(gains, gains) / (1.0 - np.outer(poles, poles))
        scale = 1.0 / math.sqrt(covariance.sum())
        self._a = np.poly(poles)
        self._b: Array = scale * sum(gain * np.poly(np.delete(poles, k)) for k, gain in enumerate(gains))
        before = rng.standard_normal((devices, len(poles))) @ np.linalg.cholesky(covariance).T * scale
        free = np.stack([before @ poles**n for n in range(1, len(poles) + 1)])
        # State of the transposed direct form II that goes on as the processes would, without input.
        self._state = np.stack([self._a[: k + 1][::-1] @ free[: k + 1] for k in range(len(poles))])

    def __call__(self, white: Array) -> Array:
        """The next steps; `white` (steps, devices) is overwritten."""
        self._rng.standard_normal(out=white)
        noise, self._state = lfilter(self._b, self._a, white, axis=0, zi=self._state)
        return noise  # type: ignore[no-any-return]  # scipy is not typed


class SensorBank:
    """One sensor of a model in each device.

    Args:
        model: its datasheet.
        devices: how many.
        seed: of the world.
        name: of the channel: another name draws other individuals.
        interval_s: between readings.
    """

    def __init__(self, model: SensorModel, *, devices: int, seed: int, name: str, interval_s: float) -> None:
        self.model = model
        self.interval_s = interval_s
        self.individuals = _draw(model, devices, seed, name, interval_s)
        self._steps = 0
        self._white = stream(seed, name, "white noise")
        self._walk = stream(seed, name, "drift")
        self._walked = np.zeros(devices)
        self._flicker = Flicker(devices, stream(seed, name, "flicker"))
        self._hold = max(math.ceil(model.interval_min_s / interval_s - _WHOLE), 1)
        self._held = np.empty(devices)
        self._lagged: Array | None = None
        self._played: Array | None = None

    def observe(self, truth: Array, ambient_degC: Array | None = None, humidity_pct: Array | None = None) -> Array:  # noqa: N803 - the unit keeps its capital
        """Read the next steps.

        Args:
            truth: (steps, devices), in the sensor's unit; left untouched.
            ambient_degC: (steps, devices) around the sensor; None: as on the datasheet.
            humidity_pct: (steps, devices) relative, around the sensor; None: as on the datasheet.

        Returns:
            (steps, devices), in the sensor's unit.
        """
        if not len(truth):
            return truth.copy()
        scratch = np.empty_like(truth)
        reading = self._follow(truth)
        self._transfer(reading, scratch)
        self._surroundings(reading, scratch, ambient_degC, humidity_pct)
        self._age(reading, scratch)
        self._noise(reading, scratch)
        reading = self._wait(self._convert(reading))
        self._steps += len(truth)
        return reading

    def _follow(self, truth: Array) -> Array:
        """Lag and play: what remembers where the truth was. A fresh array."""
        if self.model.response_s <= 0.0:
            seen = truth.copy()
        else:
            part = -math.expm1(-self.interval_s / self.model.response_s)
            state = (1.0 - part) * truth[:1] if self._lagged is None else self._lagged
            seen, self._lagged = lfilter([part], [1.0, part - 1.0], truth, axis=0, zi=state)
        return self._play(seen) if self.model.hysteresis > 0.0 else seen

    def _play(self, seen: Array) -> Array:
        """The play (backlash) operator: the output moves only when the input pushes it."""
        half = self.model.hysteresis
        low, high = seen - half, seen + half
        last = seen[0] + self.individuals.play if self._played is None else self._played
        for floor, ceiling, now in zip(low, high, seen, strict=True):
            np.maximum(last, floor, out=now)
            np.minimum(now, ceiling, out=now)
            last = now
        self._played = last.copy()
        return seen

    def _transfer(self, reading: Array, scratch: Array) -> None:
        """Gain, bow and bias: what a calibration on a bench would find."""
        model, drawn = self.model, self.individuals
        low, high = model.span
        middle, half = (low + high) / 2, (high - low) / 2
        bent = bow((reading - middle) / half) * drawn.nonlinearity if model.nonlinearity > 0.0 else None
        if model.gain_error_max > 0.0:
            np.subtract(reading, model.pivot, out=scratch)
            scratch *= drawn.gain_error
            reading += scratch
        if bent is not None:
            reading += bent
        reading += drawn.bias + drawn.self_heating

    def _surroundings(self, reading: Array, scratch: Array, ambient: Array | None, humidity: Array | None) -> None:
        if ambient is not None and self.model.temperature_coefficient > 0.0:
            np.subtract(ambient, AMBIENT_DEGC, out=scratch)
            scratch *= self.individuals.temperature_coefficient
            reading += scratch
        if humidity is not None and self.model.humidity_coefficient > 0.0:
            np.subtract(humidity, HUMIDITY_PCT, out=scratch)
            scratch *= self.individuals.humidity_coefficient
            reading += scratch

    def _age(self, reading: Array, scratch: Array) -> None:
        """Drift: a random walk, and a straight line."""
        if self.model.drift_walk > 0.0:
            self._walk.standard_normal(out=scratch)
            scratch *= self.model.drift_walk * math.sqrt(self.interval_s / DAY_S)
            scratch[0] += self._walked
            np.add.accumulate(scratch, axis=0, out=scratch)
            self._walked = scratch[-1].copy()
            reading += scratch
        if self.model.ageing > 0.0:
            years = np.arange(self._steps, self._steps + len(reading)) * (self.interval_s / YEAR_S)
            np.multiply(years[:, None], self.individuals.ageing, out=scratch)
            reading += scratch

    def _noise(self, reading: Array, scratch: Array) -> None:
        if self.model.flicker > 0.0:
            slow = self._flicker(scratch)
            slow *= self.model.flicker
            reading += slow
        if self.model.noise > 0.0:
            self._white.standard_normal(out=scratch)
            scratch *= self.model.noise
            reading += scratch

    def _wait(self, reading: Array) -> Array:
        """A part that is asked sooner than it can measure says again what it said last."""
        if self._hold == 1:
            return reading
        at = np.arange(self._steps, self._steps + len(reading))
        measured = at // self._hold * self._hold - self._steps
        held = reading[np.maximum(measured, 0)]
        held[measured < 0] = self._held
        self._held = held[-1].copy()
        return held

    def _convert(self, reading: Array) -> Array:
        """Saturation and resolution: the range of the converter, and its steps."""
        np.clip(reading, self.model.range_low, self.model.range_high, out=reading)
        quantise(reading, self.model.resolution)
        return reading
