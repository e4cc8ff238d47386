"""The sun, the sky and the air against what books say of them."""

from __future__ import annotations

import numpy as np
import pytest

from trueline_sim.truth.draws import Draws, draw_parameters
from trueline_sim.truth.weather import (
    RANGES,
    Sky,
    Weather,
    declination_rad,
    saturation_kpa,
    sine_of_elevation,
    solar_clear_w_m2,
)

DAY_S = 86_400.0
MIDSUMMER_2022_S = 1_655_769_600.0  # 21 June 2022, 00:00 UTC
SOLAR_CONSTANT_W_M2 = 0.0820 * 1e6 / 60  # FAO-56 eq. 21


def week(days: float = 7.0, step_s: float = 300.0, devices: int = 60) -> Sky:
    """Weather about midsummer, at many places."""
    p = draw_parameters(RANGES, devices=devices, seed=3, scenario="test")
    made = Weather(p, Draws(3, "test", len(p["latitude_deg"]), step_s), start_ns=int(MIDSUMMER_2022_S) * 10**9)
    return made.advance(np.arange(0.0, days * DAY_S, step_s))


def test_vapour_pressure_is_that_of_fao_56() -> None:
    """Example 3 of FAO-56: 3.075 kPa at 24.5 degC, 1.705 at 15."""
    np.testing.assert_allclose(saturation_kpa(np.array([24.5, 15.0])), [3.075, 1.705], atol=0.001)


def test_radiation_above_the_air_is_that_of_fao_56() -> None:
    """Example 8 of FAO-56: 32.2 MJ/m2 on 3 September at 20 degrees south, from the sun's height over the day."""
    third_of_september_s = 245 * DAY_S
    seconds = third_of_september_s + np.arange(0.0, DAY_S, 60.0)
    sine = sine_of_elevation(seconds, np.array([-20.0]), np.array([0.0]))[:, 0]
    distance = 1 + 0.033 * np.cos(2 * np.pi * 246 / 365)  # eq. 23
    daily = (np.maximum(sine, 0.0) * SOLAR_CONSTANT_W_M2 * distance * 60.0).sum() / 1e6
    assert daily == pytest.approx(32.2, abs=0.2)
    assert declination_rad(np.array([246.0]))[0] == pytest.approx(0.120, abs=0.001)


def test_noon_is_where_the_sun_is_highest() -> None:
    """At 15 degrees east the sun culminates an hour before Greenwich, give or take the equation of time."""
    seconds = MIDSUMMER_2022_S + np.arange(0.0, DAY_S, 30.0)
    sine = sine_of_elevation(seconds, np.array([45.0, 45.0]), np.array([0.0, 15.0]))
    noon_h = sine.argmax(axis=0) * 30.0 / 3600.0
    np.testing.assert_allclose(noon_h, [12.03, 11.03], atol=0.02)
    assert np.degrees(np.arcsin(sine[:, 0].max())) == pytest.approx(45.0 + 23.44, abs=0.2)


def test_a_clear_sky_lets_through_what_haurwitz_measured() -> None:
    """About 1037 W/m2 under the zenith, nothing at night."""
    np.testing.assert_allclose(solar_clear_w_m2(np.array([1.0, 0.5, 0.0, -0.3])), [1037.1, 489.9, 0.0, 0.0], atol=0.1)


def test_the_hottest_hour_comes_hours_after_the_highest_sun() -> None:
    """Averaged over a week, temperature peaks two to five hours after radiation, at nearly every place."""
    sky = week()
    by_hour = np.arange(24)

    def mean_day(values: np.ndarray) -> np.ndarray:
        hour = sky.local_h.astype(int)
        return np.array([[values[hour[:, d] == h, d].mean() for h in by_hour] for d in range(values.shape[1])])

    warm, sun = mean_day(sky.temperature_degc).argmax(axis=1), mean_day(sky.radiation_w_m2)
    bright = (sun * by_hour).sum(axis=1) / sun.sum(axis=1)
    lag = (warm + 0.5) - (bright + 0.5)
    assert np.mean((lag > 1.5) & (lag < 6.0)) > 0.85


def test_clouds_take_sun_and_even_out_the_day() -> None:
    """Cloudier places get less sun; humid air stays below saturation; nothing is negative."""
    sky = week()
    clear = solar_clear_w_m2(np.array([1.0]))[0]
    assert sky.radiation_w_m2.min() >= 0
    assert sky.radiation_w_m2.max() <= clear
    assert np.corrcoef(sky.cover.mean(axis=0), sky.radiation_w_m2.mean(axis=0))[0, 1] < -0.4
    assert (sky.vapour_kpa <= saturation_kpa(sky.temperature_degc) + 1e-12).all()


def test_weather_is_not_a_sine_alone() -> None:
    """Negative control: the best sine of a day's period leaves much of both radiation and temperature unexplained."""
    sky = week(days=10.0)
    angle = 2 * np.pi * np.arange(len(sky.cover)) * 300.0 / DAY_S
    wave = np.stack([np.ones_like(angle), np.sin(angle), np.cos(angle)], axis=1)
    for values in (sky.radiation_w_m2, sky.temperature_degc):
        rest = values - wave @ np.linalg.lstsq(wave, values, rcond=None)[0]
        assert np.median(rest.var(axis=0) / values.var(axis=0)) > 0.1
