"""What filters owe: a covariance that stays one, no trust in a spike, belief in a step, honesty about gaps."""

from __future__ import annotations

from math import inf, nan
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter

from trueline_edge.estimation import kernels, textbook
from trueline_edge.estimation.kernels import (
    GAUSSIAN,
    LEARNING,
    ROBUST,
    bank_fresh,
    bank_level,
    elapsed_s,
    fuse_level,
    kalman_level,
    kalman_linear,
    kalman_trend,
    level_fresh,
    linear_fresh,
    trend_fresh,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FILTERS: dict[str, Callable[[Array, Array], Any]] = {
    "level": lambda dt, z: kalman_level(level_fresh(z.shape[1]), dt, z, 1.0, 0.01),
    "trend": lambda dt, z: kalman_trend(trend_fresh(z.shape[1], 1e-4), dt, z, 1.0, 0.01, 1e-8),
    "damped trend": lambda dt, z: kalman_trend(trend_fresh(z.shape[1], 1e-4), dt, z, 1.0, 0.01, 1e-8, 50.0),
    "bank": lambda dt, z: bank_level(bank_fresh(z.shape[1]), dt, z),
    "fuse": lambda dt, z: fuse_level(level_fresh(z.shape[1]), dt, z[:, :, None], 1.0, 0.01),
}
each_filter = pytest.mark.parametrize("run", FILTERS.values(), ids=FILTERS.keys())


@pytest.fixture(params=["compiled", "textbook"])
def _kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test twice: with the extension, and with what stands in for it."""
    if request.param == "textbook":
        monkeypatch.setattr(kernels, "_hot", textbook)
    elif kernels.IMPLEMENTATION != "cython":
        pytest.skip("the extension was not built")


def quiet(n: int, channels: int = 1, seed: int = 1) -> tuple[Array, Array]:
    """A level of 20 with noise of 1, one row a second."""
    dt = np.ones(n)
    dt[:1] = nan
    return dt, 20.0 + np.random.default_rng(seed).normal(size=(n, channels))


@pytest.mark.usefixtures("_kernels")
@each_filter
def test_a_spike_moves_nothing(run: Callable[[Array, Array], Any]) -> None:
    """One value of whatever size leaves the level where it was, and the variance is soon what it would have been."""
    dt, z = quiet(300)
    without = z.copy()
    without[200] = nan
    for spike in (100.0, -1e6, 1e15):
        z[200] = spike
        with_, missing = run(dt, z), run(dt, without)
        moved = abs(with_.mean - missing.mean)[200:, 0] / np.sqrt(missing.var[200:, 0])
        assert moved[0] < 0.03  # the bank's weights, which are its idea of R and Q, learn from a spike too
        assert moved.max() < 0.5
        assert (with_.var[200:] < 2.5 * missing.var[200:]).all()  # for a while the bank is less sure of its R


@pytest.mark.usefixtures("_kernels")
@each_filter
def test_a_step_is_followed_within_three_values(run: Callable[[Array, Array], Any]) -> None:
    """The third value that agrees with the two before it is believed."""
    assert (ROBUST.step_samples, LEARNING.step_samples) == (3, 3)
    for size in (50.0, -1e4):
        dt, z = quiet(300)
        z[200:] += size
        mean = run(dt, z).mean[:, 0]
        assert abs(mean[199:202] - 20.0).max() < 1.5
        assert abs(mean[202:] - 20.0 - size).max() < 3.0


@pytest.mark.usefixtures("_kernels")
@each_filter
def test_the_first_value_may_be_the_outlier(run: Callable[[Array, Array], Any]) -> None:
    """It is forgotten within a few rows."""
    dt, z = quiet(60)
    z[0] = 1e4
    assert abs(run(dt, z).mean[12:, 0] - 20.0).max() < 2.0


def test_negative_control_without_a_gate_a_spike_moves_the_level() -> None:
    """The tests above can fail: Kalman's filter follows a spike."""
    dt, z = quiet(300)
    z[200] = 1e6
    mean = kalman_level(level_fresh(1), dt, z, 1.0, 0.01, GAUSSIAN).mean
    assert abs(mean[200, 0] - 20.0) > 1e4


@pytest.mark.usefixtures("_kernels")
@each_filter
def test_what_is_not_measured_widens_and_moves_nothing(run: Callable[[Array, Array], Any]) -> None:
    """A run of NaN keeps the level (of a trend: its course), and the variance grows; the next value counts."""
    dt, z = quiet(300)
    z[200:250] = nan
    out = run(dt, z)
    assert np.isfinite(out.mean).all()
    assert (np.diff(out.var[199:250, 0]) > 0).all()
    assert np.isnan(out.innovation[200:250]).all()
    assert out.var[250, 0] < out.var[249, 0]


@pytest.mark.usefixtures("_kernels")
@each_filter
def test_rows_whose_time_does_not_move_on_are_not_learnt_from(run: Callable[[Array, Array], Any]) -> None:
    """A duplicate or backward row gives out what was known, and changes nothing after it."""
    dt, z = quiet(100)
    doubled_dt, doubled_z = np.insert(dt, 50, [0.0, -3.0]), np.insert(z, 50, [[7.0], [9.0]], axis=0)
    plain, doubled = run(dt, z), run(doubled_dt, doubled_z)
    assert (doubled.mean[50:52] == doubled.mean[49]).all()
    assert np.array_equal(np.delete(doubled.mean, [50, 51], axis=0), plain.mean, equal_nan=True)
    assert np.array_equal(np.delete(doubled.var, [50, 51], axis=0), plain.var, equal_nan=True)


@pytest.mark.usefixtures("_kernels")
@each_filter
def test_before_the_first_value_nothing_is_known(run: Callable[[Array, Array], Any]) -> None:
    """NaN with infinite variance."""
    dt, z = quiet(5)
    z[:] = nan
    out = run(dt, z)
    assert np.isnan(out.mean).all()
    assert (out.var == inf).all()


@pytest.mark.skipif(kernels.IMPLEMENTATION != "cython", reason="a million steps take minutes without the extension")
@pytest.mark.parametrize("r", [1e-12, 1.0, 1e12])
def test_a_covariance_stays_positive_definite_for_a_million_steps(r: float) -> None:
    """Whatever the noise, however irregular the time, with outliers and gaps; nor do variances grow without bound."""
    n = 1_000_000
    rng = np.random.default_rng(7)
    dt = rng.choice([1e-6, 1.0, 1.0, 1e4], n)
    z = np.cumsum(rng.normal(0, 1e-3, (n, 1)), axis=0) + 1e6
    z[rng.random(n) < 0.01] += 1e9
    z[rng.random(n) < 0.1] = nan
    f, q = np.array([[[1.0, 1.0], [0.0, 1.0]]]), np.diag([0.0, 1e-18])[None]
    for out in (
        kalman_level(level_fresh(1), dt, z, r, 1e-9),
        bank_level(bank_fresh(1), dt, z),
        kalman_trend(trend_fresh(1, 1e-6), dt, z, r, 0.0, 1e-18),
        kalman_trend(trend_fresh(1, 1e-6), dt, z, r, 0.0, 0.0, 100.0),
    ):
        known = np.isfinite(out.var[:, 0])
        assert known[100:].all()
        assert (out.var[known] > 0.0).all()
        assert np.isfinite(out.mean[100:]).all()
        if hasattr(out, "slope_var"):
            assert (out.slope_var[known] >= 0.0).all()
    state = linear_fresh([1e6, 0.0], np.diag([1.0, 1e-6]))
    for part in np.split(z, 100):
        linear = kalman_linear(state, f, q, np.array([[1.0, 0.0]]), part, r)
        state = linear.state
        assert (np.diag(state[1:3]) > 0.0).all()  # D of U D U': with all of D positive the matrix is positive definite
        assert (np.einsum("nii->ni", linear.cov) > 0.0).all()
        assert np.array_equal(linear.cov, linear.cov.transpose(0, 2, 1))


def test_negative_control_the_short_form_loses_its_covariance() -> None:
    """The test above can fail: P - K H P, without factors, turns negative where the noise is small."""
    p, h, f = np.diag([1.0, 1e-6]), np.array([1.0, 0.0]), np.array([[1.0, 1.0], [0.0, 1.0]])
    worst = inf
    for _ in range(2000):
        p = f @ p @ f.T
        p = p - np.outer(p @ h, h @ p) / (h @ p @ h + 1e-18)
        worst = min(worst, np.linalg.eigvalsh((p + p.T) / 2)[0])
    assert worst < 0.0


@pytest.mark.usefixtures("_kernels")
def test_level_trend_and_linear_agree_with_filterpy() -> None:
    """A local linear trend, and a local level, as filterpy has them."""
    _, z = quiet(200, seed=5)
    f, q, h = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[0.04, 0.01], [0.01, 0.02]]), np.array([[1.0, 0.0]])
    peer = KalmanFilter(dim_x=2, dim_z=1)
    peer.F, peer.Q, peer.H, peer.R, peer.P = f, q, h, np.array([[2.0]]), np.diag([2.0, 0.5])
    peer.x = np.array([[z[0, 0]], [0.0]])
    means, variances = [], []
    for value in z[1:, 0]:
        peer.predict()
        peer.update(value)
        means.append(peer.x[0, 0])
        variances.append(peer.P[0, 0])
    linear = kalman_linear(linear_fresh([z[0, 0], 0.0], np.diag([2.0, 0.5])), f[None], q[None], h, z[1:], 2.0, GAUSSIAN)
    np.testing.assert_allclose(linear.mean[:, 0], means, rtol=1e-9)
    np.testing.assert_allclose(linear.cov[:, 0, 0], variances, rtol=1e-9)
    dt = np.ones(len(z))
    # q_trend dt^3/3 + q_level dt = 0.04, q_trend dt^2/2 = 0.01, q_trend dt = 0.02
    trend = kalman_trend(trend_fresh(1, 0.5), dt, z, 2.0, 0.04 - 0.02 / 3, 0.02, robust=GAUSSIAN)
    np.testing.assert_allclose(trend.mean[1:, 0], means, rtol=1e-9)
    np.testing.assert_allclose(trend.var[1:, 0], variances, rtol=1e-9)


@pytest.mark.usefixtures("_kernels")
def test_a_damped_trend_is_the_same_however_time_is_cut() -> None:
    """Two seconds without a value are twice one second: the moves over time are exact, short or long."""
    for damping_s in (0.5, 150.0, 1e6, inf):
        start = kalman_trend(
            trend_fresh(1, 0.5), np.array([nan, 1.0]), np.array([[1.0], [3.0]]), 1.0, 0.1, 0.2, damping_s
        )
        nothing = np.full((8, 1), nan)
        long = kalman_trend(start.state, np.array([2.0]), nothing[:1], 1.0, 0.1, 0.2, damping_s)
        short = kalman_trend(start.state, np.full(8, 0.25), nothing, 1.0, 0.1, 0.2, damping_s)
        for field in ("mean", "var", "slope", "slope_var"):
            np.testing.assert_allclose(getattr(long, field)[-1], getattr(short, field)[-1], rtol=1e-8, err_msg=field)


def test_elapsed_time_never_steps_back() -> None:
    """Duplicates and backward times take no time; the next row counts from the latest time seen."""
    first, last = elapsed_s(None, np.array([5, 7, 7, 6, 8], np.int64) * 10**9)
    assert np.isnan(first[0])
    assert first[1:].tolist() == [2.0, 0.0, 0.0, 1.0]
    second, last = elapsed_s(last, np.array([3, 10], np.int64) * 10**9)
    assert second.tolist() == [0.0, 2.0]
    assert elapsed_s(last, np.empty(0, np.int64))[1] == last
