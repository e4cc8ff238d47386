"""How a scenario is put together from what its module writes down: ranges, a step, and a process.

Promises: a run has everything drawn, every anomaly checked and the grid laid before its process begins. Refuses to know
any physics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trueline_sim.truth.blocks import Blocks, Episodes, Grid, Run
from trueline_sim.truth.draws import Draws

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trueline_sim.truth.scenario import Measurand, Process, ProcessAnomaly

__all__ = ["Place"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A `Scenario`.

    Attributes:
        step_s: wished between nodes of the slow states, at least.
        step_max_s: and at most: between the two it follows the interval. Zero: always `step_s`.
        parameters: bounds of what each device draws.
        anomaly_ranges: bounds of each kind of process anomaly: `magnitude` 0 to 1 spans them.
        process: makes the process that runs.
    """

    name: str
    sentence: str
    measurands: tuple[Measurand, ...]
    interval_s: float
    step_s: float
    step_max_s: float = 0.0
    parameters: Mapping[str, tuple[float, float]]
    anomaly_ranges: Mapping[str, tuple[float, float]]
    process: Callable[[Run], Blocks]

    @property
    def anomalies(self) -> tuple[str, ...]:
        """Kinds of process anomaly it knows."""
        return tuple(self.anomaly_ranges)

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Bounds of all that is drawn."""
        return {**self.parameters, **{f"anomaly_{kind}": bounds for kind, bounds in self.anomaly_ranges.items()}}

    def start(
        self, *, devices: int, seed: int, start_ns: int, interval_s: float, anomalies: Sequence[ProcessAnomaly] = ()
    ) -> Process:
        """A process of so many devices, each with parameters of its own, from `start_ns` on (UTC, ns since 1970).

        Raises:
            ValueError: no device, no positive interval, or an anomaly that does not belong here.
        """
        if devices < 1:
            raise ValueError(f"devices is {devices}: there must be at least one")
        grid = Grid(interval_s, max(self.step_s, min(interval_s, self.step_max_s)))
        draws = Draws(seed, self.name, devices, grid.step_s)
        run = Run(
            start_ns=start_ns,
            interval_s=interval_s,
            grid=grid,
            parameters=draws.parameters(self.parameters),
            draws=draws,
            episodes=Episodes(anomalies, self.anomalies, devices),
        )
        return self.process(run)
