"""P-values keep their word on normal running, and go on where calibration ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trueline_model.conformal import KEPT_MAX, Calibration, calibrate
from trueline_model.tail import fit_tail
from trueline_wire.errors import ConfigError

scores = hnp.arrays(np.float64, st.integers(20, 80), elements=st.integers(0, 30).map(float))


@given(scores, hnp.arrays(np.float64, 10, elements=st.integers(-1, 31).map(float)))
def test_p_is_the_textbook_count(calibration: np.ndarray, asked: np.ndarray) -> None:
    """The p-value is (1 + how many of calibration are at least as high) / (n + 1), ties and all."""
    expected = [(1 + np.sum(calibration >= s)) / (len(calibration) + 1) for s in asked]
    np.testing.assert_allclose(calibrate(calibration).p(asked), expected, rtol=1e-12)


@given(scores, st.floats(-1.0, 40.0), st.floats(-1.0, 40.0))
def test_stranger_is_never_less_surprising(calibration: np.ndarray, one: float, two: float) -> None:
    """A higher score never has a higher p-value nor a lower surprise."""
    low, high = np.array([min(one, two)]), np.array([max(one, two)])
    made = calibrate(calibration)
    assert made.p(high) <= made.p(low)
    assert made.surprise(high) >= made.surprise(low) - 1e-12


def test_p_values_of_normal_running_are_valid() -> None:
    """On exchangeable scores P(p <= a) is at most a, and not far below it."""
    rng = np.random.default_rng(1)
    shares = np.array(
        [
            [(calibrate(rng.gamma(2.0, size=500)).p(rng.gamma(2.0, size=500)) <= a).mean() for a in (0.01, 0.05, 0.2)]
            for _ in range(100)
        ]
    ).mean(axis=0)
    assert np.all(shares <= np.array([0.01, 0.05, 0.2]) * 1.05)
    assert np.all(shares >= np.array([0.01, 0.05, 0.2]) * 0.7)


def test_long_calibrations_are_thinned_on_the_safe_side() -> None:
    """What a package keeps of a long calibration never gives a smaller p than all of it, nor a much larger one."""
    rng = np.random.default_rng(2)
    calibration, asked = rng.normal(size=20_000), np.sort(rng.normal(size=500))
    made = calibrate(calibration)
    exact = np.array([(1 + np.sum(calibration >= s)) / (len(calibration) + 1) for s in asked])
    assert len(made.level) <= KEPT_MAX
    assert np.all(made.p(asked) >= exact - 1e-15)
    assert np.all(made.p(asked) <= exact + 0.003)
    np.testing.assert_array_equal(made.p(np.sort(calibration)[-400:]), np.arange(401, 1, -1) / 20_001)


@pytest.mark.parametrize(("draw", "shape"), [("exponential", 0.0), ("pareto", 0.33)])
def test_the_tail_is_about_right_beyond_calibration(draw: str, shape: float) -> None:
    """Ten times beyond the rarest score counted, surprise is within half a decade for exponential and Pareto scores."""
    rng = np.random.default_rng(3)
    make = {"exponential": lambda n: rng.exponential(size=n), "pareto": lambda n: rng.pareto(3.0, n)}[draw]
    rare = 1e-5
    at = -np.log(rare) if draw == "exponential" else rare ** (-1.0 / 3.0) - 1.0
    found = [float(calibrate(make(10_000)).surprise(np.array([at]))[0]) for _ in range(20)]
    assert abs(np.median(found) - 5.0) < 0.5
    tail = fit_tail(make(50_000))
    assert tail is not None
    assert abs(tail.shape - shape) < 0.12


def test_no_tail_where_there_is_none() -> None:
    """Scores that are all one number, or too few, have no tail, and p-values do without."""
    assert fit_tail(np.full(500, 3.0)) is None
    assert fit_tail(np.arange(50.0)) is None
    made = calibrate(np.full(500, 3.0))
    assert made.surprise(np.array([4.0])) == pytest.approx(np.log10(501))


def test_nothing_said_has_no_p_value() -> None:
    """NaN stays NaN, and is left out of calibration."""
    made = calibrate(np.append(np.arange(50.0), np.nan))
    assert made.rows == 50
    assert np.isnan(made.p(np.array([np.nan]))).all()
    assert np.isnan(made.surprise(np.array([np.nan]))).all()


def test_too_short_a_calibration_is_refused() -> None:
    """With fewer than 20 scores nothing is promised."""
    with pytest.raises(ConfigError, match="19 scores"):
        calibrate(np.arange(19.0))


def test_a_package_gives_the_same_p_values() -> None:
    """Arrays of a calibration make it again; broken ones are refused."""
    made = calibrate(np.random.default_rng(4).gamma(2.0, size=5_000))
    again = Calibration.from_arrays(made.arrays())
    asked = np.linspace(-1.0, 40.0, 99)
    np.testing.assert_array_equal(again.surprise(asked), made.surprise(asked))
    for name in made.arrays():
        with pytest.raises(ConfigError, match=name):
            Calibration.from_arrays({k: v for k, v in made.arrays().items() if k != name})
    with pytest.raises(ConfigError, match="no calibration"):
        Calibration.from_arrays({**made.arrays(), "level": made.level[::-1]})
