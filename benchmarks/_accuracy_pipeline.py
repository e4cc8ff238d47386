"""The real edge on a fleet: calibration files, stages by configuration, rows as the devices report them.

What it is told of a sensor is its datasheet, of a measurand nothing, and what it learns is from the pairs beside the
reference. Promises: nothing of truth, labels or true times comes in. Refuses to know the oracle and the peers.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np

from trueline_edge.calibration.datasheet import model_of
from trueline_edge.calibration.file import Calibration, Lag, Limits, Play, Uncertainty
from trueline_edge.calibration.informed import Informed, Tolerance, fit_informed
from trueline_edge.pipeline import Pipeline
from trueline_edge.stages import Fuse, GrossRange, Missing, Timing
from trueline_edge.stages.calibrate import CorrectReadings
from trueline_edge.stages.fuse import FuseOutput
from trueline_sim.sensors.model import AMBIENT_DEGC, HUMIDITY_PCT
from trueline_sim.world import START_NS
from trueline_wire.readings import Channel, Readings, Schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _accuracy_fleet import Fleet, Measured
    from numpy.typing import NDArray

    from trueline_edge.stages import StageConfig

    Array = NDArray[np.float64]

__all__ = ["BURN_IN", "GATE", "LAG_MEMORY", "Outcome", "calibrate_fleet", "run_fleet"]

BURN_IN: Final = 200
"""Rows before those that are scored, for the filters to settle."""

_BENT: Final = 4.0
"""Slope of a nonlinearity of one over half a span: an S has 2.6 in its middle and 5.2 at its ends."""
_CONDITION_MIN: Final = 0.3
"""A condition is an input of the calibration where what it can do, over 5 K or 20 %, is such a part of the noise."""
GATE: Final = 4.5
"""Standard deviations; narrower than usual, as the noise is known and not learnt."""
_FASTER: Final = 5.0
"""Times the largest move of a reading beside the reference: what goes faster did not lag behind."""
_REACH: Final = 60.0
"""In K or %: a condition's effect is proportional, as far as a datasheet tells, so its calibration reaches far."""
LIMITS: Final = {"humidity": Limits(raw=(0.0, 100.0), value=(0.0, 100.0))}
"""Humidity is nowhere above 100 %, and there its sensors are cut off."""
LAG_MEMORY: Final = (0.02, 0.3)
"""A lag is undone where between so much of a step is still missing one reading later: less does not matter, and more
would cost more noise than it mends."""


class Outcome(NamedTuple):
    """What came out for the rows of a fleet from the end of the calibration on; (n, devices) each.

    Attributes:
        value: NaN where no row came, or no value.
        u: standard uncertainty.
        flag: 0 where no row came.
    """

    value: Array
    u: Array
    flag: NDArray[np.uint8]


def channel_name(measured: Measured, sensor: int) -> str:
    """As the world calls it."""
    return measured.name + (f"_{sensor + 1}" if sensor else "")


def repeatability(measured: Measured) -> float:
    """Standard deviation of a reading as the datasheet has it: noise and resolution."""
    return math.hypot(measured.model.noise, measured.model.resolution / math.sqrt(12))


def surroundings(fleet: Fleet, measured: Measured) -> tuple[str, ...]:
    """Channels of the same device that tell what disturbs this sensor, as far as its datasheet says they do."""
    found = []
    limit = _CONDITION_MIN * repeatability(measured)
    names = [m.name for m in fleet.measured]
    for channel, effect in (
        (fleet.ambient_channel, measured.model.temperature_coefficient * 5.0),
        (fleet.humidity_channel, measured.model.humidity_coefficient * 20.0),
    ):
        if channel in names and channel != measured.name and effect > limit:
            found.append(channel)
    return tuple(found)


def calibrate_fleet(fleet: Fleet, measured: Measured, sensor: int) -> list[Calibration]:
    """A calibration of this sensor of each device, from its pairs beside the reference and its datasheet."""
    model, steps = measured.model, fleet.plan.calibration_steps
    names = surroundings(fleet, measured)
    around = {m.name: m.raw[:steps, :, 0] for m in fleet.measured}
    columns = [around[name] for name in names]
    conditions = np.stack(columns, axis=2) if columns else np.zeros((steps, fleet.devices, 0))
    low, high = model.span
    bent = model.nonlinearity * _BENT * 2.0 / (high - low) if model.nonlinearity > 0.0 else 0.0
    effects = {
        fleet.ambient_channel: (model.temperature_coefficient, AMBIENT_DEGC),
        fleet.humidity_channel: (model.humidity_coefficient, HUMIDITY_PCT),
    }
    tolerance = Tolerance(
        offset=model.bias_max + model.heating(fleet.plan.interval_s),
        pivot=model.pivot,
        gain=math.hypot(model.gain_error_max, bent),
        conditions=tuple(effects[name][0] for name in names),
        nominal=tuple(effects[name][1] for name in names),
        noise=repeatability(measured),
        slow=model.flicker,
        play=model.hysteresis,
        lowest=model.range_low,
        highest=model.range_high,
    )
    memory = math.exp(-fleet.plan.interval_s / model.response_s) if model.response_s > 0.0 else 0.0
    lag = Lag(time_constant_s=model.response_s) if LAG_MEMORY[0] < memory < LAG_MEMORY[1] else None
    # A lag that is undone later is none of the calibration's: the reference is seen through the same.
    kept = memory if lag else 0.0
    found = fit_informed(
        measured.raw[:steps, :, sensor],
        lagged(measured.reference, kept),
        conditions,
        tolerance,
        reference_u=measured.reference_u,
        reference_noise=measured.reference_noise * math.sqrt((1.0 - kept) / (1.0 + kept)),
    )
    end = datetime.fromtimestamp(START_NS / 1e9, UTC) + timedelta(seconds=steps * fleet.plan.interval_s)

    def rated(device: int) -> Lag:
        """No reading goes faster than a few times what was seen beside the reference."""
        moves = np.abs(np.diff(measured.raw[:steps, device, sensor]))
        return msgspec.structs.replace(lag, rate_max=_FASTER * float(np.nanmax(moves)) / fleet.plan.interval_s)

    return [
        _calibration(
            measured, sensor, device, names, [c[:, device] for c in columns], found, end, lag and rated(device)
        )
        for device in range(fleet.devices)
    ]


def lagged(values: Array, kept: float) -> Array:
    """(n, k) as a sensor shows it, in which such a part of a step is still missing one reading later."""
    shown = values.copy()
    for row in range(1, len(shown)):
        shown[row] = kept * shown[row - 1] + (1.0 - kept) * values[row]
    return shown


def _calibration(
    measured: Measured,
    sensor: int,
    device: int,
    names: tuple[str, ...],
    around: Sequence[Array],
    found: Informed,
    end: datetime,
    lag: Lag | None,
) -> Calibration:
    channel = channel_name(measured, sensor)
    ranges = {}
    for name, column in zip(names, around, strict=True):
        middle = float(np.nanmean(column))
        ranges[name] = (middle - _REACH, middle + _REACH)
    noise = math.sqrt(max(found.noise[device] ** 2 - measured.model.resolution**2 / 12, 0.0))
    return Calibration(
        id=f"{channel}-{device}",
        channel=channel,
        date=end,
        model=model_of(found, device, channel, names),
        range=ranges,
        unit=measured.unit,
        u=Uncertainty(noise=noise, model=float(found.slow[device]), drift=measured.model.drift_walk),
        lag=lag,
        limits=LIMITS.get(measured.model.quantity),
        play=Play(half_width=measured.model.hysteresis) if measured.model.hysteresis > 0.0 else None,
    )


def _alike(fleet: Fleet, measured: Measured, device: int) -> bool:
    """Do sensors of a kind err together by what changes with the motion? Else what grows of their `u` is their own."""
    return measured.model.hysteresis > 0.0 or lag_error(fleet, measured, device) > 0.0


def _own(
    fleet: Fleet, measured: Measured, device: int, sensors: int, calibrations: Sequence[Calibration]
) -> tuple[float, ...]:
    """Of each input, what its calibration leaves unknown of it alone: parameters, and 1/f noise.

    The reference's offset is in all of them, a lag that is not undone, and where a quantity lies within the play: the
    rest is common.
    """
    found = {calibration.channel: calibration for calibration in calibrations}
    behind = lag_error(fleet, measured, device)
    parts = []
    for sensor in range(sensors):
        calibration = found[channel_name(measured, sensor)]
        model = calibration.model
        raw = measured.raw[: fleet.plan.calibration_steps, device, sensor]
        variance = model.covariance[0][0] + model.covariance[1][1] * float(np.nanvar(raw)) - measured.reference_u**2
        slow = max(calibration.u.model**2 - behind**2, measured.model.flicker**2)
        parts.append(math.sqrt(max(variance + slow, 0.0)))
    return tuple(parts)


def lag_error(fleet: Fleet, measured: Measured, device: int) -> float:
    """What a lag that is not undone makes of the motion there was beside the reference; the same for all of a kind."""
    memory = math.exp(-fleet.plan.interval_s / measured.model.response_s) if measured.model.response_s > 0.0 else 0.0
    if memory < LAG_MEMORY[1]:
        return 0.0
    behind = measured.reference[:, [device]] - lagged(measured.reference[:, [device]], memory)
    noise = measured.reference_noise**2 * (1.0 + (1.0 - memory) / (1.0 + memory) - 2.0 * (1.0 - memory))
    return math.sqrt(max(float(np.mean(behind**2)) - noise, 0.0))


class _Calibrated:
    """The stage `calibrate`, with calibrations that are at hand instead of in files."""

    channels = None

    def __init__(self, calibrations: Sequence[Calibration]) -> None:
        self._calibrations = calibrations

    def stage(self, schema: Schema) -> CorrectReadings:
        """The stage itself."""
        return CorrectReadings(self._calibrations, schema)


def stages_of(fleet: Fleet, device: int, sensors: int, calibrations: Sequence[Calibration]) -> list[StageConfig]:
    """The configuration of a device, from its calibrations and the datasheets."""
    ranges = [
        GrossRange(
            minimum=m.model.range_low,
            maximum=m.model.range_high,
            channels=tuple(channel_name(m, s) for s in range(sensors)),
        )
        for m in fleet.measured
        if math.isfinite(m.model.range_high)
    ]
    outputs = tuple(
        FuseOutput(
            name=m.name + ".fused",
            inputs=tuple(channel_name(m, s) for s in range(sensors)),
            r=_noise_variance(fleet, m, sensors, calibrations),
            independent=True,
            common_u=m.reference_u if sensors > 1 else 0.0,
            own_u=_own(fleet, m, device, sensors, calibrations) if sensors > 1 and _alike(fleet, m, device) else None,
        )
        for m in fleet.measured
    )
    stages: list[StageConfig] = [
        Timing(interval_s=fleet.plan.interval_s, late_max_s=2.5 * fleet.plan.interval_s),
        Missing(),
        *ranges,
    ]
    return [*stages, _Calibrated(calibrations), Fuse(outputs=outputs, model="trend", gate=GATE, details=False)]


def _noise_variance(
    fleet: Fleet, measured: Measured, sensors: int, calibrations: Sequence[Calibration]
) -> tuple[float, ...]:
    """Of each input, as its calibration found it."""
    found = {calibration.channel: calibration for calibration in calibrations}
    rounding, interval_s = measured.model.resolution**2 / 12, fleet.plan.interval_s
    variances = []
    for sensor in range(sensors):
        calibration = found[channel_name(measured, sensor)]
        kept = math.exp(-interval_s / calibration.lag.time_constant_s) if calibration.lag else 0.0
        grown = (1.0 + kept**2) / (1.0 - kept) ** 2  # what undoing the lag makes of it
        variances.append(max((calibration.u.noise**2 + rounding) * grown, 1e-12))
    return tuple(variances)


def run_fleet(fleet: Fleet, calibrations: dict[tuple[str, int], list[Calibration]], sensors: int) -> dict[str, Outcome]:
    """Every device through its pipeline; by channel that comes out, corrected and fused ones."""
    rows = fleet.plan.steps - fleet.plan.calibration_steps
    names = [name for m in fleet.measured for name in (m.name, m.name + ".fused")]
    shape = (rows, fleet.devices)
    out = {name: Outcome(np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, np.uint8)) for name in names}
    schema = schema_of(fleet, sensors)
    for device in range(fleet.devices):
        mine = [calibrations[m.name, s][device] for m in fleet.measured for s in range(sensors)]
        pipeline = Pipeline(stages_of(fleet, device, sensors, mine), schema)
        readings, at = readings_of(fleet, device, schema, [calibration.u.noise for calibration in mine])
        judged = Readings.concatenate([pipeline(readings), *pipeline.flush()])
        columns = {channel.name: number for number, channel in enumerate(judged.schema.channels)}
        step, first = np.unique(at, return_index=True)
        for name in names:
            column = columns[name]
            for whole, part in zip(out[name], (judged.value, judged.u, judged.flag), strict=True):
                whole[step, device] = part[first, column]
    return out


def schema_of(fleet: Fleet, sensors: int) -> Schema:
    """The channels of a device with so many sensors on each measurand."""
    channels = [
        Channel(name=channel_name(m, s), unit=m.unit, resolution=m.model.resolution, sensor=m.model.part)
        for m in fleet.measured
        for s in range(sensors)
    ]
    return Schema(device="device", stream=fleet.scenario, channels=tuple(channels))


def readings_of(fleet: Fleet, device: int, schema: Schema, noise: Sequence[float]) -> tuple[Readings, NDArray[np.intp]]:
    """What a device reports after the calibration, in its order, and the step each row belongs to.

    Each channel states its noise, as it was found beside the reference.
    """
    sensors = len(schema.channels) // len(fleet.measured)
    start = fleet.plan.calibration_steps
    steps, late = np.arange(fleet.plan.steps - start), fleet.late[start:, device]
    order = np.argsort(2 * steps + 3 * late, kind="stable")  # a late row comes right after its follower
    at = np.repeat(order, fleet.copies[start:, device][order])
    value = np.concatenate([m.raw[start:, device, :sensors][at] for m in fleet.measured], axis=1)
    return Readings.raw(schema, fleet.time_ns[start:, device][at], value, noise), at
