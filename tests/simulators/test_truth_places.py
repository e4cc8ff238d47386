"""Greenhouse, cold box, street: balances close and behave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_sim.truth import SCENARIOS, greenhouse
from trueline_sim.truth.air_quality import photostationary
from trueline_sim.truth.draws import draw_parameters
from trueline_sim.truth.greenhouse import Forcing, State, reference_evapotranspiration_mm_h

if TYPE_CHECKING:
    from numpy.typing import NDArray

START_NS = 1_655_769_600_000_000_000  # 21 June 2022


def truth(
    name: str, hours: float, *, devices: int = 12, interval_s: float | None = None
) -> dict[str, NDArray[np.float64]]:
    """By measurand, (steps, devices)."""
    scenario = SCENARIOS[name]
    interval_s = interval_s or scenario.interval_s
    process = scenario.start(devices=devices, seed=4, start_ns=START_NS, interval_s=interval_s)
    values = process.advance(int(hours * 3600 / interval_s))
    return {measurand.name: values[..., k] for k, measurand in enumerate(scenario.measurands)}


@pytest.mark.parametrize(
    ("net_mj", "soil_mj", "degc", "wind", "vapour", "wanted"),
    [(1.749, 0.175, 38.0, 3.3, 3.445, 0.63), (-0.100, -0.050, 28.0, 1.9, 3.402, 0.00)],
    ids=["afternoon", "night"],
)
def test_penman_monteith_is_that_of_fao_56(
    net_mj: float, soil_mj: float, degc: float, wind: float, vapour: float, wanted: float
) -> None:
    """Example 19 of FAO-56, hourly, N'Diaye in Senegal: 0.63 mm/h at 14 to 15 h, 0.00 at 2 to 3 h."""
    given_mm_h = reference_evapotranspiration_mm_h(
        np.array([net_mj / 0.0036]), np.array([degc]), np.array([wind]), np.array([vapour]), soil_mj / 0.0036
    )
    assert given_mm_h[0] == pytest.approx(wanted, abs=0.006)


@given(
    sun=st.floats(0, 900),
    outside=st.floats(-10, 40),
    air=st.floats(-5, 45),
    door=st.floats(0, 60),
    wet=st.floats(-0.05, 1.9),
    stuck=st.floats(0, 1),
    step_s=st.floats(30, 900),
)
def test_the_books_of_heat_and_water_close(
    *, sun: float, outside: float, air: float, door: float, wet: float, stuck: float, step_s: float
) -> None:
    """What air, soil and root zone hold changes by exactly what went in less what went out, at any step."""
    devices = 4
    p = draw_parameters(greenhouse.RANGES, devices=devices, seed=9, scenario="greenhouse")
    p["deep_degc"] = np.full(devices, 15.0)
    one = np.ones(devices)
    moisture = p["wilting_m3_m3"] + max(wet, 0.0) * p["available_m3_m3"]
    full = p["wilting_m3_m3"] + p["available_m3_m3"] + p["saturation_excess_m3_m3"]
    before = State(air * one, 18.0 * one, 0.008 * one, np.minimum(moisture, full), 0 * one, 0 * one)
    now = Forcing(outside * one, 0.006 * one, sun * one, door * one, one, one, stuck * one, 0 * one)
    after, flux = greenhouse.step(before, now, p, step_s)
    held = p["thermal_mass_j_m2_k"] * (after.air_degc - before.air_degc)
    np.testing.assert_allclose(held, flux.air_gain_w_m2 * step_s, rtol=1e-9, atol=1e-6 * step_s)
    held = p["soil_mass_j_m2_k"] * (after.soil_degc - before.soil_degc)
    np.testing.assert_allclose(held, flux.soil_gain_w_m2 * step_s, rtol=1e-9, atol=1e-6 * step_s)
    stored_mm = 1000 * p["root_depth_m"] * (after.moisture_m3_m3 - before.moisture_m3_m3)
    flows = flux.irrigation_mm_h - flux.evapotranspiration_mm_h - flux.drainage_mm_h
    np.testing.assert_allclose(stored_mm, flows * step_s / 3600, rtol=1e-9, atol=1e-9)
    assert (after.moisture_m3_m3 <= full + 1e-12).all()
    assert (flux.drainage_mm_h >= 0).all()


def test_soil_stays_between_wilting_and_saturation_and_is_watered() -> None:
    """Over two weeks soil dries by day, is watered in the morning, and never leaves its bounds."""
    scenario = SCENARIOS["greenhouse"]
    process = scenario.start(devices=12, seed=4, start_ns=START_NS, interval_s=900.0)
    moisture = process.advance(14 * 96)[..., 4]
    p = draw_parameters(greenhouse.RANGES, devices=12, seed=4, scenario="greenhouse")
    assert (moisture >= p["wilting_m3_m3"]).all()
    assert (moisture <= p["wilting_m3_m3"] + p["available_m3_m3"] + p["saturation_excess_m3_m3"]).all()
    rises = np.diff(moisture, axis=0) > 1e-4
    assert (rises.any(axis=0)).mean() > 0.8
    assert rises.mean() < 0.1


def test_a_greenhouse_is_warmer_than_outside_by_day_and_its_soil_lags() -> None:
    """Under the sun the air is hotter inside; the soil swings less than the air and later."""
    seen = truth("greenhouse", 96, interval_s=300.0)
    bright = seen["light"] > 30_000

    def swing(values: NDArray[np.float64]) -> float:
        """Within a day, the median of places."""
        return float(np.median(values.reshape(4, 288, -1).std(axis=1)))

    assert (seen["air_temperature"] - seen["outdoor_temperature"])[bright].mean() > 2
    assert swing(seen["soil_temperature"]) < 0.7 * swing(seen["air_temperature"])
    assert (seen["light"].min(axis=0) == 0).mean() > 0.7  # nights are dark, but for the far north's


@given(
    nox=st.floats(0.1, 300),
    oxidant=st.floats(0.1, 200),
    ratio=st.floats(0, 25),
)
def test_nitrogen_oxides_and_ozone_stand_in_equilibrium(nox: float, oxidant: float, ratio: float) -> None:
    """NO * O3 = ratio * NO2, nothing is made or lost, nothing is negative."""
    no2, o3 = (float(gas[0]) for gas in photostationary(np.array([nox]), np.array([oxidant]), np.array([ratio])))
    assert 0 <= no2 <= min(nox, oxidant) * (1 + 1e-9)
    assert no2 + o3 == pytest.approx(oxidant, rel=1e-9)
    assert (nox - no2) * o3 == pytest.approx(ratio * no2, rel=1e-6, abs=1e-6 * nox * oxidant)


def test_street_air_has_the_shape_of_a_day() -> None:
    """Ozone is high in the afternoon, NO2 in the rush; the two go against each other; CO goes with NO2."""
    seen = truth("air_quality", 24 * 7, devices=20, interval_s=300.0)
    one = [np.corrcoef(seen["no2"][:, d], seen["o3"][:, d])[0, 1] for d in range(20)]
    two = [np.corrcoef(seen["no2"][:, d], seen["co"][:, d])[0, 1] for d in range(20)]
    assert np.mean(one) < -0.2
    assert np.mean(two) > 0.5
    by_hour = seen["o3"].mean(axis=1)[: 7 * 288].reshape(7, 288).mean(axis=0)
    assert 11 <= by_hour.argmax() / 12 <= 18


def test_a_cold_box_cycles_about_its_setpoint_and_goods_lag() -> None:
    """The compressor goes on and off several times a day; air stays near its setpoint; goods swing far less."""
    seen = truth("cold_chain", 48, devices=20)
    running = seen["compressor_current"] > 0.5 * seen["compressor_current"].max(axis=0)
    cycles = (np.diff(running.astype(int), axis=0) > 0).sum(axis=0)
    assert (cycles >= 8).mean() > 0.8
    assert (seen["goods_temperature"].std(axis=0) < 0.7 * seen["air_temperature"].std(axis=0)).all()
    assert (np.abs(seen["air_temperature"].mean(axis=0) - seen["goods_temperature"].mean(axis=0)) < 2.0).all()
    assert (seen["room_temperature"] - seen["air_temperature"] > 0).mean() > 0.95
