"""Places that could be real, with physics: what is true there at every moment.

Promises: `SCENARIOS` holds every scenario by its name; each module of this room has one, called `SCENARIO`.
Refuses to know of sensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trueline_sim.truth import air_quality, cold_chain, greenhouse, machine, motion, water_loop

if TYPE_CHECKING:
    from trueline_sim.truth.scenario import Scenario

__all__ = ["SCENARIOS"]

_ALL: Final[tuple[Scenario, ...]] = (
    greenhouse.SCENARIO,
    machine.SCENARIO,
    water_loop.SCENARIO,
    cold_chain.SCENARIO,
    air_quality.SCENARIO,
    motion.SCENARIO,
)

SCENARIOS: Final[dict[str, Scenario]] = {scenario.name: scenario for scenario in _ALL}
