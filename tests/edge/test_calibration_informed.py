"""Calibrations in which the datasheet says what the pairs cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_edge.calibration.informed import Informed, Tolerance, fit_informed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

NOISE, GAIN, BIAS = 0.05, 0.05, 0.5
DATASHEET = Tolerance(offset=BIAS, gain=GAIN, noise=NOISE)


def sensors(moved: float, count: int = 300, seed: int = 1) -> tuple[Array, Array, Array, Array]:
    """Raw readings and truth of many sensors about 20, and each one's gain and bias."""
    rng = np.random.default_rng(seed)
    truth = 20.0 + moved * np.sin(np.linspace(0.0, 9.0, 400))[:, None] * np.ones(count)
    gain, bias = rng.uniform(-GAIN, GAIN, count), rng.uniform(-BIAS, BIAS, count)
    return truth * (1.0 + gain) + bias + rng.normal(0.0, NOISE, truth.shape), truth, gain, bias


def corrected(found: Informed, raw: Array) -> tuple[Array, Array]:
    """Value and standard uncertainty (of the parameters alone) of each sensor at a raw value."""
    away = np.stack([np.ones_like(raw), raw - found.centre], axis=1)
    value = found.offset + found.gain * (raw - found.centre)
    return value, np.sqrt(np.einsum("ki,kij,kj->k", away, found.covariance, away))


def test_where_nothing_moves_the_datasheet_keeps_the_slope() -> None:
    """A quantity that stood still gives a correction that is as good elsewhere as the datasheet lets it be."""
    raw, truth, gain, bias = sensors(moved=0.005)
    found = fit_informed(raw, truth, np.zeros((*raw.shape, 0)), DATASHEET)
    there = 40.0
    value, u = corrected(found, there * (1.0 + gain) + bias)
    error = value - there
    assert np.sqrt(np.mean(error**2)) < 1.1 * 20.0 * GAIN / np.sqrt(3)
    assert 0.9 <= np.mean(np.abs(error) <= 1.96 * u) <= 1.0
    slope = [np.polyfit(raw[:, k], truth[:, k], 1)[0] for k in range(raw.shape[1])]
    alone = truth.mean(axis=0) + slope * (there * (1.0 + gain) + bias - raw.mean(axis=0)) - there
    assert np.sqrt(np.mean(alone**2)) > 10 * np.sqrt(np.mean(error**2)), "negative control: least squares is lost"


def test_where_much_moves_the_pairs_decide() -> None:
    """With a wide range the gains found are the sensors', whatever the datasheet says."""
    raw, truth, gain, _ = sensors(moved=10.0)
    found = fit_informed(raw, truth, np.zeros((*raw.shape, 0)), DATASHEET)
    assert np.abs(found.gain * (1.0 + gain) - 1.0).max() < 0.004
    assert found.noise == pytest.approx(np.full(raw.shape[1], NOISE), rel=0.2)


def test_a_slope_that_is_far_off_is_found_exactly() -> None:
    """A sensor that shows 1.25 of what there is gets a gain of 0.8."""
    truth = np.linspace(0.0, 1000.0, 500)[:, None]
    wide = Tolerance(offset=5.0, gain=0.3, noise=1.0)
    for noise in (0.0, 0.5, 2.0):
        found = fit_informed(1.25 * truth, truth, np.zeros((500, 1, 0)), wide, reference_noise=noise)
        assert found.gain[0] == pytest.approx(0.8, abs=1e-4)


def about(noise: float, moved: float, reference_noise: float, count: int = 200) -> tuple[Array, Array, Array]:
    """Raw readings of many sensors that show 5 % too much, what their references say, and the truth, about 20."""
    rng = np.random.default_rng(3)
    truth = 20.0 + moved * np.sin(np.linspace(0.0, 9.0, 400))[:, None] * np.ones(count)
    reference = truth + rng.normal(0.0, reference_noise, truth.shape) if reference_noise else truth
    return 1.05 * truth + rng.normal(0.0, noise, truth.shape), reference, truth


@pytest.mark.parametrize("noise", [0.001, 0.05, 0.5])
def test_an_offset_far_from_the_pivot_is_shared_between_offset_and_slope(noise: float) -> None:
    """A zero known to 0.01 makes an offset of 1 at 20 an error of the slope of 5 %, whatever the readings' noise."""
    raw, reference, _ = about(noise, moved=0.0, reference_noise=0.0)
    none = np.zeros((*raw.shape, 0))
    wide = Tolerance(offset=0.01, gain=0.1, noise=noise)
    assert fit_informed(raw, reference, none, wide).gain.mean() == pytest.approx(1 / 1.05, abs=0.002)
    blind = Tolerance(gain=0.1, noise=noise)
    assert fit_informed(raw, reference, none, blind).gain.mean() == pytest.approx(1.0, abs=0.002)


@pytest.mark.parametrize("moved", [0.0, 0.05, 0.3, 10.0])
@pytest.mark.parametrize("reference_noise", [0.0, 0.2, 0.5])
def test_noise_on_either_axis_does_not_bend_the_slope(moved: float, reference_noise: float) -> None:
    """However little the quantity moves, slopes lie between the datasheet's and the true one, and within their `u`."""
    noise = 0.5
    raw, reference, _ = about(noise, moved, reference_noise)
    none = np.zeros((*raw.shape, 0))
    tolerance = Tolerance(gain=0.1, noise=noise)
    found = fit_informed(raw, reference, none, tolerance, reference_noise=reference_noise)
    assert 1 / 1.05 - 0.004 <= found.gain.mean() <= 1.004
    inside = np.abs(found.gain - 1 / 1.05) <= 1.96 * np.sqrt(found.covariance[:, 1, 1])
    assert inside.mean() > 0.93
    if moved == 10.0:
        assert found.gain.mean() == pytest.approx(1 / 1.05, abs=0.004)


def test_negative_control_the_line_the_other_way_about_is_bent() -> None:
    """The reference regressed on readings that are noise alone, with the same prior: slopes sink below the truth."""
    noise = 0.5
    raw, reference, _ = about(noise, moved=0.05, reference_noise=0.0)
    shown, said = (cells.reshape(40, 10, -1).mean(axis=1) for cells in (raw, reference))
    x, y = shown - shown.mean(axis=0), said - said.mean(axis=0) - (shown - shown.mean(axis=0))
    weight = 10.0 / noise**2
    bent = 1.0 + (weight * x * y).sum(axis=0) / (weight * (x * x).sum(axis=0) + 3.0 / 0.1**2)
    assert bent.mean() < 0.91
    found = fit_informed(raw, reference, np.zeros((*raw.shape, 0)), Tolerance(gain=0.1, noise=noise))
    assert abs(found.gain.mean() - 1.0) < 0.3 * abs(bent.mean() - 1.0)


def test_a_condition_is_taken_off_as_far_as_it_was_seen() -> None:
    """What the temperature does to a sensor is found where the temperature moved."""
    rng = np.random.default_rng(4)
    temperature = 25.0 + 8.0 * np.sin(np.linspace(0.0, 6.0, 600))[:, None, None]
    truth = 50.0 + rng.normal(0.0, 5.0, (600, 1))
    raw = truth + 0.3 * (temperature[:, :, 0] - 25.0) + rng.normal(0.0, 0.1, truth.shape)
    tolerance = Tolerance(offset=1.0, gain=0.01, conditions=(0.5,), nominal=(25.0,), noise=0.1)
    assert fit_informed(raw, truth, temperature, tolerance).conditions[0, 0] == pytest.approx(-0.3, abs=0.01)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.0, 20.0))
def test_covariances_can_be(seed: int, moved: float) -> None:
    """Whatever the pairs, covariances are symmetric and positive, and gaps are left out."""
    raw, truth, _, _ = sensors(moved, count=3, seed=seed)
    raw[np.random.default_rng(seed).random(raw.shape) < 0.3] = np.nan
    found = fit_informed(raw, truth, np.zeros((*raw.shape, 0)), DATASHEET, reference_u=0.02, reference_noise=0.03)
    assert np.isfinite(found.covariance).all()
    assert np.array_equal(found.covariance, found.covariance.transpose(0, 2, 1))
    assert (np.linalg.eigvalsh(found.covariance) > 0.0).all()
    assert (found.covariance[:, 0, 0] >= 0.02**2).all()


def test_too_few_pairs_are_refused() -> None:
    """Fewer than eight pairs are no calibration."""
    with pytest.raises(ValueError, match="8 pairs"):
        fit_informed(np.ones((7, 1)), np.ones((7, 1)), np.zeros((7, 1, 0)), DATASHEET)


def test_a_sensor_at_the_end_of_its_range_keeps_its_datasheet() -> None:
    """Of two sensors, one stood at its limit all the while: it is not corrected, and as uncertain as the tolerance."""
    rng = np.random.default_rng(5)
    reference = np.repeat(20.0 + np.sin(np.arange(100) / 9.0)[:, None], 2, axis=1)
    raw = reference + 0.7 + rng.normal(0.0, 0.05, reference.shape)
    raw[:, 1] = 100.0
    conditions = np.zeros((100, 2, 0))
    sheet = Tolerance(offset=3.0, gain=0.02, noise=0.05, slow=0.01, highest=100.0)
    found = fit_informed(raw, reference, conditions, sheet)
    assert (found.offset[1], found.gain[1], found.centre[1]) == (0.0, 1.0, 0.0)
    assert found.covariance[1, 0, 0] == pytest.approx(3.0)
    assert (found.noise[1], found.slow[1]) == (0.05, 0.01)
    alone = fit_informed(raw[:, :1], reference[:, :1], conditions[:, :1], sheet)
    assert found.offset[0] == pytest.approx(alone.offset[0], rel=1e-9)
