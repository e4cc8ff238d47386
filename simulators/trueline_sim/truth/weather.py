"""Weather over a place: where the sun stands, clouds before it, and what it does to temperature and humidity.

The day's shape is not drawn as a sine: the sun's height is geometry, clouds are two random processes (a front's, over
days, and single clouds, over minutes), and the temperature of the air is a lagged answer to the radiation that comes
through. So a cloudy day is cool, its night mild, and the hottest hour comes after noon.

Sources: Allen et al., "Crop evapotranspiration", FAO Irrigation and Drainage Paper 56, 1998 (equations by number);
Haurwitz, "Insolation in relation to cloudiness and cloud density", J. Meteorol. 2, 1945 (clear sky);
Kasten and Czeplak, "Solar and terrestrial radiation dependent on the amount and type of cloud", Solar Energy 24, 1980.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_sim.truth.draws import relax

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trueline_sim.truth.draws import Draws, Wander

    Array = NDArray[np.float64]

__all__ = ["RANGES", "Sky", "Weather", "declination_rad", "saturation_kpa", "solar_clear_w_m2"]

RANGES: Mapping[str, tuple[float, float]] = {
    "latitude_deg": (28.0, 60.0),
    "longitude_deg": (-10.0, 30.0),
    "climate_offset_k": (-3.0, 3.0),
    "season_amplitude_k": (3.0, 8.0),  # beyond what the radiation of the season does by itself
    "front_amplitude_k": (1.5, 5.0),
    "radiation_gain_k_m2_w": (0.010, 0.036),  # 5 to 19 K between night and afternoon on a clear summer day
    "surface_gain_k_m2_w": (0.001, 0.006),  # the lowest metres answer a passing cloud within minutes
    "cloudiness_mean": (-1.5, 1.0),  # logit of cover: 18 % to 73 % in the mean
    "cloudiness_spread": (1.0, 2.5),
    "cloud_transmittance": (0.15, 0.4),  # Kasten and Czeplak: 0.25 under overcast, by type of cloud 0.16 to 0.61
    "dew_depression_k": (0.5, 9.0),
    "wind_mean_m_s": (1.0, 5.0),
    "turbulence_k": (0.08, 0.6),
}
DAY_S = 86_400.0
NS_PER_S = 1_000_000_000
HALF_CIRCLE_H = 12.0
HORIZON = 1e-3
FRONT_MEMORY_S = 50 * 3600.0
CLOUD_MEMORY_S = (240.0, 1800.0)
GUST_MEMORY_S = 1200.0
AIR_MEMORY_S = 4 * 3600.0
"""Time constant of the mixed layer's temperature: puts the maximum about three hours after noon."""
RADIATION_YEAR_W_M2 = 165.0
SURFACE_MEMORY_S = 1500.0
NIGHT_COOLING_W_M2 = 60.0
SECOND_OF_1970_IS_DAY_OF_YEAR = 1.0
YEAR_D = 365.2425


class Sky(NamedTuple):
    """The weather at n nodes of d devices; each (n, d)."""

    radiation_w_m2: Array
    temperature_degc: Array
    vapour_kpa: Array
    wind_m_s: Array
    cover: Array
    local_h: Array


def saturation_kpa(temperature_degc: Array) -> Array:
    """Vapour pressure over water (FAO-56 eq. 11), kPa."""
    return np.asarray(0.6108 * np.exp(17.27 * temperature_degc / (temperature_degc + 237.3)))


def declination_rad(day: Array) -> Array:
    """Height of the sun over the equator (FAO-56 eq. 24), from the day of the year."""
    return np.asarray(0.409 * np.sin(2 * np.pi / 365.0 * day - 1.39))


def equation_of_time_h(day: Array) -> Array:
    """What the sun is ahead of the clock (FAO-56 eq. 32 and 33), hours."""
    b = 2 * np.pi * (day - 81) / 364.0
    return np.asarray(0.1645 * np.sin(2 * b) - 0.1255 * np.cos(b) - 0.025 * np.sin(b))


def sine_of_elevation(seconds_utc: Array, latitude_deg: Array, longitude_deg: Array) -> Array:
    """Sine of the sun's height, (n,) times by (d,) places: FAO-56 between eq. 28 and 31.

    The hour angle is a sum of time and longitude, so its cosine is a sum of products of cosines of each.
    """
    day = (seconds_utc / DAY_S) % YEAR_D + SECOND_OF_1970_IS_DAY_OF_YEAR
    declination = declination_rad(day)
    clock = (seconds_utc / 3600.0 + equation_of_time_h(day)) * (np.pi / HALF_CIRCLE_H) - np.pi
    turn, latitude = np.radians(longitude_deg), np.radians(latitude_deg)
    upright = np.outer(np.sin(declination), np.sin(latitude))
    east = np.outer(np.cos(declination) * np.cos(clock), np.cos(latitude) * np.cos(turn))
    west = np.outer(np.cos(declination) * np.sin(clock), np.cos(latitude) * np.sin(turn))
    return np.asarray(upright + east - west)


def solar_clear_w_m2(sine: Array) -> Array:
    """Radiation on level ground under a clear sky (Haurwitz 1945): 1098 s exp(-0.057 / s)."""
    up = np.maximum(sine, HORIZON)
    return np.asarray(np.where(sine > HORIZON, 1098.0 * up * np.exp(-0.057 / up), 0.0))


def logistic(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x))


class Weather:
    """Weather at the nodes of a run, over every device, each in a place of its own.

    Args:
        p: parameters of the devices, those of `RANGES` among them.
        draws: of the run.
        start_ns: of its first step.

    Attributes:
        day_degc: (devices,) what the days about the start are like, without fronts.
        day_sun_w_m2: (devices,) their mean radiation.
    """

    def __init__(self, p: Mapping[str, Array], draws: Draws, *, start_ns: int) -> None:
        def wander(what: str, memory_s: float, smooth_s: float = 0.0) -> Wander:
            return draws.wander("weather", what, memory_s=memory_s, smooth_s=smooth_s)

        self._p = p
        self._start_s = start_ns / NS_PER_S
        self._front = wander("front", FRONT_MEMORY_S, 4 * 3600.0)
        self._cover = wander("cover", 0.5 * FRONT_MEMORY_S, 900.0)
        self._clouds = [wander(f"clouds {memory}", memory) for memory in CLOUD_MEMORY_S]
        self._dew = wander("dew", 10 * 3600.0, 1800.0)
        self._gust = wander("gust", GUST_MEMORY_S, 90.0)
        self._weight = float(-np.expm1(-draws.step_s / AIR_MEMORY_S))
        self._day_part, self._surface, self.day_sun_w_m2 = self._before()
        self._surface_weight = float(-np.expm1(-draws.step_s / SURFACE_MEMORY_S))
        warmth = 0.7 * self.day_sun_w_m2 - 0.6 * NIGHT_COOLING_W_M2
        self.day_degc = self._climate(np.array([self._start_s]))[0] + p["radiation_gain_k_m2_w"] * warmth

    def advance(self, seconds: Array) -> Sky:
        """The weather at the next nodes, (n,) seconds since the start."""
        n, p = len(seconds), self._p
        utc = self._start_s + seconds
        clear = solar_clear_w_m2(sine_of_elevation(utc, p["latitude_deg"], p["longitude_deg"]))
        latent = p["cloudiness_mean"] + p["cloudiness_spread"] * self._cover.advance(n)
        cover = logistic(latent)
        passing = 0.8 * self._clouds[0].advance(n) + 0.6 * self._clouds[1].advance(n)
        sun = logistic(
            5.0 * (passing - latent / 1.702)
        )  # the sun is out for 1 - cover of the time (probit ~ logit / 1.7)
        radiation = clear * (sun + (1.0 - sun) * p["cloud_transmittance"])
        balance = radiation - NIGHT_COOLING_W_M2 * (1.0 - 0.8 * cover)
        warmth = relax(balance, self._day_part, self._weight) * p["radiation_gain_k_m2_w"]
        near = relax(radiation, self._surface, self._surface_weight) * p["surface_gain_k_m2_w"]
        slow = self._climate(utc) + p["front_amplitude_k"] * self._front.advance(n)
        gust = self._gust.advance(n)
        restless = p["turbulence_k"] * (0.4 + radiation * (1.0 / 400.0))
        temperature = slow + warmth + near + restless * gust
        dry = p["dew_depression_k"] * (1.3 - 0.9 * cover)
        dew = slow - dry + 1.5 * self._dew.advance(n) + 0.2 * warmth
        vapour = np.minimum(saturation_kpa(dew), saturation_kpa(temperature))
        wind = p["wind_mean_m_s"] * np.exp(0.35 * gust) * (0.6 + radiation * (1.0 / 1000.0))
        local_h = (utc[:, np.newaxis] / 3600.0 + p["longitude_deg"] / 15.0) % 24.0
        return Sky(radiation, temperature, vapour, wind, cover, local_h)

    def _climate(self, utc: Array) -> Array:
        """What the place and the season give, less what the year's radiation adds by itself; degC."""
        p = self._p
        year = 2 * np.pi * ((utc / DAY_S) % YEAR_D - 30.0) / YEAR_D
        mean = 27.0 - 0.5 * (p["latitude_deg"] - 15.0) + p["climate_offset_k"]
        level = mean - p["radiation_gain_k_m2_w"] * (RADIATION_YEAR_W_M2 - 0.6 * NIGHT_COOLING_W_M2)
        return np.asarray(level - np.cos(year)[:, np.newaxis] * p["season_amplitude_k"])

    def _before(self) -> tuple[Array, Array, Array]:
        """Radiation at the start, lagged in air and near the ground, and its mean of two days, under a middling sky."""
        ago = np.arange(0.0, 2 * DAY_S, 900.0)
        sine = sine_of_elevation(self._start_s - ago, self._p["latitude_deg"], self._p["longitude_deg"])
        weights = np.exp(-ago / AIR_MEMORY_S)
        sun = 0.65 * solar_clear_w_m2(sine)
        return weights @ (sun - 0.6 * NIGHT_COOLING_W_M2) / weights.sum(), sun[0], sun.mean(axis=0)
