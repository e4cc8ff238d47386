"""The oracle: an extended Kalman filter that knows what no pipeline can, so that others have something to be held to.

It is given, for each device: the process (an autoregression fitted to the truth itself, calibration and score period
alike), the sensor's datasheet model with the priors its errors are drawn from (bias, gain, bow, temperature, humidity,
heating, random walk, ageing, 1/f noise, lag: all as states), the surroundings as they truly are, true times, and the
fault labels (a labelled cell is not used). Beside the reference instrument the truth is what it says less its offset
and noise, and all states are learnt; afterwards the process predicts, and bias, gain, bow and what surroundings do are
no longer learnt but count with their covariance (Schmidt, "Application of state-space methods to navigation problems",
1966). Gain and bow multiply and bend the truth: there it is linearised at the truth while it learns, and at its mean
later. Play is the one thing it does not invert: it is a disturbance, with the variance, the memory and the answer
to the steps of the truth that the play of this truth really has.

Promises: shares no code with the edge. Refuses to know any pipeline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_sim.sensors.model import AMBIENT_DEGC, DAY_S, HUMIDITY_PCT, YEAR_S

if TYPE_CHECKING:
    from _accuracy_fleet import Fleet, Measured
    from numpy.typing import NDArray

    from trueline_sim.sensors.model import SensorModel

    Array = NDArray[np.float64]

__all__ = ["Estimate", "Process", "fit_process", "reference_filter"]

ORDER: Final = 4
FLEET_READINGS: Final = 1.0
"""What the fleet says of a device's process noise counts as so many readings of its own: a tank may leak yet."""
FLICKER_STEPS: Final = np.array([2.0, 16.0, 128.0, 1024.0])
CHUNK: Final = 64
LAG_SHARE_MIN: Final = 0.03
AGEING_SHARE_MIN: Final = 0.05
BOW: Final = 1.5 * math.sqrt(3.0)


class Estimate(NamedTuple):
    """Mean and standard deviation of the truth after each step, (n, devices) each."""

    value: Array
    u: Array


class Process(NamedTuple):
    """x[t] = sum of a[i] x[t-1-i] + noise, with a unit root: nobody knows the level in advance.

    Attributes:
        a: (ORDER, devices).
        q: (devices,) variance of the noise.
    """

    a: Array
    q: Array


def fit_process(truth: Array, floor: float) -> Process:
    """Least squares on differences, device by device (differences, because neighbouring levels are nearly the same).

    Args:
        truth: (n, devices).
        floor: standard deviation below which steps do not matter.
    """
    d1, d2 = np.diff(truth, axis=0), np.diff(truth, 2, axis=0)
    columns = np.stack((d1[1:-1], d2[:-1], np.concatenate((d2[:1], d2[:-2]))), axis=-1)  # (m, devices, 3)
    target = d2[1:]
    scale = np.sqrt((columns**2).mean(axis=0)) + floor
    scaled = columns / scale
    gram = np.einsum("tdi,tdj->dij", scaled, scaled) + 1e-6 * len(scaled) * np.eye(ORDER - 1)
    right = np.einsum("tdi,td->di", scaled, target)
    weight = np.linalg.solve(gram, right[..., None])[..., 0] / scale
    own = ((target - np.einsum("tdi,di->td", columns, weight)) ** 2).mean(axis=0)
    n = len(target)
    q = (n * own + FLEET_READINGS * own.mean()) / (n + FLEET_READINGS) + (0.01 * floor) ** 2
    first, second, third = weight.T
    # x[t] = x[t-1] + d1[t-1] + first d1[t-1] + second d2[t-1] + third d2[t-2]
    a = np.stack((2.0 + first + second, -1.0 - first - 2.0 * second + third, second - 2.0 * third, third))
    return Process(_stable(a), q)


def _stable(a: Array) -> Array:
    """The same with its roots drawn in to the unit circle, where they lie outside: a process that does not explode."""
    companion = np.zeros((a.shape[1], ORDER, ORDER))
    companion[:, 0] = a.T
    companion[:, range(1, ORDER), range(ORDER - 1)] = 1.0
    largest = np.abs(np.linalg.eigvals(companion)).max(axis=1)
    shrink = np.minimum(1.0, (1.0 + 1e-9) / largest)
    return np.asarray(a * shrink ** np.arange(1, ORDER + 1)[:, None])


@dataclass(slots=True)
class _Sensor:
    """Where one sensor's states are. Play is the same for all, as they follow the same truth."""

    model: SensorModel
    bias: int
    terms: dict[str, int]
    flicker: slice
    lag: int | None
    seen: int


class _Layout:
    """States: ORDER of the truth, the reference's offset, then each sensor's."""

    def __init__(self, model: SensorModel, sensors: int, fleet: Fleet) -> None:
        self.play = ORDER + 1 if model.hysteresis > 0.0 else None
        at = ORDER + 1 + (self.play is not None)
        run_s = fleet.plan.interval_s * fleet.plan.steps
        fields = ["gain_error_max", "nonlinearity"]
        fields += ["temperature_coefficient"] if fleet.ambient is not None else []
        fields += ["humidity_coefficient"] if fleet.humidity is not None else []
        white = model.noise + model.resolution / math.sqrt(12) + model.flicker
        if model.ageing * run_s / YEAR_S > AGEING_SHARE_MIN * white:
            fields.append("ageing")
        self.sensors = []
        for _ in range(sensors):
            bias, at = at, at + 1
            terms = {}
            for field in fields:
                if getattr(model, field) > 0.0:
                    terms[field], at = at, at + 1
            flicker, at = slice(at, at + len(FLICKER_STEPS)), at + len(FLICKER_STEPS)
            slow = model.response_s > 0.0 and math.exp(-fleet.plan.interval_s / model.response_s) > LAG_SHARE_MIN
            lag, at = (at, at + 1) if slow else (None, at)
            self.sensors.append(_Sensor(model, bias, terms, flicker, lag, 0 if lag is None else lag))
        self.size = at


class _Play(NamedTuple):
    """e[t] = kept e[t-1] + push w[t] + noise, w being the noise of the process; (devices,) each, the error (n, d)."""

    error: Array
    start: Array
    kept: Array
    push: Array
    q: Array


def _play(truth: Array, process: Process, half: float) -> _Play:
    """What play does to this truth, as the linear process that is nearest to it."""
    last = truth[0].copy()
    error = np.empty_like(truth)
    for row, out in zip(truth, error, strict=True):
        np.clip(last, row - half, row + half, out=last)
        np.subtract(last, row, out=out)
    noise = truth[ORDER:] - sum(process.a[i] * truth[ORDER - 1 - i : -1 - i] for i in range(ORDER))
    variance = (error**2).mean(axis=0) + (0.05 * half) ** 2
    kept = np.clip((error[1:] * error[:-1]).mean(axis=0) / variance, 0.0, 0.9999)
    fresh = (error[1:] - kept * error[:-1])[ORDER - 1 :]
    push = (fresh * noise).mean(axis=0) / process.q
    return _Play(
        error, variance, kept, push, np.maximum((fresh**2).mean(axis=0) - push**2 * process.q, 1e-6 * variance)
    )


def reference_filter(fleet: Fleet, measured: Measured, sensors: tuple[int, ...]) -> Estimate:
    """The filter over all steps, from the first sensor that counts to the last.

    Args:
        fleet: for surroundings and times.
        measured: the measurand.
        sensors: numbers of those it may use.
    """
    white = math.hypot(measured.model.noise, measured.model.resolution / math.sqrt(12))
    process = fit_process(measured.truth, white)
    value, u = np.empty_like(measured.truth), np.empty_like(measured.truth)
    for first in range(0, fleet.devices, CHUNK):
        some = slice(first, min(first + CHUNK, fleet.devices))
        run = _Run(fleet, measured, sensors, Process(*(part[..., some] for part in process)), some)
        run.all_steps(value[:, some], u[:, some])
    return Estimate(value, u)


class _Run:
    """Some devices at once: mean (k, d) and covariance (k, k, d), devices last."""

    def __init__(
        self, fleet: Fleet, measured: Measured, sensors: tuple[int, ...], process: Process, some: slice
    ) -> None:
        self._process, self._interval_s = process, fleet.plan.interval_s
        model = measured.model
        self._layout = layout = _Layout(model, len(sensors), fleet)
        self._truth = measured.truth[:, some]
        self._noise = model.noise**2 + model.resolution**2 / 12
        raw = measured.raw[:, some, list(sensors)].copy()
        raw[measured.faulty[:, some, list(sensors)] | (fleet.copies[:, some, None] == 0)] = np.nan
        self._raw = raw
        self._reference = measured.reference[:, some]
        self._reference_noise = measured.reference_noise**2
        self._ambient, self._humidity = (
            None if around is None else around[:, some] for around in (fleet.ambient, fleet.humidity)
        )
        devices = raw.shape[1]
        self._mean = np.zeros((layout.size, devices))
        self._cov = np.zeros((layout.size, layout.size, devices))
        self._cov[ORDER, ORDER] = measured.reference_u**2
        fixed = [at for sensor in layout.sensors for at in (sensor.bias, *sensor.terms.values())]
        self._fixed = np.ix_(fixed, fixed)
        self._fixed_rows = fixed
        self._low, self._high = model.span
        self._play: _Play | None = None
        if model.hysteresis > 0.0:
            self._play = _play(measured.truth[:, some], process, model.hysteresis)
            self._cov[layout.play, layout.play] = self._play.start
            # Beside the reference it knows what play does, and does not take it for an error of the slope.
            steps = len(self._reference)
            self._raw[:steps] -= self._play.error[:steps, :, None]
        for sensor in layout.sensors:
            self._prior(sensor)

    def _prior(self, sensor: _Sensor) -> None:
        model, cov, mean = sensor.model, self._cov, self._mean
        heating = model.heating(self._interval_s)
        mean[sensor.bias] = heating / 2  # rectangular between 0 and the figure
        cov[sensor.bias, sensor.bias] = model.bias_max**2 / 3 + heating**2 / 12
        for field, at in sensor.terms.items():
            cov[at, at] = getattr(model, field) ** 2 / 3
        poles = np.exp(-1.0 / FLICKER_STEPS)
        gains = np.sqrt(1.0 - poles)
        stationary = np.outer(gains, gains) / (1.0 - np.outer(poles, poles))
        scale = model.flicker**2 / stationary.sum()
        cov[sensor.flicker, sensor.flicker] = (scale * stationary)[..., None]
        self._poles, self._flicker_q = poles, (scale * np.outer(gains, gains))[..., None]
        if sensor.lag is not None:
            mean[sensor.lag] = self._reference[0]  # as if it had stood there for long: truth plus the same offset
            cov[sensor.lag, ORDER] = cov[ORDER, sensor.lag] = -cov[ORDER, ORDER]
            cov[sensor.lag, sensor.lag] = cov[ORDER, ORDER] + 2.0 * self._reference_noise

    def all_steps(self, value: Array, u: Array) -> None:
        """Filter, and write what is known after each step."""
        for step in range(len(value)):
            beside = step < len(self._reference)
            self._predict(self._reference[step] if beside else None)
            for number in range(len(self._layout.sensors)):
                self._update(number, step, learn=beside)
            value[step] = self._mean[0]
            u[step] = np.sqrt(np.maximum(self._cov[0, 0], 0.0))

    def _predict(self, said: Array | None) -> None:
        """To the next step; beside the reference what it says less its offset is all that is known of the truth."""
        mean, cov, a = self._mean, self._cov, self._process.a
        if said is None:
            new, row = (a * mean[:ORDER]).sum(axis=0), (a[:, None] * cov[:ORDER]).sum(axis=0)
            corner = (a[:, None] * a[None] * cov[:ORDER, :ORDER]).sum(axis=(0, 1)) + self._process.q
        else:
            new, row = said - mean[ORDER], -cov[ORDER]
            corner = cov[ORDER, ORDER] + self._reference_noise
        row[1:ORDER] = row[: ORDER - 1].copy()
        mean[1:ORDER] = mean[: ORDER - 1].copy()
        cov[1:ORDER] = cov[: ORDER - 1].copy()
        cov[:, 1:ORDER] = cov[:, : ORDER - 1].copy()
        mean[0], cov[0], cov[:, 0] = new, row, row
        cov[0, 0] = corner
        if self._play is not None:
            at, play = self._layout.play, self._play
            mean[at] *= play.kept
            cov[at] *= play.kept
            cov[:, at] *= play.kept
            cov[at, at] += play.q + play.push**2 * self._process.q
            if said is None:
                cov[0, at] += play.push * self._process.q
                cov[at, 0] += play.push * self._process.q
        for sensor in self._layout.sensors:
            self._predict_sensor(sensor)

    def _predict_sensor(self, sensor: _Sensor) -> None:
        mean, cov, poles = self._mean, self._cov, self._poles
        model = sensor.model
        cov[sensor.bias, sensor.bias] += model.drift_walk**2 * self._interval_s / DAY_S
        mean[sensor.flicker] *= poles[:, None]
        cov[sensor.flicker] *= poles[:, None, None]
        cov[:, sensor.flicker] *= poles[:, None]
        cov[sensor.flicker, sensor.flicker] += self._flicker_q
        if sensor.lag is not None:
            part = -math.expm1(-self._interval_s / model.response_s)
            mean[sensor.lag] += part * (mean[0] - mean[sensor.lag])
            cov[sensor.lag] += part * (cov[0] - cov[sensor.lag])
            cov[:, sensor.lag] += part * (cov[:, 0] - cov[:, sensor.lag])

    def _update(self, number: int, step: int, *, learn: bool) -> None:
        """One reading of one sensor: the truth times its slope, and what it adds."""
        sensor, mean, cov = self._layout.sensors[number], self._mean, self._cov
        # Beside the reference, the truth; else the mean: what it is off by must not tell how a reading is weighed.
        point = self._truth[step] if learn else mean[sensor.seen].copy()
        slope, parts = self._look(sensor, step, point)
        cross = slope * cov[:, sensor.seen]
        for at, factor in parts:
            cross += factor * cov[:, at]
        variance, expected = self._noise + slope * cross[sensor.seen], point + slope * (mean[sensor.seen] - point)
        for at, factor in parts:
            variance = variance + factor * cross[at]
            expected = expected + factor * mean[at]
        self._correct(cross, variance, self._raw[step, :, number] - expected, learn=learn)

    def _look(self, sensor: _Sensor, step: int, point: Array) -> tuple[Array, list[tuple[int, Array | float]]]:
        """How a reading answers to the truth, and to each of the sensor's states."""
        singles = [sensor.bias, *range(sensor.flicker.start, sensor.flicker.stop)]
        singles += [] if self._layout.play is None else [self._layout.play]
        parts: list[tuple[int, Array | float]] = [(at, 1.0) for at in singles]
        slope = np.ones_like(point)
        for field, at in sensor.terms.items():
            match field:
                case "gain_error_max":
                    parts.append((at, point - sensor.model.pivot))
                    slope = slope + self._mean[at]
                case "nonlinearity":
                    half = (self._high - self._low) / 2
                    z = np.clip((point - self._low) / half - 1.0, -1.0, 1.0)
                    parts.append((at, (z - z**3) * BOW))
                    bend = np.where(np.abs(z) < 1.0, (1.0 - 3.0 * z**2) * BOW / half, 0.0)
                    slope = slope + self._mean[at] * bend
                case "temperature_coefficient" if self._ambient is not None:
                    parts.append((at, self._ambient[step] - AMBIENT_DEGC))
                case "humidity_coefficient" if self._humidity is not None:
                    parts.append((at, self._humidity[step] - HUMIDITY_PCT))
                case _:
                    parts.append((at, step * self._interval_s / YEAR_S))
        return slope, parts

    def _correct(self, cross: Array, variance: Array, innovation: Array, *, learn: bool) -> None:
        """Where there is a reading (not NaN). Without the reference, what multiplies or surrounds is not learnt."""
        weight = np.where(np.isfinite(innovation), 1.0 / variance, 0.0)
        gain = cross * weight
        kept = None if learn or not self._fixed_rows else self._cov[self._fixed]
        change = gain * np.where(np.isfinite(innovation), innovation, 0.0)
        self._cov -= gain[:, None] * cross[None]
        if kept is not None:  # they are considered, not estimated (Schmidt 1966)
            change[self._fixed_rows] = 0.0
            self._cov[self._fixed] = kept
        self._mean += change
