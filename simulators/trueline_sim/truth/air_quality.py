"""Air over a street: what traffic gives, what the mixed layer makes of it, and what the sun does with it.

Emissions follow the hours of people and are diluted in a layer that the sun lifts by day and that lies flat by night:
the same traffic is felt twice as much at dawn. NO, NO2 and ozone stand in the equilibrium of Leighton: with total NOx,
total oxidant and sunlight given, it is a quadratic, solved in closed form. So ozone dips where NO2 peaks, and their sum
is smooth; sensors that mix the gases up find here what there is to mix up.

Sources: Seinfeld and Pandis, "Atmospheric Chemistry and Physics", 3rd ed. 2016 (photostationary state, eq. 6.6; mixed
layer, ch. 16); Leighton, "Photochemistry of Air Pollution", 1961; Clapp and Jenkin, "Analysis of the relationship
between ambient levels of O3, NO2 and NO", Atmos. Environ. 35, 2001 (oxidant is regional plus local).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trueline_sim.truth import weather
from trueline_sim.truth.blocks import Blocks
from trueline_sim.truth.draws import relax
from trueline_sim.truth.place import Place
from trueline_sim.truth.scenario import Measurand
from trueline_sim.truth.weather import Sky, Weather, saturation_kpa

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trueline_sim.truth.blocks import Run
    from trueline_sim.truth.scenario import Scenario

    Array = NDArray[np.float64]

__all__ = ["SCENARIO", "photostationary"]

RANGES: Mapping[str, tuple[float, float]] = {
    **weather.RANGES,
    "nox_ppb": (4.0, 60.0),  # mean at the place: village to busy street
    "co_per_nox": (4.0, 14.0),
    "co_background_ppb": (90.0, 180.0),
    "oxidant_ppb": (25.0, 45.0),  # Clapp and Jenkin: regional, 30 to 40
    "oxidant_per_nox": (0.05, 0.2),  # primary NO2, Clapp and Jenkin: 0.1
    "photochemical_ppb": (5.0, 45.0),  # of ozone, on a day of full sun
    "night_loss_share": (0.1, 0.55),  # deposited under the inversion
    "pm_regional_ug_m3": (3.0, 15.0),
    "pm_per_nox_ug_m3_ppb": (0.05, 0.3),
    "rush_share": (0.3, 0.8),
    "night_share": (0.1, 0.35),
    "layer_night_m": (80.0, 300.0),
    "layer_lift_m_m2_w": (2.0, 5.0),  # 800 to 2000 m on a summer afternoon
    "plume_spread": (0.15, 0.6),
    "weekend_share": (0.5, 0.9),
}
ANOMALY_RANGES = {
    "traffic_jam": (1.0, 6.0),  # times the usual emissions, on top
    "smoke": (15.0, 250.0),  # ug/m3 of PM2.5; carbon monoxide comes with it
}
STEP_S = 60.0
DAY_S = 86_400.0
NS_PER_S = 1_000_000_000
LEIGHTON_PPB_M2_W = 18.0 / 900.0
"""J/k = [NO][O3]/[NO2]: about 18 ppb at 900 W/m2 (J 0.008 /s, k 4.4e-4 /ppb/s; Seinfeld and Pandis sect. 6.2)."""
CO_PPB_PER_SMOKE = 6.0
EDDIES = 0.025
"""Share by which what comes from afar is uneven, as eddies carry it by."""
LAYER_TYPICAL_M = 500.0
RUSH_H = (8.0, 17.8)
RUSH_WIDTH_H = (1.1, 1.7)
SATURDAY_FROM_THURSDAY = 2
"""1970 began on a Thursday."""


class Emission(NamedTuple):
    """The shape of traffic, mean about 1, (n, devices), and what lies before it."""

    traffic: Array
    layer_m: Array


def photostationary(nox: Array, oxidant: Array, ratio: Array) -> tuple[Array, Array]:
    """NO2 and O3 where NO * O3 = ratio * NO2 (Seinfeld and Pandis eq. 6.6), NOx = NO + NO2, oxidant = O3 + NO2.

    Args:
        nox: total, ppb.
        oxidant: total, ppb.
        ratio: J/k, ppb; 0 in the dark.
    """
    half = 0.5 * (nox + oxidant + ratio)
    no2 = half - np.sqrt(np.maximum(half**2 - nox * oxidant, 0.0))
    return no2, np.maximum(oxidant - no2, 0.0)


class _Running(Blocks):
    """A street at every device."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        p, draws = self.p, run.draws
        self._weather = Weather(p, draws, start_ns=run.start_ns)
        self._plumes = draws.wander("plumes", memory_s=240.0)
        self._airs = draws.wander("airs", memory_s=5400.0, smooth_s=300.0)
        self._region = draws.wander("region", memory_s=1.5 * DAY_S, smooth_s=3600.0)
        self._lifted = np.full(self.devices, 150.0)
        self._mixed = p["nox_ppb"].copy()
        self._cooked = np.full(self.devices, 150.0)
        self._share = {"lift": -np.expm1(-draws.step_s / 5400.0), "mix": -np.expm1(-draws.step_s / 2400.0)}
        self._share["cook"] = -np.expm1(-draws.step_s / (3 * 3600.0))

    def nodes(self, seconds: Array, acting_ns: NDArray[np.int64]) -> Array:
        p = self.p
        sky = self._weather.advance(seconds)
        emission = self._emission(sky, seconds, acting_ns)
        region = self._region.advance(len(seconds))
        airs = self._airs.advance(len(seconds))
        shallow = LAYER_TYPICAL_M / emission.layer_m
        diluted = shallow * np.sqrt(p["wind_mean_m_s"] / (0.3 + sky.wind_m_s))
        standing = p["nox_ppb"] * emission.traffic * diluted * np.exp(0.35 * airs)
        mixed = relax(standing, self._mixed, self._share["mix"])
        spread = p["plume_spread"]
        plumes = self._plumes.advance(len(seconds))
        nox = mixed * np.exp(spread * plumes - 0.5 * spread**2)
        cooked = relax(sky.radiation_w_m2, self._cooked, self._share["cook"])
        lying = 1.0 - p["night_loss_share"] * np.exp((p["layer_night_m"] - emission.layer_m) / LAYER_TYPICAL_M)
        warm = np.clip((sky.temperature_degc + 5.0) / 30.0, 0.1, 1.5)
        oxidant = p["oxidant_ppb"] * np.exp(0.15 * region) * lying + p["photochemical_ppb"] * cooked / 500.0 * warm
        oxidant = oxidant * (1.0 + EDDIES * (plumes + 1.5 * airs)) + p["oxidant_per_nox"] * nox
        no2, o3 = photostationary(nox, oxidant, LEIGHTON_PPB_M2_W * sky.radiation_w_m2)
        smoke = self.episodes.level("smoke", acting_ns, ANOMALY_RANGES["smoke"])
        haze = p["pm_regional_ug_m3"] * np.exp(0.5 * region + 0.1 * airs) * (0.9 + 0.1 * shallow)
        haze = haze * (1.0 + EDDIES * plumes)
        pm = haze + p["pm_per_nox_ug_m3_ppb"] * nox + smoke
        co = p["co_background_ppb"] * np.exp(0.1 * region) + p["co_per_nox"] * nox + CO_PPB_PER_SMOKE * smoke
        humidity = 100.0 * np.minimum(sky.vapour_kpa / saturation_kpa(sky.temperature_degc), 1.0)
        return np.stack((no2, o3, co, pm, sky.temperature_degc, humidity))

    def _emission(self, sky: Sky, seconds: Array, acting_ns: NDArray[np.int64]) -> Emission:
        p = self.p
        peaks = sum(
            np.exp(-0.5 * ((sky.local_h - hour) / width) ** 2) for hour, width in zip(RUSH_H, RUSH_WIDTH_H, strict=True)
        )
        awake = 0.5 - 0.5 * np.cos(2 * np.pi * (sky.local_h - 2.5) / 24.0)
        day = (self.start_ns / NS_PER_S + seconds[:, np.newaxis] + p["longitude_deg"] * 240.0) // DAY_S
        rest = np.where((day - SATURDAY_FROM_THURSDAY) % 7 < 2, p["weekend_share"], 1.0)  # noqa: PLR2004 - two days
        traffic = p["night_share"] + (1.4 - p["night_share"]) * (
            (1 - p["rush_share"]) * awake + p["rush_share"] * peaks
        )
        jam = 1.0 + self.episodes.level("traffic_jam", acting_ns, ANOMALY_RANGES["traffic_jam"])
        lifted = relax(sky.radiation_w_m2, self._lifted, self._share["lift"])
        return Emission(traffic * rest * jam, p["layer_night_m"] + p["layer_lift_m_m2_w"] * lifted)


SCENARIO: Final[Scenario] = Place(
    name="air_quality",
    sentence=(
        "Air over a street: traffic under a breathing mixed layer, NO2 and ozone in the sun's equilibrium, dust, CO."
    ),
    measurands=(
        Measurand("no2", "[ppb]"),
        Measurand("o3", "[ppb]"),
        Measurand("co", "[ppb]"),
        Measurand("pm2_5", "ug/m3"),
        Measurand("temperature", "Cel"),
        Measurand("humidity", "%"),
    ),
    interval_s=60.0,
    step_s=STEP_S,
    parameters=RANGES,
    anomaly_ranges=ANOMALY_RANGES,
    process=_Running,
)
