from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtr

from trueline_sim.score.metrics import NOMINAL, Tally, crps, quantile, reliability


def _tally(error: np.ndarray, u: np.ndarray | float, device: np.ndarray | None = None, pieces: int = 1) -> Tally:
    rng = np.random.default_rng(5)
    truth = rng.normal(20.0, 3.0, len(error))
    device = np.zeros(len(error), np.int32) if device is None else device.astype(np.int32)
    spread = np.broadcast_to(np.asarray(u, np.float64), error.shape)
    tally = Tally()
    numbers = np.unique(device)
    for some in np.array_split(numbers, pieces):
        rows = np.isin(device, some)
        value = truth[rows] + error[rows]
        tally.add(truth[rows], value, value, spread[rows], device[rows])
    return tally


@pytest.mark.parametrize(("error", "u"), [(0.0, 1.0), (1.3, 0.7), (-4.0, 2.0)])
def test_crps_is_the_integral_it_stands_for(error: float, u: float) -> None:
    """The closed form equals the integral of (F - step)^2 by quadrature."""

    def squared(x: float) -> float:
        return float((ndtr((x - error) / u) - (x >= 0.0)) ** 2)

    below, _ = quad(squared, -60.0, 0.0, points=[min(error, -1e-9)])
    above, _ = quad(squared, 0.0, 60.0, points=[max(error, 1e-9)])
    assert crps(np.array([error]), np.array([u]))[0] == pytest.approx(below + above, abs=1e-7)


def test_crps_without_spread_is_the_absolute_error() -> None:
    """A forecast that claims to be exact is charged its error."""
    np.testing.assert_array_equal(crps(np.array([-2.0, 0.0, 3.0]), np.zeros(3)), [2.0, 0.0, 3.0])


def test_crps_is_smallest_for_the_honest_spread() -> None:
    """Claiming half or double the true spread costs: the score is proper."""
    error = np.random.default_rng(1).normal(0.0, 1.0, 200_000)
    honest, confident, wide = (float(crps(error, np.full(len(error), u)).mean()) for u in (1.0, 0.5, 2.0))
    assert honest < confident
    assert honest < wide


def test_normal_errors_are_covered_as_promised() -> None:
    """Honest normal uncertainties give nominal coverage; half and double ones are exposed (negative controls)."""
    error = np.random.default_rng(2).normal(0.0, 0.3, 100_000)
    honest = _tally(error, 0.3).reliability()
    np.testing.assert_allclose(honest, NOMINAL, atol=0.006)
    halved, doubled = _tally(error, 0.15).reliability(), _tally(error, 0.6).reliability()
    assert halved[NOMINAL.index(0.95)] == pytest.approx(2 * ndtr(1.96 / 2) - 1, abs=0.006)
    assert doubled[NOMINAL.index(0.5)] == pytest.approx(2 * ndtr(0.6745 * 2) - 1, abs=0.006)


def test_constant_bias_is_a_matter_between_devices() -> None:
    """With a bias a device, most devices are covered always or never, and the mean over devices has an honest error."""
    rng = np.random.default_rng(3)
    device = np.repeat(np.arange(400), 50)
    bias = rng.normal(0.0, 1.0, 400)
    result = _tally(bias[device] + rng.normal(0.0, 0.01, 20_000), 1.0, device).result()
    between = result["devices"]["coverage"]["90"]
    assert between["quantiles"]["5"] == 0.0
    assert between["quantiles"]["75"] == 1.0
    binomial = math.sqrt(0.9 * 0.1 / 400)
    assert between["standard_error"] == pytest.approx(binomial, rel=0.3)
    assert abs(result["coverage"]["90"] - 0.9) < 3 * binomial


@given(pieces=st.integers(1, 7), seed=st.integers(0, 99))
def test_pieces_add_up(pieces: int, seed: int) -> None:
    """However devices are cut into pieces, the figures are the same."""
    rng = np.random.default_rng(seed)
    error, device = rng.normal(size=300), rng.integers(0, 9, 300)
    whole, cut = _tally(error, 0.8, device).result(), _tally(error, 0.8, device, pieces).result()
    assert cut["rmse_out"] == pytest.approx(whole["rmse_out"], rel=1e-12)
    assert cut["crps"] == pytest.approx(whole["crps"], rel=1e-12)
    assert cut["coverage"] == whole["coverage"]
    assert cut["devices"]["count"] == whole["devices"]["count"]


@given(seed=st.integers(0, 99))
def test_coverage_equals_its_plain_form(seed: int) -> None:
    """The histogram counts what comparing every cell with every interval counts."""
    rng = np.random.default_rng(seed)
    error, u = rng.normal(size=200), rng.uniform(0.1, 2.0, 200)
    tally = Tally()
    tally.add(np.zeros(200), error, error, u, np.zeros(200, np.int32))
    np.testing.assert_allclose(tally.reliability(), reliability(error, u))


def test_unknown_uncertainty_is_told_and_not_scored() -> None:
    """Cells whose uncertainty is NaN count for errors, not for coverage."""
    tally = Tally()
    u = np.array([1.0, np.nan, np.nan, np.nan])
    tally.add(np.zeros(4), np.full(4, 0.5), np.full(4, 0.5), u, np.zeros(4, np.int32))
    result = tally.result()
    assert result["share_without_u"] == 0.75
    assert result["coverage"]["50"] == 1.0
    assert result["rmse_out"] == 0.5


def test_quantile_is_the_familiar_one() -> None:
    """95 % of a normal distribution is within 1.96."""
    assert quantile(0.95) == pytest.approx(1.959964, abs=1e-6)


def test_nothing_is_nothing() -> None:
    """No cells: no figures, and no division by zero."""
    assert Tally().result() == {"cells": 0}
