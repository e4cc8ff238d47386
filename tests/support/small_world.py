"""A scenario for tests: a room whose temperature and humidity wander, simple enough to be checked by eye."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from trueline_sim.randomness import stream
from trueline_sim.truth.scenario import Measurand, ProcessAnomaly

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Room"]


@dataclass(frozen=True)
class Room:
    """Temperature and humidity walk; a "window" adds 5 K times its magnitude while it is open."""

    step_K: float = 0.02  # noqa: N815 - the unit keeps its capital
    name: str = "room"
    sentence: str = "A room whose temperature and humidity wander."
    measurands: tuple[Measurand, ...] = (Measurand("air_temperature", "Cel"), Measurand("humidity", "%"))
    interval_s: float = 10.0
    anomalies: tuple[str, ...] = ("window",)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=lambda: {"start_Cel": (15.0, 30.0)})

    def start(
        self, *, devices: int, seed: int, start_ns: int, interval_s: float, anomalies: Sequence[ProcessAnomaly] = ()
    ) -> Wandering:
        return Wandering(self, devices, seed, start_ns, interval_s, anomalies)


class Wandering:
    """A room that runs."""

    def __init__(
        self,
        room: Room,
        devices: int,
        seed: int,
        start_ns: int,
        interval_s: float,
        anomalies: Sequence[ProcessAnomaly],
    ) -> None:
        self._rng = stream(seed, room.name, "walk")
        self._at = np.empty((devices, 2))
        self._at[:, 0] = stream(seed, room.name, "start").uniform(*room.ranges["start_Cel"], devices)
        self._at[:, 1] = stream(seed, room.name, "damp").uniform(40.0, 60.0, devices)
        self._room, self._start_ns, self._interval_ns = room, start_ns, round(interval_s * 1e9)
        self._anomalies, self._steps = anomalies, 0

    def advance(self, steps: int) -> NDArray[np.float64]:
        truth = self._rng.standard_normal((steps, *self._at.shape)) * self._room.step_K
        if steps:
            truth[0] += self._at
            np.add.accumulate(truth, axis=0, out=truth)
            self._at = truth[-1].copy()
        times = self._start_ns + np.arange(self._steps, self._steps + steps) * self._interval_ns
        self._steps += steps
        for anomaly in self._anomalies:
            during = (times >= anomaly.start_ns) & (times < anomaly.end_ns)
            truth[during, anomaly.device, 0] += 5.0 * anomaly.magnitude
        return truth
