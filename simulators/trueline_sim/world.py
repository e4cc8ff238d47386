"""A world: devices of one scenario, each with imperfect sensors that break in labelled ways, and the truth beside them.

Promises: seeded, and the same wherever time is cut into blocks (of an even number of steps: neighbours that change
places are never cut). All faults and anomalies are known before the first block. Equal everywhere on one kind of
processor with pinned versions; elsewhere a mathematical library may round another way, so readings are equal after
quantisation but for the few whose last bit lies on the edge between two steps. Refuses to know links, and what any
pipeline makes of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trueline_sim.block import Block, Grid, WorldChannel
from trueline_sim.faults.apply import Injector
from trueline_sim.faults.draw import draw_anomalies, draw_faults
from trueline_sim.sensors.bank import SensorBank
from trueline_sim.sensors.defaults import default_sensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from trueline_sim.faults.fault import Fault
    from trueline_sim.sensors.model import SensorModel
    from trueline_sim.truth.scenario import ProcessAnomaly, Scenario

__all__ = ["FAULTS_PER_10000_ROWS", "START_NS", "World"]

START_NS: Final = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z, unless asked for otherwise."""

FAULTS_PER_10000_ROWS: Final = 10.0

_CELLS: Final = 131_072
"""Cells of one channel in a block, about: what a processor keeps close."""


class World:
    """Blocks of truth and readings, one after the other.

    Args:
        scenario: the physics.
        devices: how many.
        seed: of everything.
        steps: how many in all.
        start_ns: true time of the first step, UTC, ns since 1970.
        interval_s: between steps; None: the scenario's.
        sensors: measurand to the models that look at it, in turn; those not named have their usual one.
        redundancy: sensors on each measurand.
        faults: a number for each 10,000 rows of a device to draw them, or the faults themselves; 0: none.
        anomalies: draw anomalies of the process, or the anomalies themselves.
        block_steps: steps in a block, even; None: as many as work fast.

    Raises:
        ValueError: a number that cannot be, a measurand that is not there, a sensor of another unit.

    Attributes:
        channels: of each device.
        faults: all there are.
        anomalies: all there are.
        grid: the steps.
        faults_per_10000_rows: what they were drawn with; None: they were given.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        devices: int,
        seed: int,
        steps: int,
        start_ns: int = START_NS,
        interval_s: float | None = None,
        sensors: Mapping[str, Sequence[SensorModel]] | None = None,
        redundancy: int = 1,
        faults: float | Sequence[Fault] = FAULTS_PER_10000_ROWS,
        anomalies: bool | Sequence[ProcessAnomaly] = True,
        block_steps: int | None = None,
    ) -> None:
        self.scenario, self.devices, self.seed = scenario, devices, seed
        self.grid = Grid(start_ns, interval_s or scenario.interval_s, steps)
        if min(devices, steps, redundancy) < 1 or self.grid.interval_s <= 0.0:
            raise ValueError("devices, steps, redundancy and interval have to be at least one, and above zero")
        self._block_steps = block_steps or max(_CELLS // devices // 2, 1) * 2
        if self._block_steps % 2 or self._block_steps < 1:
            raise ValueError(
                f"a block of {self._block_steps} steps cuts neighbours that may change places: even, please"
            )
        chosen = _chosen(scenario, sensors or {}, redundancy)
        run_s = self.grid.interval_s * steps
        self.channels = tuple(
            _channel(scenario, name, which, model, self.grid.interval_s, run_s) for name, which, model in chosen
        )
        self._models = [model for _, _, model in chosen]
        self.faults_per_10000_rows: float | None = None
        if isinstance(faults, int | float):
            self.faults_per_10000_rows = float(faults)
            faults = draw_faults(
                channels=len(chosen), devices=devices, grid=self.grid, seed=seed, per_10000_rows=float(faults)
            )
        self.faults = tuple(faults)
        if isinstance(anomalies, bool):
            anomalies = draw_anomalies(scenario, devices=devices, grid=self.grid, seed=seed) if anomalies else ()
        self.anomalies = tuple(anomalies)

    def __iter__(self) -> Iterator[Block]:
        """From the first step to the last; each call starts the same world again."""
        grid = self.grid
        process = self.scenario.start(
            devices=self.devices,
            seed=self.seed,
            start_ns=grid.start_ns,
            interval_s=grid.interval_s,
            anomalies=self.anomalies,
        )
        banks = [
            SensorBank(model, devices=self.devices, seed=self.seed, name=channel.name, interval_s=grid.interval_s)
            for model, channel in zip(self._models, self.channels, strict=True)
        ]
        injector = Injector(self.faults, self.channels, seed=self.seed)
        for first in range(0, grid.steps, self._block_steps):
            count = min(self._block_steps, grid.steps - first)
            time_true_ns = grid.times_ns(first, count)
            truth, raw = self._look(process.advance(count), banks)
            reported = injector.apply(first, time_true_ns, raw)
            yield Block(
                first_step=first,
                time_true_ns=time_true_ns,
                time_ns=reported.time_ns,
                truth=truth,
                raw=raw,
                copies=reported.copies,
                late=reported.late,
                channels=self.channels,
            )

    def _look(
        self, measurands: NDArray[np.float64], banks: Sequence[SensorBank]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Truth and readings of all channels: (n, devices, channels) each."""
        ambient, humidity = (self._surrounding(measurands, which) for which in _surroundings(self.scenario))
        truth = measurands
        if [channel.measurand for channel in self.channels] != list(range(measurands.shape[2])):
            truth = measurands[:, :, [channel.measurand for channel in self.channels]]
        # A channel at a time is together in memory, as sensors look at it and as files are written.
        raw = np.empty((truth.shape[2], *truth.shape[:2]))
        for number, bank in enumerate(banks):
            raw[number] = bank.observe(np.ascontiguousarray(truth[:, :, number]), ambient, humidity)
        return truth, np.moveaxis(raw, 0, -1)

    @staticmethod
    def _surrounding(measurands: NDArray[np.float64], which: int | None) -> NDArray[np.float64] | None:
        return None if which is None else np.ascontiguousarray(measurands[:, :, which])


def _surroundings(scenario: Scenario) -> tuple[int | None, int | None]:
    """Numbers of the measurands that are the temperature and the humidity of the air around the sensors, if any are.

    A hot motor is not what surrounds an amplifier: where no air is simulated, sensors are where datasheets want them.
    """
    air = [
        number
        for number, measurand in enumerate(scenario.measurands)
        if measurand.unit == "Cel"
        and (measurand.name == "temperature" or any(word in measurand.name for word in ("ambient", "air", "room")))
    ]
    damp = [i for i, measurand in enumerate(scenario.measurands) if measurand.unit == "%" and "humid" in measurand.name]
    return next(iter(air), None), next(iter(damp), None)


def _chosen(
    scenario: Scenario, sensors: Mapping[str, Sequence[SensorModel]], redundancy: int
) -> list[tuple[str, int, SensorModel]]:
    """Channel name, number of the measurand, and model, for each sensor of a device."""
    names = [measurand.name for measurand in scenario.measurands]
    if strange := sorted(set(sensors) - set(names)):
        raise ValueError(f"{scenario.name} has no {', '.join(strange)}; it has {', '.join(names)}")
    chosen = []
    for which, measurand in enumerate(scenario.measurands):
        models = sensors.get(measurand.name) or (default_sensor(scenario.name, measurand),)
        for again in range(max(redundancy, len(models))):
            model = models[again % len(models)]
            if model.unit != measurand.unit:
                raise ValueError(f"{model.name} measures {model.unit}, and {measurand.name} is in {measurand.unit}")
            chosen.append((measurand.name + (f"_{again + 1}" if again else ""), which, model))
    return chosen


def _channel(
    scenario: Scenario, name: str, which: int, model: SensorModel, interval_s: float, run_s: float
) -> WorldChannel:
    return WorldChannel(
        name=name,
        measurand=which,
        unit=scenario.measurands[which].unit,
        sensor=model.name,
        resolution=model.resolution,
        u=model.standard_uncertainty(interval_s, run_s=run_s),
    )
