"""A water loop: a pump drives water from a tank through two valves and back, like the test bed of SKAB.

Flow is where the pump's curve meets the loop's: quadratic in both, so it is solved in closed form at every node. All
power that goes in ends as heat in water and motor. Air pockets come and pass, and take the flow down and slowly back.
Electrical values are root mean squares over a meter's short window, which rarely holds whole periods of the mains.

Sources: Gülich, "Centrifugal Pumps", 3rd ed. 2014 (affinity, sect. 3.4; system curves, sect. 11.1; head lost in
cavitation, sect. 6.2); Katser and Kozitsin, "Skoltech Anomaly Benchmark", 2020 (the bench and what is done to it);
ISA-75.01.01 (a valve's resistance goes with the inverse square of its flow coefficient).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trueline_sim.truth.blocks import Blocks
from trueline_sim.truth.draws import relax
from trueline_sim.truth.place import Place
from trueline_sim.truth.scenario import Measurand

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trueline_sim.truth.blocks import Run
    from trueline_sim.truth.scenario import Scenario

    Array = NDArray[np.float64]

__all__ = ["SCENARIO", "loop_flow_l_min", "pump_head_bar", "pump_power_w"]

RANGES: Mapping[str, tuple[float, float]] = {
    "shutoff_bar": (0.3, 3.5),  # head of the pump against a closed valve
    "design_flow_l_min": (20.0, 180.0),
    "droop_share": (0.25, 0.5),  # head lost between no flow and design flow
    "suction_share": (0.1, 0.4),  # of the loop's resistance
    "efficiency_best": (0.25, 0.65),
    "motor_efficiency": (0.5, 0.8),
    "idle_w": (20.0, 120.0),
    "power_factor": (0.6, 0.9),
    "mains_v": (218.0, 240.0),
    "mains_wander_v": (0.3, 2.5),
    "window_ripple_voltage": (0.0, 0.25),  # SKAB's meter: 0.22; one with whole periods: 0
    "window_ripple_current": (0.0, 0.9),  # SKAB's meter: 0.85
    "water_l": (20.0, 400.0),
    "water_loss_w_k": (5.0, 60.0),
    "room_degc": (15.0, 30.0),
    "motor_rise_k": (25.0, 70.0),
    "motor_memory_s": (1200.0, 6000.0),
    "fan_k": (0.0, 1.0),  # the motor's fan, or whatever else switches: the step in its temperature
    "fan_period_s": (40.0, 400.0),
    "fan_duty": (0.2, 0.8),
    "mixing_k": (0.005, 0.05),  # water of many temperatures passes the probe
    "warm_share": (0.2, 1.0),  # how far from cold to steady the loop is at the start
    "vibration_1_g": (0.02, 0.3),
    "vibration_2_g": (0.03, 0.4),
    "vibration_wander": (0.005, 0.03),
    "vibration_flutter": (0.002, 0.01),
    "speed_wander": (0.002, 0.012),
    "turbulence_share": (0.001, 0.006),
    "air_pockets_per_h": (0.2, 6.0),
    "air_pocket_share": (0.005, 0.05),
    "tank_level": (50.0, 90.0),
}
ANOMALY_RANGES = {
    "leak": (0.02, 0.3),  # of the design flow, lost before the flow meter
    "cavitation": (0.1, 0.6),  # of the head lost to vapour
    "valve_closing": (0.4, 0.95),  # of the valve's opening, taken away over a minute
}
STEP_S = 10.0
WATT_PER_BAR_L_MIN = 1e5 / 60_000.0
WATER_J_L_K = 4180.0
LEVEL_EMPTY = 5.0
AIR_POCKET_MEMORY_S = 150.0


def pump_head_bar(flow_l_min: Array, speed: Array, shutoff_bar: Array, droop: Array) -> Array:
    """Head of the pump: shutoff * n^2 - droop * Q^2, which obeys affinity (Q as n, H as n^2)."""
    return np.asarray(shutoff_bar * speed**2 - droop * flow_l_min**2)


def loop_flow_l_min(speed: Array, shutoff_bar: Array, droop: Array, resistance: Array) -> Array:
    """Where the pump's head is what the loop takes: shutoff n^2 - droop Q^2 = resistance Q^2."""
    return np.asarray(speed * np.sqrt(shutoff_bar / (droop + resistance)))


def pump_power_w(flow_l_min: Array, head_bar: Array, speed: Array, design_l_min: Array, best: Array) -> Array:
    """Power at the shaft: hydraulic power over an efficiency that is a parabola of Q / n (so power goes as n^3)."""
    away = flow_l_min / (speed * design_l_min) - 1.0
    efficiency = best * np.maximum(1.0 - away**2, 0.05)
    return np.asarray(WATT_PER_BAR_L_MIN * flow_l_min * head_bar / efficiency)


class _Running(Blocks):
    """A loop at every device."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        p, draws = self.p, run.draws
        self._wanders = [
            draws.wander("speed", memory_s=900.0),
            draws.wander("mains", memory_s=300.0),
            draws.wander("vibration 1 slow", memory_s=3600.0, smooth_s=60.0),
            draws.wander("vibration 1", memory_s=120.0),
            draws.wander("vibration 2 slow", memory_s=3600.0, smooth_s=60.0),
            draws.wander("vibration 2", memory_s=120.0),
            draws.wander("room", memory_s=1800.0, smooth_s=120.0),
        ]
        self._pockets = draws.stream("air pockets")
        self._late = draws.wander("fan", memory_s=600.0)
        self._mix = draws.wander("mixing", memory_s=240.0)
        self._fan_phase = draws.stream("fan phase").random(self.devices)
        self._noise = draws.stream("noise")
        self._phase = draws.stream("phase")
        p["droop"] = p["droop_share"] * p["shutoff_bar"] / p["design_flow_l_min"] ** 2
        p["resistance"] = (1.0 - p["droop_share"]) * p["shutoff_bar"] / p["design_flow_l_min"] ** 2
        ones = np.ones(self.devices)
        rated = self._power(ones * p["design_flow_l_min"], ones)
        p["rated_w"] = rated
        self._steady_k = rated / p["water_loss_w_k"]
        self._water_k = p["warm_share"] * self._steady_k
        self._motor_k = p["motor_rise_k"] * (0.5 + 0.7 * p["warm_share"])
        self._closed, self._air = np.zeros(self.devices), np.zeros(self.devices)
        self._level = p["tank_level"].copy()

    def _power(self, flow: Array, speed: Array) -> Array:
        p = self.p
        head = pump_head_bar(flow, speed, p["shutoff_bar"], p["droop"])
        return pump_power_w(flow, np.maximum(head, 0.0), speed, p["design_flow_l_min"], p["efficiency_best"])

    def nodes(self, seconds: Array, acting_ns: NDArray[np.int64]) -> Array:
        p, n, step_s = self.p, len(seconds), self.grid.step_s
        shape = (n, self.devices)
        leak, vapour, closing = (
            np.broadcast_to(self.episodes.level(kind, acting_ns, bounds), shape)
            for kind, bounds in ANOMALY_RANGES.items()
        )
        speed_of, mains_of, slow_1, mid_1, slow_2, mid_2, room_of = (each.advance(n) for each in self._wanders)
        speed = 1.0 + p["speed_wander"] * speed_of
        closed = relax(closing, self._closed, -np.expm1(-step_s / 20.0))
        uniform = self._pockets.random(shape)
        chance = p["air_pockets_per_h"] * step_s / 3600.0
        size = (
            np.where(uniform < chance, -np.log1p(-0.999 * np.minimum(uniform / chance, 1.0)), 0.0)
            * p["air_pocket_share"]
        )
        memory = -np.expm1(-step_s / AIR_POCKET_MEMORY_S)
        air = relax(size / memory, self._air, memory)
        lost = np.minimum(vapour + air, 0.9)
        # hydraulics
        suction, rest = p["suction_share"], 1.0 - p["suction_share"]
        resistance = p["resistance"] * (rest + suction / (1.0 - closed) ** 2)
        shutoff = p["shutoff_bar"] * (1.0 - lost)
        pumped = loop_flow_l_min(speed, shutoff, p["droop"], resistance)
        lost_l_min = leak * p["design_flow_l_min"] * (self._level > LEVEL_EMPTY)
        flow = np.maximum(pumped - lost_l_min, 0.0)
        level = self._level - np.cumsum(lost_l_min, axis=0) * (step_s / 60.0) * 100.0 / p["water_l"]
        level = np.maximum(level, LEVEL_EMPTY)
        self._level = level[-1].copy()
        pressure = rest * p["resistance"] * flow**2
        # power and heat
        shaft = self._power(pumped, speed) * (1.0 - 0.5 * vapour)
        electric = shaft / p["motor_efficiency"] + p["idle_w"]
        voltage = p["mains_v"] + p["mains_wander_v"] * mains_of
        current = electric / (voltage * p["power_factor"])
        held = p["water_l"] * WATER_J_L_K
        room = 0.5 * room_of
        gained = shaft / p["water_loss_w_k"] + room
        water = relax(gained, self._water_k, -np.expm1(-step_s * p["water_loss_w_k"] / held))
        duty = shaft / p["rated_w"]
        motor = relax(p["motor_rise_k"] * duty, self._motor_k, -np.expm1(-step_s / p["motor_memory_s"]))
        cycles = seconds[:, np.newaxis] / p["fan_period_s"] + self._fan_phase + 0.2 * self._late.advance(n)
        fan = p["fan_k"] * (cycles % 1.0 < p["fan_duty"])
        mixing = p["mixing_k"] * self._mix.advance(n)
        # vibration
        rough = 1.0 + 4.0 * vapour + 1.5 * closed * suction + 0.5 * air
        away = speed**2 * rough
        first = p["vibration_1_g"] * away * (1.0 + p["vibration_wander"] * (slow_1 + 0.35 * mid_1))
        second = p["vibration_2_g"] * away * (1.0 + p["vibration_wander"] * (slow_2 + 0.35 * mid_2))
        motor_degc = p["room_degc"] + room + 0.6 * water + motor + fan
        return np.stack(
            (first, second, current, pressure, motor_degc, p["room_degc"] + water + mixing, voltage, flow, level, rough)
        )

    def samples(self, slow: Array, seconds: Array, time_ns: NDArray[np.int64]) -> Array:
        del seconds, time_ns
        p, shape = self.p, slow.shape[1:]
        out = slow[:-1].copy()
        rough = slow[-1]
        shake = self._noise.standard_normal((shape[0], 3, shape[1]))
        flutter = p["vibration_flutter"]
        out[0] *= 1.0 + flutter * shake[:, 0]
        out[1] *= 1.0 + flutter * shake[:, 1]
        eddies = 1.0 + p["turbulence_share"] * rough * shake[:, 2]
        out[7] *= eddies
        out[3] *= eddies**2
        # A window of any length, begun anywhere: V^2 = V0^2 (1 + a cos 2phi), a at most the ripple.
        drawn = self._phase.random((shape[0], 2, shape[1]))
        angle, length = 2 * np.pi * drawn[:, 0], drawn[:, 1]
        lag = np.arccos(p["power_factor"])
        out[6] *= np.sqrt(1.0 + p["window_ripple_voltage"] * length * np.cos(angle))
        out[2] *= np.sqrt(1.0 + p["window_ripple_current"] * length * np.cos(angle - 2 * lag))
        return out


SCENARIO: Final[Scenario] = Place(
    name="water_loop",
    sentence=(
        "A water loop like SKAB's test bed: pump, valves and tank with pressure, flow, power, heat and vibration."
    ),
    measurands=(
        Measurand("vibration_1", "[g]"),
        Measurand("vibration_2", "[g]"),
        Measurand("current", "A"),
        Measurand("pressure", "bar"),
        Measurand("motor_temperature", "Cel"),
        Measurand("fluid_temperature", "Cel"),
        Measurand("voltage", "V"),
        Measurand("flow", "L/min"),
        Measurand("tank_level", "%"),
    ),
    interval_s=1.0,
    step_s=STEP_S,
    parameters=RANGES,
    anomaly_ranges=ANOMALY_RANGES,
    process=_Running,
)
