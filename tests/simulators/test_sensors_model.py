from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_sim.randomness import stream
from trueline_sim.sensors.bank import SensorBank
from trueline_sim.sensors.catalogue import CATALOGUE, PARTS, find, in_unit
from trueline_sim.sensors.coverage import expected_coverage
from trueline_sim.sensors.model import SensorModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEVICES = 4000
IDEAL = SensorModel(
    part="ideal", quantity="x", unit="1", source="test", range_low=-1000, range_high=1000, span_low=-100, span_high=100
)
NORMAL = replace(IDEAL, noise_density=1.0, bias_max=0.01)
RECTANGULAR = replace(IDEAL, bias_max=1.0, noise_density=0.01)
MIXED = replace(
    IDEAL, bias_max=0.5, gain_error_max=0.02, nonlinearity=0.6, self_heating=0.4, noise_density=0.2, flicker=0.2,
    hysteresis=0.2, resolution=0.5, ageing=1.0, drift_walk=0.1,
)  # fmt: skip


def readings(model: SensorModel, *, truth: float | NDArray[np.float64]) -> NDArray[np.float64]:
    bank = SensorBank(model, devices=DEVICES, seed=1, name="x", interval_s=10.0)
    return bank.observe(np.zeros((3, DEVICES)) + truth)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("model", [NORMAL, RECTANGULAR, MIXED], ids=["normal", "rectangular", "mixed"])
def test_intervals_cover_what_the_datasheet_makes_them_deserve(model: SensorModel, level: float) -> None:
    """Over 4000 individuals, the share within k u of the truth is the exact one, to four standard errors."""
    k = {0.5: 0.67449, 0.9: 1.64485, 0.95: 1.95996}[level]
    half_width = k * model.standard_uncertainty(10.0)
    truth = 63.2
    # Anywhere within a step of the resolution: of one truth, errors of a coarse sensor are a few numbers only.
    truths = truth + stream(3, "within a step").uniform(-0.5, 0.5, DEVICES) * model.resolution
    error = readings(model, truth=truths)[-1] - truths
    expected = expected_coverage(model, half_width, truth=truth, interval_s=10.0, elapsed_s=20.0)
    standard_error = math.sqrt(max(expected * (1 - expected), 0.001) / DEVICES)
    assert np.mean(np.abs(error) <= half_width) == pytest.approx(expected, abs=4 * standard_error)


def test_normal_errors_deserve_95_percent_and_a_rectangle_all() -> None:
    """1.96 u holds 95 % of normal errors, and every one of a rectangle; 1 u holds 58 % of a rectangle."""
    for model, k, deserved in [(NORMAL, 1.95996, 0.95), (RECTANGULAR, 1.95996, 1.0), (RECTANGULAR, 1.0, 0.5774)]:
        half_width = k * model.standard_uncertainty(10.0)
        assert expected_coverage(model, half_width, truth=0.0, interval_s=10.0) == pytest.approx(deserved, abs=2e-3)


def test_a_halved_uncertainty_is_found_out() -> None:
    """Negative control: with u halved, the share of normal errors within 1.96 u falls to 67 %, far below 95 %."""
    half_width = 1.95996 * NORMAL.standard_uncertainty(10.0) / 2
    error = readings(NORMAL, truth=5.0)[-1] - 5.0
    assert np.mean(np.abs(error) <= half_width) == pytest.approx(0.673, abs=0.03)


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_the_declared_uncertainty_is_the_root_mean_square_error(name: str) -> None:
    """Over individuals, truths in the span and surroundings as declared, each part's RMS error is its u, to 8 %."""
    model = replace(CATALOGUE[name], response_s=0.0)
    low, high = model.span
    model = replace(model, range_low=low - 1e6, range_high=high + 1e6, span_low=low, span_high=high)
    rng = stream(5, name)
    truth = rng.uniform(low, high, (1, DEVICES))
    ambient = rng.uniform(25 - model.ambient_swing_K, 25 + model.ambient_swing_K, (1, DEVICES))
    humidity = rng.uniform(50 - model.humidity_swing_pct, 50 + model.humidity_swing_pct, (1, DEVICES))
    bank = SensorBank(model, devices=DEVICES, seed=2, name=name, interval_s=60.0)
    error = bank.observe(truth, ambient, humidity) - truth
    assert math.sqrt(np.mean(error**2)) == pytest.approx(model.standard_uncertainty(60.0), rel=0.08)


def test_drift_and_ageing_count_over_the_run() -> None:
    """The RMS error over a run of 30 days is the u declared for it."""
    model = replace(IDEAL, drift_walk=0.3, ageing=20.0)
    error = SensorBank(model, devices=2000, seed=1, name="x", interval_s=3600.0).observe(np.zeros((720, 2000)))
    run_s = 30 * 86_400.0
    assert math.sqrt(np.mean(error**2)) == pytest.approx(model.standard_uncertainty(3600.0, run_s=run_s), rel=0.05)


def test_the_budget_adds_up() -> None:
    """Standard uncertainty is the root of the sum of squares of the lines, resolution counting its twelfth root."""
    budget = MIXED.budget(10.0, run_s=3600.0)
    assert MIXED.standard_uncertainty(10.0, run_s=3600.0) == pytest.approx(math.hypot(*(line.u for line in budget)))
    assert {line.name: line.u for line in budget}["resolution"] == pytest.approx(0.5 / math.sqrt(12))
    assert IDEAL.budget(10.0) == ()


@given(factor_of=st.sampled_from(["[ppb]", "[ppm]"]))
def test_another_unit_is_the_same_sensor(factor_of: str) -> None:
    """Declared uncertainty and range change with the unit, and nothing else does."""
    for model in PARTS:
        if model.unit == {"[ppb]": "[ppm]", "[ppm]": "[ppb]"}[factor_of]:
            other = in_unit(model, factor_of)
            factor = other.range_high / model.range_high
            assert other.standard_uncertainty(60.0) == pytest.approx(model.standard_uncertainty(60.0) * factor)
            assert other.response_s == model.response_s


def test_the_catalogue_names_its_sources_and_the_parts_people_use() -> None:
    """Every part cites a document, and those the issue names are there."""
    assert all(len(model.source) > 20 for model in PARTS)
    parts = {model.part for model in PARTS}
    named = {"DHT22", "SHT31", "BME280", "DS18B20", "MPU-6050", "ADXL345", "SPS30", "MiCS-4514", "thermocouple-K"}
    assert named <= parts


def test_a_part_that_is_not_there_is_named_with_those_that_are() -> None:
    """A buyer who misspells a part reads which there are."""
    assert find("sht31", "Cel").name == "SHT31/temperature"
    with pytest.raises(ValueError, match=r"no sensor 'SHT99' measures in Cel.*SHT31/temperature"):
        find("SHT99", "Cel")
    with pytest.raises(ValueError, match="several quantities"):
        find("Alphasense-B4", "[ppb]")
    assert find("Alphasense-B4", "[ppb]", "no2_roadside").name == "Alphasense-B4/no2"
