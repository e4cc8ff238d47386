"""The arrays behind fusion: votes, means, mixtures, smoothers, and the bank that knows its noise."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.stats import chi2

from trueline_edge.estimation import walks
from trueline_edge.estimation.kernels import GAUSSIAN, kalman_level, level_fresh
from trueline_edge.estimation.mixture import mix
from trueline_edge.estimation.selfcal import design, informed
from trueline_edge.estimation.smoothing import smooth_level
from trueline_edge.estimation.structural import DAY_S, STATES, DailyNoise, daily_matrices
from trueline_edge.estimation.textbook import walk as textbook
from trueline_edge.estimation.voting import (
    agreeing,
    chi_square_limit,
    consistent_mean,
    hysteresis,
    present_median,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@pytest.mark.parametrize("dof", range(1, 16))
@pytest.mark.parametrize("probability", [0.5, 0.95, 0.999])
def test_chi_square_limits_are_those_of_scipy(dof: int, probability: float) -> None:
    """The closed form by bisection agrees with SciPy, which the agent does not load."""
    assert chi_square_limit(dof, probability) == pytest.approx(chi2.ppf(probability, dof), rel=1e-12)


def test_the_largest_consistent_subset_is_the_one_of_the_paper() -> None:
    """Against a search over all subsets, written as Cox (2007) says it."""
    rng = np.random.default_rng(1)
    for _ in range(60):
        m = int(rng.integers(3, 7))
        value = rng.normal(0.0, 1.0, m) + rng.choice([0.0, 0.0, 8.0, -8.0], m)
        var = rng.uniform(0.3, 1.5, m)
        best: tuple[int, float, tuple[int, ...]] = (0, 0.0, ())
        for size in range(m, 0, -1):
            for subset in itertools.combinations(range(m), size):
                v, w = value[list(subset)], 1 / var[list(subset)]
                chi = float((w * (v - (w * v).sum() / w.sum()) ** 2).sum())
                if (size == 1 or chi <= chi2.ppf(0.95, size - 1)) and (size, -chi) > (best[0], -best[1]):
                    best = (size, chi, subset)
            if best[0]:
                break
        found = consistent_mean(value[None], var[None], 0.95)
        if 2 * best[0] > m:
            assert np.flatnonzero(found.weight[0] > 0).tolist() == list(best[2])
            own = 1 / var[list(best[2])]
            assert found.mean[0] == pytest.approx((own * value[list(best[2])]).sum() / own.sum())
            assert found.var[0] == pytest.approx(1 / own.sum())
            assert not found.disputed[0]
        else:
            assert found.disputed[0]
            assert (found.weight[0] > 0).all()


def test_two_that_contradict_each_other_give_their_middle_and_half_their_distance() -> None:
    """Without a majority the variance between values counts, however small the one a value declares."""
    found = consistent_mean(np.array([[1.0, 9.0]]), np.array([[0.01, 0.0001]]))
    assert found.disputed[0]
    assert found.mean[0] == pytest.approx(5.0, abs=0.01)
    assert found.var[0] ** 0.5 == pytest.approx(4.0, rel=0.01)


@settings(max_examples=60)
@given(st.lists(st.lists(st.floats(-50, 50) | st.just(float("nan")), min_size=4, max_size=4), min_size=1, max_size=8))
def test_law_a_mean_lies_among_its_values_and_its_weights_add_up(rows: list[list[float]]) -> None:
    """Weights add up to one, or to nothing where nothing is there; missing values weigh nothing."""
    value = np.array(rows)
    found = consistent_mean(value, np.ones_like(value))
    there = np.isfinite(value).any(axis=1)
    assert np.allclose(found.weight.sum(axis=1), there)
    assert (found.weight[np.isnan(value)] == 0.0).all()
    assert (found.mean[there] >= np.nanmin(value[there], axis=1, initial=99.0) - 1e-9).all()
    assert np.array_equal(present_median(value)[there], np.nanmedian(value[there], axis=1))


def test_the_majority_decides_who_agrees() -> None:
    """Of three the one far off does not agree; of two that differ neither does; one alone does."""
    value = np.array([[1.0, 1.1, 9.0], [1.0, 9.0, np.nan], [5.0, np.nan, np.nan], [np.nan] * 3])
    agrees = agreeing(value, np.full(value.shape, 0.01), 5.0)
    assert agrees.tolist() == [[True, True, False], [False] * 3, [True, False, False], [False] * 3]


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 5), st.integers(0, 30))
def test_hysteresis_is_the_loop_it_stands_for(seed: int, fail_after: int, recover_after: int, cut: int) -> None:
    """Vectorised runs give what counting row by row gives, wherever the rows are cut."""
    rng = np.random.default_rng(seed)
    good = rng.random((30, 3)) < 0.6
    state = np.array([[1, 0], [0, -2], [1, 3]])
    healthy, run = state.T.copy()
    expected = []
    for row in good:
        run = np.where(row, np.maximum(run, 0) + 1, np.minimum(run, 0) - 1)
        healthy = np.where(run >= recover_after, 1, np.where(-run >= fail_after, 0, healthy))
        expected.append(healthy == 1)
    first, middle = hysteresis(good[:cut], state, fail_after, recover_after)
    second, last = hysteresis(good[cut:], middle, fail_after, recover_after)
    assert np.array_equal(np.concatenate([first, second]), np.array(expected))
    assert np.array_equal(last, np.stack([healthy, run], axis=1))


def test_information_leaves_a_covariance_positive() -> None:
    """However much is learnt, and where the prior knows a thing for certain, no variance turns negative."""
    rng = np.random.default_rng(4)
    cov = np.diag([1.0, 0.0, 1e-6, 4.0])
    for scale in (1e-6, 1.0, 1e12):
        rows = rng.normal(size=(20, 4)) * scale
        after = informed(cov, rows.T @ rows)
        assert np.linalg.eigvalsh(after).min() > -1e-15
        assert (np.diag(after) <= np.diag(cov) + 1e-12).all()
        assert after[1, 1] == 0.0
    assert np.allclose(informed(np.eye(2), np.zeros((2, 2))), np.eye(2))


def test_the_design_of_slow_states_is_bias_drift_and_gain() -> None:
    """A sensor's value is moved by its own parameters alone."""
    matrix = design(np.array([25.0]), np.array([2.0]), 2, 20.0)
    assert matrix[0].tolist() == [[1.0, 2.0, 5.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, 2.0, 5.0]]


def test_a_smoother_over_all_rows_is_the_joint_estimate() -> None:
    """With a lag as long as the record, the first row is the least-squares answer to all of it (RTS)."""
    rng = np.random.default_rng(5)
    n, q, r = 30, 0.02, 0.1
    value = np.cumsum(rng.normal(0.0, q**0.5, n)) + rng.normal(0.0, r**0.5, n)
    mean, var = np.empty(n), np.empty(n)
    m, p = value[0], r
    for i, z in enumerate(value):
        if i:
            p += q
            m, p = m + p / (p + r) * (z - m), p * r / (p + r)
        mean[i], var[i] = m, p
    information = np.eye(n) / r + (np.diff(np.eye(n), axis=0).T @ np.diff(np.eye(n), axis=0)) / q
    gained, linked = np.full((n, 1), q), np.ones((n, 1), np.bool_)
    got, spread = smooth_level(mean[:, None], var[:, None], gained, linked, n)
    assert np.allclose(got[:, 0], np.linalg.solve(information, value / r))
    assert np.allclose(spread[:, 0], np.diag(np.linalg.inv(information)))
    lag3, _ = smooth_level(mean[:, None], var[:, None], gained, linked, 3)
    part, _ = smooth_level(mean[:14, None], var[:14, None], gained[:14], linked[:14], n)
    assert lag3[10, 0] == pytest.approx(part[10, 0])
    linked[15] = False
    cut, _ = smooth_level(mean[:, None], var[:, None], gained, linked, n)
    assert cut[14, 0] == mean[14], "what lies behind a step says nothing of the time before it"


def test_the_daily_matrices_are_those_of_the_continuous_model() -> None:
    """Transition and noise over an interval against the matrix exponential (Van Loan 1978)."""
    noise = DailyNoise(level=0.3, trend=2e-7, damping_s=5000.0, daily=0.01)
    a = np.zeros((STATES, STATES))
    a[0, 1], a[1, 1] = 1.0, -1 / noise.damping_s
    for harmonic in (1, 2):
        w = 2 * np.pi * harmonic / DAY_S
        a[2 * harmonic, 2 * harmonic + 1], a[2 * harmonic + 1, 2 * harmonic] = w, -w
    spread = np.diag([noise.level, noise.trend, *[noise.daily] * 4])
    for dt in (0.5, 700.0, 30_000.0):
        big = expm(np.block([[-a, spread], [np.zeros_like(a), a.T]]) * dt)
        f = big[STATES:, STATES:].T
        got_f, got_q = daily_matrices(np.array([dt]), noise)
        assert np.allclose(got_f[0], f, rtol=1e-6, atol=1e-9)
        assert np.allclose(got_q[0], f @ big[:STATES, STATES:], rtol=1e-4, atol=1e-12)
    still_f, still_q = daily_matrices(np.array([0.0, np.nan, -5.0]), noise)
    assert np.allclose(still_f, np.eye(STATES))
    assert not still_q.any()


def test_a_mixture_believes_who_foretold_best_and_lets_another_take_over() -> None:
    """The weight goes to the filter with the greater likelihood, and moves when that changes."""
    likelihood = np.zeros((400, 1, 2))
    likelihood[:200, 0, 0], likelihood[200:, 0, 1] = 0.5, 0.5
    mean = np.tile([1.0, 2.0], (400, 1, 1))
    out = mix(np.zeros((1, 2)), likelihood, mean, np.ones((400, 1, 2)))
    assert out.mean[150, 0] == pytest.approx(1.0, abs=1e-6)
    assert out.mean[399, 0] == pytest.approx(2.0, abs=1e-3)
    half = mix(np.zeros((1, 2)), likelihood[:130], mean[:130], np.ones((130, 1, 2)))
    rest = mix(half.state, likelihood[130:], mean[130:], np.ones((270, 1, 2)))
    assert np.array_equal(np.concatenate([half.mean, rest.mean]), out.mean)


def hard_values(seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    n, k = 1500, 3
    value = np.cumsum(rng.normal(0.0, [0.01, 0.1, 1.0], (n, k)), axis=0) + rng.normal(0.0, 0.3, (n, k))
    value[500:] += 30.0
    value[700:900] -= 20.0
    value[rng.random((n, k)) < 0.02] += 20.0
    value[rng.random((n, k)) < 0.02] = np.nan
    dt = rng.choice([1.0, 1.0, 1.0, 2.0, 0.0, -1.0, 60.0, 1e5], n)
    dt[0] = np.nan
    return dt, value


def test_the_compiled_bank_is_the_textbook_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spikes, steps, gaps and odd times: `walk.pxi` gives what the textbook gives."""
    dt, value = hard_values(6)
    compiled, q = walks.bank_walk(walks.walk_fresh(3), dt, value, 0.09)
    monkeypatch.setattr(walks, "_hot", textbook)
    plain, q_plain = walks.bank_walk(walks.walk_fresh(3), dt, value, 0.09)
    for one, other in zip((*compiled, q), (*plain, q_plain), strict=True):
        assert np.allclose(one, other, rtol=1e-7, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 501, 502, 503, 1499])
def test_the_bank_does_not_care_where_rows_are_cut(cut: int) -> None:
    """Bit for bit, also in the middle of a surprise."""
    dt, value = hard_values(7)
    whole, _ = walks.bank_walk(walks.walk_fresh(3), dt, value, 0.09)
    first, _ = walks.bank_walk(walks.walk_fresh(3), dt[:cut], value[:cut], 0.09)
    second, _ = walks.bank_walk(first.state, dt[cut:], value[cut:], 0.09)
    assert np.array_equal(np.concatenate([first.mean, second.mean]), whole.mean, equal_nan=True)
    assert np.array_equal(second.state, whole.state)


@pytest.mark.parametrize(("step", "allowed"), [(0.001, 1.35), (0.01, 1.2), (0.1, 1.15), (1.0, 1.1), (10.0, 1.1)])
def test_the_bank_is_near_the_filter_that_knows(step: float, allowed: float) -> None:
    """Over four decades of process noise, nearly the error of the Kalman filter with the true q; u is honest."""
    rng = np.random.default_rng(8)
    n = 4000
    truth = np.cumsum(rng.normal(0.0, step, n))
    value = truth + rng.normal(0.0, 0.3, n)
    out, _ = walks.bank_walk(walks.walk_fresh(1), np.append(np.nan, np.ones(n - 1)), value[:, None], 0.09)
    m, p = value[0], 0.09
    known = np.empty(n)
    for i, z in enumerate(value):
        if i:
            p += step**2
            m, p = m + p / (p + 0.09) * (z - m), p * 0.09 / (p + 0.09)
        known[i] = m
    error = (out.mean[:, 0] - truth)[500:]
    assert np.sqrt(np.mean(error**2)) < allowed * np.sqrt(np.mean((known - truth)[500:] ** 2))
    normal = error / np.sqrt(out.var[500:, 0])
    assert 0.5 < np.std(normal) < 1.2


def test_the_bank_follows_a_slope_that_a_level_lags_behind() -> None:
    """A smooth quantity is followed with two thirds of the error of the best local level."""
    rng = np.random.default_rng(9)
    t = np.arange(3000.0)
    truth = 10.0 * np.sin(t / 100.0)
    value = (truth + rng.normal(0.0, 0.3, 3000))[:, None]
    dt = np.append(np.nan, np.ones(2999))
    out, _ = walks.bank_walk(walks.walk_fresh(1), dt, value, 0.09)
    best = min(_level_error(dt, value, truth, q) for q in 10.0 ** np.arange(-5.0, 2.0, 0.5))
    assert np.sqrt(np.mean((out.mean[:, 0] - truth)[500:] ** 2)) < 0.7 * best


def _level_error(dt: Array, value: Array, truth: Array, q: float) -> float:
    out: Any = kalman_level(level_fresh(1), dt, value, 0.09, q, GAUSSIAN)
    return float(np.sqrt(np.mean((out.mean[:, 0] - truth)[500:] ** 2)))


def _ran(value: Array, r: float = 0.09, **settings: Any) -> Any:
    dt = np.append(np.nan, np.ones(len(value) - 1))
    return walks.bank_walk(walks.walk_fresh(1), dt, value[:, None], r, **settings)[0]


@pytest.mark.parametrize(("flutter", "walk_leaves"), [(0.5, 1.08), (1.0, 1.1), (3.0, 1.02)])
def test_a_flutter_about_a_level_is_told_from_noise_that_is_known(flutter: float, walk_leaves: float) -> None:
    """Vibration, turbulence: each value is drawn half way to the level, as far as it is noise, and u says what is left.

    A walk can do one or the other: the best of all gains leaves more (the negative control).
    """
    rng = np.random.default_rng(12)
    n, noise = 6000, 0.3
    truth = 5.0 + np.cumsum(rng.normal(0.0, 3e-4, n)) + rng.normal(0.0, flutter * noise, n)
    value = truth + rng.normal(0.0, noise, n)
    out = _ran(value)
    error = (out.mean[:, 0] - truth)[500:]
    known = noise * flutter / np.hypot(1.0, flutter)  # a posteriori, of a normal flutter about a known level
    assert np.sqrt(np.mean(error**2)) < 1.04 * known
    inside = np.abs(error) / np.sqrt(out.var[500:, 0])
    assert 0.94 < np.mean(inside < 1.96) < 0.965
    assert 0.48 < np.mean(inside < 0.6745) < 0.54
    dt = np.append(np.nan, np.ones(n - 1))
    walk = min(_level_error(dt, value[:, None], truth, q) for q in 10.0 ** np.arange(-5.0, 3.0, 0.25))
    assert walk > walk_leaves * known


def test_a_step_says_nothing_about_how_a_quantity_moves() -> None:
    """Speed that stands between its steps: averaged as if there were no steps, and u is honest beside them."""
    rng = np.random.default_rng(13)
    n, noise = 6000, 0.3
    truth = np.repeat(rng.normal(0.0, 20.0, n // 25), 25)
    out = _ran(truth + rng.normal(0.0, noise, n))
    since = np.arange(n) % 25
    error = out.mean[:, 0] - truth
    late = (since == 24) & (np.arange(n) > 1000)
    assert np.sqrt(np.mean(error[late] ** 2)) < 1.5 * noise / np.sqrt(25)
    first = (since == 0) & (np.arange(n) > 1000)
    assert np.sqrt(np.mean(error[first] ** 2)) < 1.1 * noise  # followed at once
    inside = np.abs(error) / np.sqrt(out.var[:, 0])
    assert 0.94 < np.mean(inside[1000:] < 1.96) < 0.975


def test_excursions_of_two_values_are_the_quantitys_own_and_single_ones_are_spikes() -> None:
    """A compressor that runs for two readings is believed once it has run a few times; an odd value never is."""
    rng = np.random.default_rng(14)
    n = 3000
    noise = rng.normal(0.0, 0.3, n)
    odd = np.zeros(n)
    odd[np.arange(20, n, 20)] = 20.0
    pairs = odd + np.roll(odd, 1)
    spikes, runs = _ran(noise + odd), _ran(noise + pairs)
    at = np.arange(1000, n, 20)
    assert np.abs(spikes.mean[at, 0]).max() < 1.0
    assert np.abs(runs.mean[at, 0] - 20.0).max() < 1.5
    assert np.abs(runs.mean[at + 1, 0] - 20.0).max() < 1.5


def test_what_holds_no_spikes_is_followed_at_once() -> None:
    """`step_samples` of one, as behind a vote: the first surprise of all is a step; with three it is not (control)."""
    rng = np.random.default_rng(15)
    value = rng.normal(0.0, 0.3, 200)
    value[100:] += 30.0
    assert abs(_ran(value, step_samples=1).mean[100, 0] - value[100]) < 0.1
    assert abs(_ran(value).mean[100, 0]) < 1.0
    assert abs(_ran(value).mean[103, 0] - 30.0) < 1.0


def test_a_quantity_that_leaves_for_good_is_never_lost() -> None:
    """Whatever it does, three values beyond every gate are enough to be believed."""
    rng = np.random.default_rng(16)
    wild = 1e3 * rng.standard_cauchy(400)
    value = np.concatenate([rng.normal(0.0, 0.3, 200), wild, 50.0 + rng.normal(0.0, 0.3, 200)])
    out = _ran(value)
    assert np.abs(out.mean[610:, 0] - 50.0).max() < 1.5
    assert np.isfinite(out.state).all()
