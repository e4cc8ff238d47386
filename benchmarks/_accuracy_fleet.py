"""The fleets accuracy is measured on: what was true, what the sensors said, which cells are faulty, and a reference.

Each device stands beside a reference instrument for the first part of its record; the later part, in which faults are
drawn, is scored. Promises: seeded; everything a pipeline may be told is in `Plan` and in the datasheets; truth, labels
and true times are for the oracle and the score alone. Refuses to know any pipeline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from trueline_sim.block import Grid
from trueline_sim.faults.draw import draw_faults
from trueline_sim.faults.fault import ALL_CHANNELS
from trueline_sim.randomness import stream
from trueline_sim.sensors.defaults import default_sensor
from trueline_sim.truth import SCENARIOS
from trueline_sim.world import FAULTS_PER_10000_ROWS, START_NS, World
from trueline_sim.world import _surroundings as _around  # the sensors' own view of what surrounds them

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_sim.faults.fault import Fault
    from trueline_sim.sensors.model import SensorModel

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

__all__ = ["PLANS", "REDUNDANCY", "Fleet", "Measured", "Plan", "make_fleet"]

REDUNDANCY: Final = 3
"""Sensors of one kind on each measurand."""

REFERENCE_OFFSET, REFERENCE_NOISE = 0.2, 0.5
"""The reference's standard uncertainty, and its noise from reading to reading, as shares of the sensor's repeatability
(noise, 1/f noise and resolution): its offset is the same for a whole calibration."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a scenario's fleet is run.

    Attributes:
        interval_s: between readings.
        calibration_steps: beside the reference, without faults: somebody stands there.
        steps: in all.
        left_out: measurands that are no measurement.
    """

    interval_s: float
    calibration_steps: int = 1000
    steps: int = 2400
    left_out: tuple[str, ...] = ()


PLANS: Final[dict[str, Plan]] = {
    "greenhouse": Plan(interval_s=120.0),
    "machine": Plan(interval_s=10.0),
    "water_loop": Plan(interval_s=1.0),
    "cold_chain": Plan(interval_s=60.0, left_out=("door_open",)),  # a contact: open or closed
    "air_quality": Plan(interval_s=120.0),
    "motion": Plan(interval_s=0.1),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """One measurand of every device, and the sensors that look at it.

    Attributes:
        name: of the measurand.
        unit: UCUM code.
        model: datasheet of its sensors.
        u_declared: standard uncertainty the datasheet lets one state.
        truth: (n, devices).
        raw: (n, devices, sensors) as read, faults included; NaN where nothing was measured.
        faulty: (n, devices, sensors) a label touches the cell.
        reference: (calibration steps, devices) what the reference instrument said.
        reference_u: standard uncertainty of its offset, the same for a whole calibration.
        reference_noise: standard deviation from reading to reading.
    """

    name: str
    unit: str
    model: SensorModel
    u_declared: float
    truth: Array
    raw: Array
    faulty: Mask
    reference: Array
    reference_u: float
    reference_noise: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Fleet:
    """A scenario's devices.

    Attributes:
        scenario: its name.
        plan: how it is run.
        seed: of everything.
        devices: how many.
        time_ns: (n, devices) as stamped.
        copies: (n, devices) how often a row is reported.
        late: (n, devices) it is reported after its follower.
        row_faulty: (n, devices) a label of rows (clock, link) touches it.
        measured: the measurands.
        ambient: (n, devices) temperature of the air around, degC; None: none is simulated.
        humidity: (n, devices) its relative humidity, %; None: none is simulated.
        ambient_channel: the measurand that is; "" for none.
        humidity_channel: likewise.
        faults: how many there are.
    """

    scenario: str
    plan: Plan
    seed: int
    devices: int
    time_ns: NDArray[np.int64]
    copies: NDArray[np.uint8]
    late: Mask
    row_faulty: Mask
    measured: tuple[Measured, ...]
    ambient: Array | None
    humidity: Array | None
    ambient_channel: str
    humidity_channel: str
    faults: int


def make_fleet(
    scenario: str, *, devices: int, seed: int, plan: Plan | None = None, only: Sequence[str] | None = None
) -> Fleet:
    """A fleet of a scenario; `only` leaves out the other measurands."""
    plan = plan or PLANS[scenario]
    place = SCENARIOS[scenario]
    grid = Grid(START_NS, plan.interval_s, plan.steps)
    channels = len(place.measurands) * REDUNDANCY
    drawn = draw_faults(channels=channels, devices=devices, grid=grid, seed=seed, per_10000_rows=FAULTS_PER_10000_ROWS)
    faults = [fault for fault in drawn if fault.start_ns >= grid.time_ns(plan.calibration_steps)]
    world = World(
        place,
        devices=devices,
        seed=seed,
        steps=plan.steps,
        interval_s=plan.interval_s,
        redundancy=REDUNDANCY,
        faults=faults,
    )
    blocks = list(world)
    truth, raw = (np.concatenate([getattr(block, name) for block in blocks]) for name in ("truth", "raw"))
    faulty, row_faulty = _labels(faults, grid, devices, channels)
    measured = []
    for number, measurand in enumerate(place.measurands):
        if measurand.name in plan.left_out or (only is not None and measurand.name not in only):
            continue
        first = number * REDUNDANCY
        mine = slice(first, first + REDUNDANCY)
        true = np.ascontiguousarray(truth[:, :, first])
        model = default_sensor(scenario, measurand)
        repeatability = math.sqrt(model.noise**2 + model.flicker**2 + model.resolution**2 / 12)
        measured.append(
            Measured(
                name=measurand.name,
                unit=measurand.unit,
                model=model,
                u_declared=world.channels[first].u,
                truth=true,
                raw=np.ascontiguousarray(raw[:, :, mine]),
                faulty=np.ascontiguousarray(faulty[:, :, mine]),
                reference=_reference(true[: plan.calibration_steps], repeatability, seed, scenario, measurand.name),
                reference_u=REFERENCE_OFFSET * repeatability,
                reference_noise=REFERENCE_NOISE * repeatability,
            )
        )
    places = ["" if at is None else place.measurands[at].name for at in _around(place)]
    around = [None if at is None else np.ascontiguousarray(truth[:, :, at * REDUNDANCY]) for at in _around(place)]
    return Fleet(
        scenario=scenario,
        plan=plan,
        seed=seed,
        devices=devices,
        time_ns=np.concatenate([block.time_ns for block in blocks]),
        copies=np.concatenate([block.copies for block in blocks]),
        late=np.concatenate([block.late for block in blocks]),
        row_faulty=row_faulty,
        measured=tuple(measured),
        ambient=around[0],
        humidity=around[1],
        ambient_channel=places[0],
        humidity_channel=places[1],
        faults=len(faults),
    )


def _reference(truth: Array, repeatability: float, seed: int, *purpose: str) -> Array:
    """What a reference instrument says: an offset of its own at each device, and noise from reading to reading."""
    offset = stream(seed, "accuracy", "reference offset", *purpose).standard_normal(truth.shape[1])
    noise = stream(seed, "accuracy", "reference noise", *purpose).standard_normal(truth.shape)
    return np.asarray(truth + repeatability * (REFERENCE_OFFSET * offset + REFERENCE_NOISE * noise))


def _labels(faults: Sequence[Fault], grid: Grid, devices: int, channels: int) -> tuple[Mask, Mask]:
    """Cells (n, devices, channels) and rows (n, devices) a label touches."""
    times = grid.times_ns(0, grid.steps)
    cells, rows = np.zeros((grid.steps, devices, channels), np.bool_), np.zeros((grid.steps, devices), np.bool_)
    for fault in faults:
        when = slice(*np.searchsorted(times, (fault.start_ns, fault.end_ns)))
        if fault.channel == ALL_CHANNELS:
            rows[when, fault.device] = True
        else:
            cells[when, fault.device, fault.channel] = True
    return cells, rows
