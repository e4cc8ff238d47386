"""The panel: sensors of one quantity, whom to believe, and what they differ by all the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_edge.estimation import panel as door
from trueline_edge.estimation import textbook
from trueline_edge.estimation.kernels import implementation
from trueline_edge.estimation.panel import PanelOut, panel, panel_fresh
from trueline_edge.estimation.textbook import panels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LASTING, NOISE = 0.1, 0.1
"""Standard deviations, systematic and of the noise, of all sensors here."""


class Rows(NamedTuple):
    """Arguments of `panel` between the state and the gate."""

    dt_s: Array
    value: Array
    r: Array
    systematic: Array
    nearly: Array
    jumped: NDArray[np.bool_]


def rows_of(value: Array) -> Rows:
    dt_s = np.ones(len(value))
    dt_s[0] = np.nan
    r, systematic = np.full_like(value, NOISE**2), np.full_like(value, LASTING**2)
    return Rows(dt_s, value, r, systematic, np.zeros(len(value)), np.zeros(value.shape, np.bool_))


def healthy(rng: np.random.Generator, n: int, m: int = 3) -> tuple[Array, Array]:
    """A walk, and the sensors' values."""
    truth = 20.0 + np.cumsum(rng.normal(0.0, 0.2, n))
    return truth, truth[:, None] + rng.normal(0.0, LASTING, m) + rng.normal(0.0, NOISE, (n, m))


def take(rows: Rows, state: Array | None = None, gate: float = 4.5, *, independent: bool = True) -> PanelOut:
    state = panel_fresh(rows.value.shape[1]) if state is None else state
    return panel(state, *rows, gate, independent=independent)


def trouble(seed: int, m: int, n: int = 500) -> Rows:
    """Spikes, gaps, a drift, noise, another systematic variance, a row that teaches nothing."""
    rng = np.random.default_rng(seed)
    value = healthy(rng, n, m)[1]
    value[rng.random((n, m)) < 0.05] += 5.0
    value[rng.random((n, m)) < 0.1] = np.nan
    value[100:300, 0] += np.linspace(0.0, 2.0, 200)
    value[350:, m - 1] += rng.normal(0.0, 1.0, n - 350)
    rows = rows_of(value)
    rows.systematic[200:320] *= 4.0
    rows.dt_s[77] = 0.0
    rows.nearly[250:270] = 0.02
    return rows._replace(jumped=rng.random((n, m)) < 0.02)


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_the_compiled_panel_is_that_of_the_textbook(m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens to the sensors, the hot loop and its oracle agree to 1e-9, and so do their states."""
    rows = trouble(m, m)
    compiled = take(rows, independent=m != 3)
    monkeypatch.setattr(door, "implementation", lambda: textbook)
    for here, there in zip(compiled, take(rows, independent=m != 3), strict=True):
        assert np.allclose(here.astype(float), there.astype(float), rtol=1e-9, atol=1e-9, equal_nan=True)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(0, 200), m=st.integers(1, 4))
def test_law_cuts_change_nothing(seed: int, cut: int, m: int) -> None:
    """Two calls give bit for bit what one gives."""
    rows = trouble(seed, m, n=400)
    whole = take(rows)
    first = take(Rows(*(each[:cut] for each in rows)))
    second = take(Rows(*(each[cut:] for each in rows)), first.state)
    for name in PanelOut._fields[:-1]:
        parts = np.concatenate([getattr(first, name), getattr(second, name)])
        assert np.array_equal(getattr(whole, name), parts, equal_nan=True), name
    assert np.array_equal(whole.state, second.state)


@pytest.mark.skipif(implementation() is textbook, reason="the textbook takes a minute for this")
def test_healthy_sensors_are_hardly_ever_outvoted() -> None:
    """Of readings that keep what is stated of them, less than 0.5 % are outvoted, in the long run too."""
    rng = np.random.default_rng(1)
    shares = [take(rows_of(healthy(rng, 1500)[1])).outvoted.mean() for _ in range(200)]
    assert np.mean(shares) < 0.005


def drifting(rng: np.random.Generator, size: float) -> tuple[Array, Array, slice]:
    """One of three goes astray by `size` in 600 rows, and is well again 400 rows later."""
    truth, value = healthy(rng, 2000)
    value[400:1000, 1] += np.linspace(0.0, size, 600)
    value[1000:1400, 1] += size
    return truth, value, slice(800, 1400)


def worst_error(truth: Array, out: PanelOut, when: slice) -> float:
    return float(np.sqrt(np.mean((out.value - truth)[when] ** 2)))


def test_a_slow_drift_is_outvoted_and_taken_back() -> None:
    """A drift no row shows stops counting once it is beyond what is stated, and counts again when it is over."""
    for seed in range(5):
        truth, value, when = drifting(np.random.default_rng(seed), 2.0)
        out = take(rows_of(value))
        assert out.outvoted[when, 1].mean() > 0.95
        assert out.outvoted[:, [0, 2]].mean() < 0.005
        assert worst_error(truth, out, when) < 3.0 * LASTING / np.sqrt(2.0)
        assert out.share[-200:, 1].mean() > 0.2


def test_negative_control_without_the_test_the_mean_follows_the_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the slow test off, the drift is learnt as an offset, and the fused value goes with it."""
    truth, value, when = drifting(np.random.default_rng(0), 2.0)
    monkeypatch.setattr(door, "LAW", (np.inf, *door.LAW[1:]))
    out = take(rows_of(value))
    assert out.outvoted[when, 1].mean() < 0.05
    assert worst_error(truth, out, when) > 3.0 * LASTING


def test_a_stuck_sensor_among_moving_ones_is_outvoted() -> None:
    """It agrees until the quantity moves away from it."""
    truth, value = healthy(np.random.default_rng(3), 1200)
    truth = truth + np.linspace(0.0, 4.0, 1200)
    value += np.linspace(0.0, 4.0, 1200)[:, None]
    value[400:, 2] = value[400, 2]
    out = take(rows_of(value))
    assert out.outvoted[700:, 2].mean() > 0.95
    assert worst_error(truth, out, slice(400, None)) < 3.0 * LASTING


def test_a_sensor_that_grows_noisy_loses_its_weight() -> None:
    """Its own scatter about the others widens its noise, whatever is stated."""
    value = healthy(np.random.default_rng(4), 1000)[1]
    value[300:, 0] += np.random.default_rng(5).normal(0.0, 3.0 * NOISE, 700)
    share = take(rows_of(value)).share
    assert share[:300, 0].mean() > 0.3
    assert share[400:, 0].mean() < 0.15


def test_a_bias_within_what_is_stated_counts() -> None:
    """A sensor two standard uncertainties off is what a stated uncertainty is for: nobody is outvoted."""
    value = healthy(np.random.default_rng(6), 1500)[1]
    value -= value.mean(axis=0) - value.mean() - np.array([0.0, 2.0 * LASTING, 0.0])
    assert take(rows_of(value)).outvoted.mean() < 0.001


def test_of_sensors_that_state_nothing_nobody_is_outvoted_for_good() -> None:
    """Where no systematic variance is stated, no difference that lasts contradicts it."""
    value = healthy(np.random.default_rng(7), 800)[1] + np.array([0.0, 0.3, 0.0])
    rows = rows_of(value)
    out = take(rows._replace(systematic=np.zeros_like(value)))
    assert not out.state[15:18].any()


def test_what_all_have_in_common_is_never_learnt() -> None:
    """After any number of comparisons the mean has the systematic variance it began with."""
    out = take(rows_of(healthy(np.random.default_rng(8), 3000)[1]))
    assert out.systematic == pytest.approx(np.full(3000, LASTING**2 / 3), rel=1e-3)


def test_the_first_row_is_least_squares_with_an_unknown_quantity() -> None:
    """Offsets after a row are those of the joint estimate in which nothing is known of the quantity."""
    value, r, prior = np.array([20.5, 19.8, 20.1]), np.array([0.01, 0.04, 0.09]), np.array([0.25, 0.5, 0.1])
    rows = Rows(np.array([np.nan]), value[None], r[None], prior[None], np.zeros(1), np.zeros((1, 3), np.bool_))
    out = take(rows)
    matrix = np.concatenate([np.eye(3), np.ones((3, 1))], axis=1)
    information = matrix.T @ np.diag(1 / r) @ matrix + np.diag([*(1 / prior), 1e-12])
    solution = np.linalg.solve(information, matrix.T @ (value / r))
    assert out.state[:3] == pytest.approx(solution[:3], abs=1e-6)
    assert out.value[0] == pytest.approx(solution[3], abs=1e-6)
    assert out.r[0] + out.systematic[0] == pytest.approx(np.linalg.inv(information)[3, 3], rel=1e-6)
    assert out.state[21:30].reshape(3, 3) == pytest.approx(np.linalg.inv(information)[:3, :3], abs=1e-6)


def test_offsets_that_grew_with_the_value_are_not_kept_where_it_is_small() -> None:
    """What sensors differ by at a point of large systematic uncertainty is not taken off at one of small."""
    rng = np.random.default_rng(9)
    truth = np.where(np.arange(900) // 300 == 1, 10.0, 1.0)
    gains = np.array([0.02, -0.01, 0.03])
    value = truth[:, None] * (1.0 + gains) + rng.normal(0.0, 0.01, (900, 3))
    s = (0.02 * truth[:, None]) ** 2 * np.ones(3)
    out = take(rows_of(value)._replace(r=np.full((900, 3), 1e-4), systematic=s))
    assert abs(out.value - truth * (1.0 + gains.mean()))[[10, 310, 610]] == pytest.approx(0.0, abs=0.03)
    assert not out.outvoted.any()


@pytest.mark.parametrize("state", [np.zeros(7), np.full(panels.size(3), np.nan), np.full(panels.size(3), 99.0)])
def test_a_state_of_no_panel_is_refused(state: Any) -> None:
    """States of other sizes, or that point to no test, raise ValueError."""
    with pytest.raises(ValueError, match="state"):
        take(rows_of(np.ones((2, 3))), state)
