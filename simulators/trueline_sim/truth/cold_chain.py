"""A cold box, from a chemist's refrigerator to a freezer lorry: thermostat, coil, defrost, doors, and goods that lag.

The thermostat switches on its own bulb's temperature, with hysteresis; the coil cools the air, walls and doors warm it,
and goods follow slowly. Moisture comes with the door and freezes out on the coil. Every balance is stepped implicitly.
The box is scaled by the loss through its walls: masses are times, couplings are multiples.

Sources: ASHRAE Handbook Refrigeration 2018, ch. 24 (loads: walls, air change through doors, goods, defrost); Gosney and
Olama, "Heat and enthalpy gains through cold room doorways", Proc. Inst. Refrig. 72, 1975 (an open door); Laguerre and
Flick, "Heat transfer by natural convection in domestic refrigerators", J. Food Eng. 62, 2004 (orders of magnitude);
WHO TRS 961 annex 9 (2 to 8 degC for vaccines).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_sim.truth import weather
from trueline_sim.truth.blocks import Blocks
from trueline_sim.truth.place import Place
from trueline_sim.truth.scenario import Measurand
from trueline_sim.truth.weather import Sky, Weather, saturation_kpa

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trueline_sim.truth.blocks import Run
    from trueline_sim.truth.scenario import Scenario

    Array = NDArray[np.float64]

__all__ = ["SCENARIO"]

RANGES: Mapping[str, tuple[float, float]] = {
    **weather.RANGES,
    "setpoint_degc": (-22.0, 6.0),
    "hysteresis_k": (0.6, 3.0),
    "outdoor_share": (0.0, 1.0),  # how much of the weather the room around it feels
    "room_degc": (17.0, 25.0),
    "wall_loss_w_k": (1.0, 40.0),  # refrigerator to lorry
    "air_memory_s": (1500.0, 8000.0),  # air and liner, over the wall's loss
    "goods_memory_s": (8e3, 2e5),
    "goods_coupling": (1.0, 6.0),
    "coil_memory_s": (300.0, 1500.0),
    "coil_coupling": (8.0, 25.0),
    "bulb_memory_s": (30.0, 240.0),
    "duty_share": (0.25, 0.7),  # of the time the compressor runs, in a room of 30 degC
    "cooling_per_watt": (1.2, 3.0),  # coefficient of performance
    "fan_current_share": (0.02, 0.15),
    "mains_v": (210.0, 240.0),
    "defrost_every_h": (6.0, 12.0),
    "defrost_min": (8.0, 25.0),
    "door_per_h": (0.3, 8.0),  # while people work
    "door_open_s": (8.0, 60.0),
    "door_coupling": (3.0, 25.0),
    "stir_k": (0.02, 0.2),
}
ANOMALY_RANGES = {
    "door_left_open": (0.2, 1.0),  # how wide
    "compressor_failure": (0.7, 1.0),  # of the cooling, gone at once
    "refrigerant_loss": (0.2, 0.9),  # of the cooling, gone at the end
}
STEP_S = 30.0
HOT_ROOM_DEGC = 30.0
WORK_H = (7.0, 20.0)
NIGHT_SHARE = 0.08
FREEZING_OUT = 2.0
"""Vapour freezes out on the coil this many times as fast as the walls lose heat, by the analogy of heat and mass."""


class Box(NamedTuple):
    """What a cold box remembers, (devices,) each."""

    air_degc: Array
    coil_degc: Array
    goods_degc: Array
    bulb_degc: Array
    vapour_kpa: Array
    running: Array


class Around(NamedTuple):
    """What acts on it, (n, devices) each."""

    room_degc: Array
    room_kpa: Array
    door: Array
    cooling_share: Array
    defrosting: Array


def step(box: Box, now: Around, p: Mapping[str, Array], step_s: float) -> Box:
    """One step of thermostat, heat and vapour. Heat flows are over `wall_loss_w_k`: kelvins, not watts."""
    bulb = box.bulb_degc + (box.air_degc - box.bulb_degc) * -np.expm1(-step_s / p["bulb_memory_s"])
    error = bulb - p["setpoint_degc"]
    running = np.where(
        error > 0.5 * p["hysteresis_k"], 1.0, np.where(error < -0.5 * p["hysteresis_k"], 0.0, box.running)
    )
    running *= 1.0 - now.defrosting
    drive = (now.defrosting * 0.7 - running * now.cooling_share) * p["capacity_k"]
    heaped = p["coil_memory_s"] / step_s
    coil = (heaped * box.coil_degc + p["coil_coupling"] * box.air_degc + drive) / (heaped + p["coil_coupling"])
    open_door = now.door * p["door_coupling"]
    inertia = p["air_memory_s"] / step_s
    gain = (1.0 + open_door) * now.room_degc + p["goods_coupling"] * box.goods_degc + p["coil_coupling"] * coil
    air = (inertia * box.air_degc + gain) / (inertia + 1.0 + open_door + p["goods_coupling"] + p["coil_coupling"])
    mass = p["goods_memory_s"] / step_s
    goods = (mass * box.goods_degc + p["goods_coupling"] * air) / (mass + p["goods_coupling"])
    frost = saturation_kpa(np.minimum(coil, air))
    leaking = 0.02 + open_door
    fresh = 0.05 * inertia  # the air alone, without the liner
    vapour = (fresh * box.vapour_kpa + leaking * now.room_kpa + FREEZING_OUT * frost) / (fresh + leaking + FREEZING_OUT)
    return Box(air, coil, goods, bulb, np.minimum(vapour, saturation_kpa(air)), running)


class _Running(Blocks):
    """A cold box at every device."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        p, draws = self.p, run.draws
        p["capacity_k"] = (HOT_ROOM_DEGC - p["setpoint_degc"]) / p["duty_share"]
        self._weather = Weather(p, draws, start_ns=run.start_ns)
        self._doors = draws.spells("doors", duration_s=p["door_open_s"])
        self._stir = draws.wander("stir", memory_s=60.0)
        chance = draws.wander("first", memory_s=1.0).advance(2)
        air = p["setpoint_degc"] + 0.3 * np.clip(chance[0], -1, 1) * p["hysteresis_k"]
        self._box = Box(air, air - 4.0, p["setpoint_degc"] + 0.0, air, 0.7 * saturation_kpa(air), (chance[1] > 0) * 1.0)
        self._until_defrost_s = p["defrost_every_h"] * 3600.0 * (0.5 + 0.2 * np.clip(chance[1], -2, 2))

    def nodes(self, seconds: Array, acting_ns: NDArray[np.int64]) -> Array:
        p = self.p
        around = self._around(self._weather.advance(seconds), seconds, acting_ns)
        air, goods, vapour, running = (np.empty_like(around.door) for _ in range(4))
        for k, row in enumerate(zip(*around, strict=True)):
            self._box = step(self._box, Around(*row), p, self.grid.step_s)
            air[k], _, goods[k], _, vapour[k], running[k] = self._box
        air += p["stir_k"] * (1.0 + 4.0 * around.door) * self._stir.advance(len(seconds))
        humidity = 100.0 * np.minimum(vapour / saturation_kpa(air), 1.0)
        lift = 1.0 + 0.012 * (around.room_degc - HOT_ROOM_DEGC)  # a hotter room is more work
        work_w = p["capacity_k"] * p["wall_loss_w_k"] / p["cooling_per_watt"]
        share = running * (0.35 + 0.65 * around.cooling_share) * lift
        current = work_w / p["mains_v"] * (p["fan_current_share"] + share + 0.7 * around.defrosting)
        return np.stack((air, goods, humidity, around.room_degc, current, around.door))

    def _around(self, sky: Sky, seconds: Array, acting_ns: NDArray[np.int64]) -> Around:
        p = self.p
        room = p["room_degc"] + p["outdoor_share"] * (sky.temperature_degc - p["room_degc"])
        at_work = (sky.local_h >= WORK_H[0]) & (sky.local_h < WORK_H[1])
        rate_hz = p["door_per_h"] / 3600.0 * np.where(at_work, 1.0, NIGHT_SHARE)
        left_open = self.episodes.level("door_left_open", acting_ns, ANOMALY_RANGES["door_left_open"])
        door = np.maximum(self._doors.advance(len(seconds), rate_hz), left_open)
        failed = self.episodes.level("compressor_failure", acting_ns, ANOMALY_RANGES["compressor_failure"])
        lost = self.episodes.growth("refrigerant_loss", acting_ns, ANOMALY_RANGES["refrigerant_loss"])
        since_s = (seconds[:, np.newaxis] - self._until_defrost_s) % (p["defrost_every_h"] * 3600.0)
        return Around(
            room_degc=room,
            room_kpa=np.minimum(sky.vapour_kpa, saturation_kpa(room)),
            door=door,
            cooling_share=np.clip(1.0 - failed - lost, 0.0, 1.0) * np.ones_like(room),
            defrosting=(since_s < p["defrost_min"] * 60.0).astype(np.float64),
        )


SCENARIO: Final[Scenario] = Place(
    name="cold_chain",
    sentence=("Cold boxes from refrigerator to freezer lorry: thermostat cycles, defrosts, doors, and goods that lag."),
    measurands=(
        Measurand("air_temperature", "Cel"),
        Measurand("goods_temperature", "Cel"),
        Measurand("humidity", "%"),
        Measurand("room_temperature", "Cel"),
        Measurand("compressor_current", "A"),
        Measurand("door_open", "1"),
    ),
    interval_s=30.0,
    step_s=STEP_S,
    parameters=RANGES,
    anomaly_ranges=ANOMALY_RANGES,
    process=_Running,
)
