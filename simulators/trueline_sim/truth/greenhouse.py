"""A greenhouse: heat, vapour and water of a square metre of floor, under weather, with heater, vents and irrigation.

Air takes heat from the sun, the soil and the heater and loses it through the cover, through vents and into evaporation;
vapour comes from the crop and leaves through vents and as dew on the cover; soil gains irrigation and loses what the
crop drinks (Penman-Monteith) and what drains. All are stepped implicitly: stable at any step, and their books close.

Sources: Allen et al., FAO Irrigation and Drainage Paper 56, 1998 (equations by number); Vanthoor et al., "A methodology
for model-based greenhouse design: Part 1", Biosystems Engineering 110, 2011 (the balances and their ranges);
Littlefair, "The luminous efficacy of daylight", Lighting Res. Technol. 17, 1985 (110 to 120 lm/W).
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

__all__ = ["SCENARIO", "Greenhouses", "reference_evapotranspiration_mm_h"]

RANGES: Mapping[str, tuple[float, float]] = {
    **weather.RANGES,
    "height_m": (2.2, 5.0),
    "cover_transmittance": (0.55, 0.9),
    "cover_loss_w_m2_k": (3.5, 9.0),  # double to single film, tunnels with much cover for their floor
    "thermal_mass_j_m2_k": (12e3, 60e3),  # air, crop and what stands about
    "soil_mass_j_m2_k": (150e3, 500e3),  # the upper decimetre
    "soil_coupling_w_m2_k": (4.0, 9.0),
    "deep_coupling_w_m2_k": (1.0, 4.0),
    "soil_share_of_sun": (0.05, 0.25),
    "air_share_of_sun": (0.45, 0.65),  # before evaporation takes its part,
    "infiltration_per_h": (0.3, 3.0),
    "vents_per_h": (15.0, 60.0),
    "vent_setpoint_degc": (20.0, 28.0),
    "heater_setpoint_degc": (2.0, 16.0),
    "heater_w_m2": (60.0, 250.0),
    "crop_coefficient": (0.15, 1.15),  # FAO-56 table 12: bare 0.15, initial 0.4-0.6, full crop 1.05-1.15
    "air_movement_m_s": (0.1, 0.6),
    "root_depth_m": (0.2, 0.5),
    "wilting_m3_m3": (0.05, 0.14),  # FAO-56 table 19, sand to loam
    "available_m3_m3": (0.08, 0.18),
    "saturation_excess_m3_m3": (0.08, 0.2),
    "stress_share": (0.3, 0.6),  # FAO-56 table 22: p, the depletion from which a crop drinks less
    "depletion_share": (0.005, 0.4),  # at which the gardener waters: drip every morning, or now and then
    "bulb_share": (0.1, 0.5),  # of the root zone is wetted directly, and holds the sensor
    "bulb_memory_s": (3600.0, 36_000.0),
    "drainage_per_h": (0.02, 0.3),
    "irrigation_mm_h": (3.0, 12.0),
    "irrigation_hour_h": (5.0, 10.0),
    "patchiness_k_m2_w": (0.0002, 0.0025),  # how uneven the air is, for each watt of sun
}
ANOMALY_RANGES = {
    "irrigation_stuck": (0.2, 1.0),  # share of the valve that no longer closes
    "irrigation_blocked": (0.7, 1.0),  # share of the flow that no longer comes
    "door_left_open": (8.0, 60.0),  # air changes an hour on top
    "heater_off": (0.6, 1.0),  # share of the heater that is gone
}
STEP_S = 120.0
LATENT_J_KG = 2.45e6
PSYCHROMETRIC_KPA_K = 0.0665  # FAO-56 eq. 8 at 100 m
AIR_J_M3_K = 1206.0
VAPOUR_KG_K_M3_KPA = 2.1667  # the gas law of vapour: density = 2.1667 e / T
KELVIN = 273.15
LUX_PER_W_M2 = 115.0
CONDENSATION_M_S = 0.003
DOOR_SPAN_K = 4.0


def reference_evapotranspiration_mm_h(
    net_w_m2: Array, temperature_degc: Array, wind_m_s: Array, vapour_kpa: Array, soil_heat_w_m2: Array | float = 0.0
) -> Array:
    """Penman-Monteith for grass, hourly (FAO-56 eq. 53), mm/h.

    Args:
        net_w_m2: net radiation.
        temperature_degc: of the air.
        wind_m_s: at 2 m.
        vapour_kpa: actual vapour pressure.
        soil_heat_w_m2: into the soil.
    """
    saturated = saturation_kpa(temperature_degc)
    slope = 4098.0 * saturated / (temperature_degc + 237.3) ** 2  # eq. 13
    energy = 0.408 * 0.0036 * slope * (net_w_m2 - soil_heat_w_m2)  # 1 W/m2 for an hour is 0.0036 MJ/m2
    air = PSYCHROMETRIC_KPA_K * 37.0 / (temperature_degc + 273.0) * wind_m_s * (saturated - vapour_kpa)
    return np.asarray((energy + air) / (slope + PSYCHROMETRIC_KPA_K * (1.0 + 0.34 * wind_m_s)))


class Forcing(NamedTuple):
    """What acts on a greenhouse at n nodes, (n, devices) each: outside air, sun inside, and what is broken."""

    outside_degc: Array
    outside_kg_m3: Array
    sun_w_m2: Array
    door_per_h: Array
    heater_share: Array
    morning: Array
    stuck_share: Array
    blocked_share: Array


class State(NamedTuple):
    """What a greenhouse remembers, (devices,) each."""

    air_degc: Array
    soil_degc: Array
    vapour_kg_m3: Array
    moisture_m3_m3: Array
    irrigating: Array
    excess_m3_m3: Array  # by which the wetted bulb is moister than the mean


class Fluxes(NamedTuple):
    """What went in and out during a step, (devices,) each: the books of heat (W/m2) and water (mm/h)."""

    air_gain_w_m2: Array
    soil_gain_w_m2: Array
    irrigation_mm_h: Array
    evapotranspiration_mm_h: Array
    drainage_mm_h: Array


def step(state: State, now: Forcing, p: Mapping[str, Array], step_s: float) -> tuple[State, Fluxes]:
    """One step of all balances; `now` holds one row of each forcing."""
    vents = p["vents_per_h"] * np.clip((state.air_degc - p["vent_setpoint_degc"]) / DOOR_SPAN_K, 0.0, 1.0)
    changes_per_s = (p["infiltration_per_h"] + vents + now.door_per_h) / 3600.0
    exchange_m_s = p["height_m"] * changes_per_s
    heater = p["heater_w_m2"] * now.heater_share * np.clip(p["heater_setpoint_degc"] - state.air_degc, 0.0, 2.0) * 0.5
    # water
    vapour_kpa = state.vapour_kg_m3 * (state.air_degc + KELVIN) / VAPOUR_KG_K_M3_KPA
    wet = (state.moisture_m3_m3 - p["wilting_m3_m3"]) / p["available_m3_m3"]
    stress = np.clip(wet / (1.0 - p["stress_share"]), 0.0, 1.0)  # FAO-56 eq. 84
    reference = reference_evapotranspiration_mm_h(0.5 * now.sun_w_m2, state.air_degc, p["air_movement_m_s"], vapour_kpa)
    drunk_mm_h = np.maximum(reference, 0.0) * stress * p["crop_coefficient"]  # FAO-56 eq. 81
    thirsty = now.morning * (wet < 1.0 - p["depletion_share"])
    irrigating = np.maximum(state.irrigating, thirsty) * (wet < 1.0)
    valve = np.maximum(irrigating * (1.0 - now.blocked_share), now.stuck_share)
    depth_mm_s = 1000.0 * p["root_depth_m"] * 3600.0  # one m3/m3 held over a second, in mm/h
    drained_mm_h = p["drainage_per_h"] / 3600.0 * depth_mm_s * np.maximum(wet - 1.0, 0.0) * p["available_m3_m3"]
    full = p["wilting_m3_m3"] + p["available_m3_m3"] + p["saturation_excess_m3_m3"]
    given_mm_h = valve * p["irrigation_mm_h"]
    room_mm_h = np.maximum(full - state.moisture_m3_m3, 0.0) * depth_mm_s / step_s + drunk_mm_h
    drained_mm_h = np.maximum(drained_mm_h, given_mm_h - room_mm_h)  # what saturated soil cannot hold runs off
    moisture = state.moisture_m3_m3 + (given_mm_h - drunk_mm_h - drained_mm_h) * (step_s / depth_mm_s)
    share = p["bulb_share"]
    soaked = given_mm_h * (step_s / depth_mm_s) * (1.0 - share) / share  # all falls on the bulb, and spreads
    excess = (state.excess_m3_m3 + soaked) * np.exp(-step_s / p["bulb_memory_s"])
    # heat
    latent = drunk_mm_h * (LATENT_J_KG / 3600.0)
    sun_air = p["air_share_of_sun"] * now.sun_w_m2
    outside = p["cover_loss_w_m2_k"] + AIR_J_M3_K * exchange_m_s
    inertia = p["thermal_mass_j_m2_k"] / step_s
    gain = sun_air + heater - latent + outside * now.outside_degc + p["soil_coupling_w_m2_k"] * state.soil_degc
    air = (inertia * state.air_degc + gain) / (inertia + outside + p["soil_coupling_w_m2_k"])
    heaped = p["soil_mass_j_m2_k"] / step_s
    into = p["soil_share_of_sun"] * now.sun_w_m2 + p["deep_coupling_w_m2_k"] * p["deep_degc"]
    coupling = p["soil_coupling_w_m2_k"] + p["deep_coupling_w_m2_k"]
    soil = (heaped * state.soil_degc + into + p["soil_coupling_w_m2_k"] * air) / (heaped + coupling)
    # vapour: what the crop gives, what the vents take, what condenses on the cover
    saturated = VAPOUR_KG_K_M3_KPA * saturation_kpa(air) / (air + KELVIN)
    cover_degc = 0.5 * (air + now.outside_degc)
    dewy = VAPOUR_KG_K_M3_KPA * saturation_kpa(cover_degc) / (cover_degc + KELVIN)
    condensing = CONDENSATION_M_S * (state.vapour_kg_m3 > dewy)
    held = p["height_m"] / step_s
    source = drunk_mm_h / 3600.0 + exchange_m_s * now.outside_kg_m3 + condensing * dewy
    vapour = np.minimum((held * state.vapour_kg_m3 + source) / (held + exchange_m_s + condensing), saturated)
    fluxes = Fluxes(
        gain - (outside + p["soil_coupling_w_m2_k"]) * air,
        into + p["soil_coupling_w_m2_k"] * air - coupling * soil,
        given_mm_h,
        drunk_mm_h,
        drained_mm_h,
    )
    return State(air, soil, vapour, moisture, irrigating, excess), fluxes


class Greenhouses(Blocks):
    """A greenhouse at every device.

    Attributes:
        books: what went in and out at each node, `grid.step_s` apart, where somebody puts a list here to have it.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.books: list[Fluxes] | None = None
        draws = run.draws
        self._weather = Weather(self.p, draws, start_ns=run.start_ns)
        self._patches = draws.wander("patches", memory_s=1500.0)
        first = Weather(self.p, draws, start_ns=run.start_ns).advance(np.zeros(1))
        air = np.maximum(first.temperature_degc[0] + 1.0, self.p["heater_setpoint_degc"])
        sun = self._weather.day_sun_w_m2 * self.p["cover_transmittance"]
        excess = 0.3 * sun / (self.p["cover_loss_w_m2_k"] + 12.0)  # evaporation and vents take the rest
        self.p["deep_degc"] = np.maximum(self._weather.day_degc + excess, self.p["heater_setpoint_degc"])
        coupling = self.p["soil_coupling_w_m2_k"] + self.p["deep_coupling_w_m2_k"]
        soil = self.p["deep_degc"] + self.p["soil_share_of_sun"] * sun / coupling
        wet = self.p["wilting_m3_m3"] + self.p["available_m3_m3"] * (1.0 - 0.8 * self.p["depletion_share"])
        vapour = VAPOUR_KG_K_M3_KPA * first.vapour_kpa[0] / (first.temperature_degc[0] + KELVIN)
        self._state = State(air, soil, vapour, wet, np.zeros(self.devices), np.zeros(self.devices))

    def nodes(self, seconds: Array, acting_ns: NDArray[np.int64]) -> Array:
        """As `Blocks`."""
        sky = self._weather.advance(seconds)
        forcing = self._forcing(sky, acting_ns)
        air, soil, vapour, moisture, excess = (np.empty_like(sky.cover) for _ in range(5))
        for k, row in enumerate(zip(*forcing, strict=True)):
            self._state, fluxes = step(self._state, Forcing(*row), self.p, self.grid.step_s)
            if self.books is not None:
                self.books.append(fluxes)
            air[k], soil[k], vapour[k], moisture[k], _, excess[k] = self._state
        uneven = self._patches.advance(len(seconds)) * self.p["patchiness_k_m2_w"] * forcing.sun_w_m2
        saturated = VAPOUR_KG_K_M3_KPA * saturation_kpa(air + uneven) / (air + uneven + KELVIN)
        humidity = 100.0 * np.minimum(vapour / saturated, 1.0)
        full = self.p["wilting_m3_m3"] + self.p["available_m3_m3"] + self.p["saturation_excess_m3_m3"]
        moisture = np.minimum(moisture + excess, full)
        light = forcing.sun_w_m2 * LUX_PER_W_M2
        return np.stack((air + uneven, humidity, soil, light, moisture, sky.temperature_degc))

    def _forcing(self, sky: Sky, acting_ns: NDArray[np.int64]) -> Forcing:
        def level(kind: str) -> Array:
            return np.broadcast_to(self.episodes.level(kind, acting_ns, ANOMALY_RANGES[kind]), sky.cover.shape)

        hour = self.p["irrigation_hour_h"]
        return Forcing(
            outside_degc=sky.temperature_degc,
            outside_kg_m3=VAPOUR_KG_K_M3_KPA * sky.vapour_kpa / (sky.temperature_degc + KELVIN),
            sun_w_m2=sky.radiation_w_m2 * self.p["cover_transmittance"],
            door_per_h=level("door_left_open"),
            heater_share=1.0 - level("heater_off"),
            morning=((sky.local_h >= hour) & (sky.local_h < hour + 1.0)).astype(np.float64),
            stuck_share=level("irrigation_stuck"),
            blocked_share=level("irrigation_blocked"),
        )


SCENARIO: Final[Scenario] = Place(
    name="greenhouse",
    sentence=(
        "A greenhouse: heat, vapour and water balances under passing weather, with heater, vents and irrigation."
    ),
    measurands=(
        Measurand("air_temperature", "Cel"),
        Measurand("humidity", "%"),
        Measurand("soil_temperature", "Cel"),
        Measurand("light", "lx"),
        Measurand("soil_moisture", "m3/m3"),
        Measurand("outdoor_temperature", "Cel"),
    ),
    interval_s=60.0,
    step_s=STEP_S,
    parameters=RANGES,
    anomaly_ranges=ANOMALY_RANGES,
    process=Greenhouses,
)
