"""Filters for models a person writes, against the textbook and against the truth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_edge.estimation.nonlinear import Mode, Model, begin, gradient, track
from trueline_edge.estimation.outcomes import GAUSSIAN, Robust

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_edge.estimation.nonlinear import Kind, NonlinearOut

    Array = NDArray[np.float64]

pytest.importorskip("filterpy")

KINDS: tuple[Kind, ...] = ("ekf", "ukf", "imm")
each_kind = pytest.mark.parametrize("kind", KINDS)

ANCHORS_M = np.array([[0.0, 0.0], [20.0, 0.0], [20.0, 15.0], [0.0, 15.0]])

CARRIED_M = np.array([8.0, 4.0])


def moved(state: Array, dt_s: float) -> Array:
    return np.array([state[0] + dt_s * state[2], state[1] + dt_s * state[3], state[2], state[3]])


def pushed(variance: float) -> Any:
    def process_noise(state: Array, dt_s: float) -> Array:
        block = np.array([[dt_s**3 / 3, dt_s**2 / 2], [dt_s**2 / 2, dt_s]])
        return variance * np.kron(block, np.eye(2))

    return process_noise


def ranges(state: Array) -> Array:
    return np.hypot(*(state[:2] - ANCHORS_M).T)


MOTION = Model(
    state=("x", "y", "vx", "vy"),
    inputs=4,
    mean=[10.0, 7.0, 0.0, 0.0],
    covariance=np.diag([36.0, 25.0, 1.0, 1.0]),
    transition=moved,
    process_noise=pushed(0.1),
    measurement=ranges,
    noise=0.1,
    modes=(Mode(lasts_s=20.0, process_noise=pushed(0.01)), Mode(lasts_s=5.0, process_noise=pushed(1.0))),
)
LINEAR = Model(
    state=("level", "slope"),
    inputs=2,
    mean=[0.0, 0.0],
    covariance=np.diag([100.0, 1.0]),
    transition=lambda state, dt_s: [state[0] + dt_s * state[1], state[1]],
    process_noise=lambda _, dt_s: np.diag([0.01 * dt_s, 0.001 * dt_s]),
    measurement=lambda state: [state[0], 2.0 * state[0] + state[1]],
    modes=(Mode(lasts_s=10.0), Mode(lasts_s=10.0)),
)


def drive(rng: np.random.Generator, n: int, dt_s: float = 0.1) -> tuple[Array, Array]:
    """A path of the motion model, (n, 2), and its noisy ranges, (n, 4)."""
    state, path = np.array([4.0, 5.0, 0.5, 0.2]), np.empty((n, 2))
    root = np.linalg.cholesky(pushed(0.1)(state, dt_s))
    for row in range(n):
        state = moved(state, dt_s) + root @ rng.normal(size=4)
        path[row] = state[:2]
    seen = np.array([ranges(place) for place in path])
    return path, seen + rng.normal(0.0, 0.1, seen.shape)


def follow(value: Array, kind: Kind = "ekf", model: Model = MOTION, **how: Any) -> NonlinearOut:
    n = len(value)
    dt_s = np.full(n, 0.1)
    dt_s[0] = 0.0
    return track(model, kind, begin(model, kind), dt_s, value, np.full(value.shape, 0.01), **how)


def textbook(model: Model, dt_s: Array, value: Array, variance: Array) -> tuple[Array, Array]:
    """Kalman's filter of the linear model, five lines a row."""
    x, cov = np.asarray(model.mean, float), np.asarray(model.covariance, float)
    h, means, covs = np.array([[1.0, 0.0], [2.0, 1.0]]), [], []
    for dt, z, r in zip(dt_s, value, variance, strict=True):
        f = np.array([[1.0, dt], [0.0, 1.0]])
        x, cov = (f @ x, f @ cov @ f.T + model.process_noise(x, dt)) if dt > 0 else (x, cov)
        seen = np.flatnonzero(np.isfinite(z))
        gain = cov @ h[seen].T @ np.linalg.inv(h[seen] @ cov @ h[seen].T + np.diag(r[seen]))
        x, cov = x + gain @ (z - h @ x)[seen], cov - gain @ h[seen] @ cov
        means.append(x)
        covs.append(cov)
    return np.array(means), np.array(covs)


@each_kind
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999))
def test_a_linear_model_gives_kalmans_filter(kind: Kind, seed: int) -> None:
    """Each filter agrees with the textbook on a linear model, with values missing and irregular steps."""
    rng = np.random.default_rng(seed)
    dt_s, value = rng.uniform(0.0, 3.0, 12), rng.normal(size=(12, 2))
    value[rng.random((12, 2)) < 0.3] = np.nan
    variance = rng.uniform(0.1, 2.0, (12, 2))
    out = track(LINEAR, kind, begin(LINEAR, kind), dt_s, value, variance, GAUSSIAN)
    mean, cov = textbook(LINEAR, dt_s, value, variance)
    np.testing.assert_allclose(out.mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(out.covariance, cov, rtol=1e-4, atol=1e-6)


@each_kind
def test_a_path_is_followed_with_an_honest_uncertainty(kind: Kind) -> None:
    """From a start metres off, the position is known to centimetres, and its 95 % intervals hold about so much."""
    runs = [drive(np.random.default_rng(seed), 200) for seed in range(5, 10)]
    outs = [follow(value, kind) for _, value in runs]
    error = np.array([(out.mean[:, :2] - path)[50:] for out, (path, _) in zip(outs, runs, strict=True)])
    sd = np.array([np.sqrt(np.diagonal(out.covariance, axis1=1, axis2=2)[50:, :2]) for out in outs])
    assert np.sqrt((error**2).mean()) < 0.09
    least = 0.85 if kind == "imm" else 0.92  # neither of its modes is the one that drives here
    assert least < (np.abs(error) < 1.96 * sd).mean() < 0.98
    assert 0.8 < np.nanmean([out.nis[50:] for out in outs]) < 1.2


@each_kind
def test_a_spike_moves_nothing_and_a_jump_is_followed(kind: Kind) -> None:
    """One impossible range leaves the position where it was; a tag that was carried elsewhere is found again."""
    path, value = drive(np.random.default_rng(6), 400)
    spiked = value.copy()
    spiked[200, 2] += 8.0
    clean, hit = follow(value, kind), follow(spiked, kind)
    assert np.abs(hit.mean[200, :2] - clean.mean[200, :2]).max() < 0.1
    assert not hit.accepted[200, 2]
    carried = value.copy()
    carried[200:] = np.array([ranges(place + CARRIED_M) for place in path[200:]])
    out = follow(carried, kind)
    assert np.hypot(*(out.mean[230, :2] - path[230] - CARRIED_M)) < 0.3


def test_negative_control_without_gate_and_tail_a_spike_moves_the_position() -> None:
    """The protection is what protects: a Gaussian filter is thrown off by the same spike."""
    _, value = drive(np.random.default_rng(6), 400)
    spiked = value.copy()
    spiked[200, 2] += 8.0
    clean, hit = follow(value, robust=GAUSSIAN), follow(spiked, robust=GAUSSIAN)
    assert np.abs(hit.mean[200, :2] - clean.mean[200, :2]).max() > 0.5


def test_one_wrong_anchor_never_wins() -> None:
    """A range that is 3 m too long for good is refused for good: the other three outvote it."""
    path, value = drive(np.random.default_rng(7), 250)
    value[100:, 1] += 3.0
    out = follow(value)
    assert not out.accepted[100:, 1].any()
    assert np.sqrt(((out.mean[:, :2] - path)[100:] ** 2).mean()) < 0.12


def test_a_filter_that_diverges_starts_anew() -> None:
    """A model that gives no number once, or a covariance that is none, costs one row and not the filter."""
    calls = [0]

    def brittle(state: Array, dt_s: float) -> Array:
        calls[0] += 1
        return moved(state, dt_s) * (np.nan if calls[0] == 30 else 1.0)

    model = replace(MOTION, transition=brittle, transition_jacobian=lambda s, dt: gradient(lambda x: moved(x, dt), s))
    path, value = drive(np.random.default_rng(8), 100)
    out = follow(value, model=model)
    assert out.restarted.sum() == 1
    assert np.isfinite(out.mean).all()
    assert np.hypot(*(out.mean[-1, :2] - path[-1])) < 0.3


@each_kind
@pytest.mark.parametrize("spoilt", ["measurement_jacobian", "transition", "process_noise"])
def test_a_model_that_breaks_down_somewhere_ends_nothing(kind: Kind, spoilt: str) -> None:
    """Slopes, states and noise that are not finite anywhere but at the start leave a filter that goes on."""
    at_start = np.asarray(MOTION.mean)

    def elsewhere(whole: Any) -> Any:
        def broken(state: Array, *more: float) -> Array:
            value = np.asarray(whole(state, *more), np.float64)
            return value if np.array_equal(state, at_start) else value * np.inf

        return broken

    whole = {
        "measurement_jacobian": lambda state: gradient(ranges, state),
        "transition": moved,
        "process_noise": pushed(0.1),
    }
    model = replace(MOTION, **{spoilt: elsewhere(whole[spoilt])})
    _, value = drive(np.random.default_rng(13), 30)
    out = follow(value, kind, model)
    assert np.isfinite(out.mean).all()
    assert np.isfinite(out.covariance).all()


def test_a_long_gap_starts_anew() -> None:
    """After more than `gap_max_s` the old position says nothing, and the start's covariance says so."""
    value = np.full((3, 4), np.nan)
    out = track(MOTION, "ekf", begin(MOTION, "ekf"), np.array([0.0, 1.0, 61.0]), value, np.ones((3, 4)), gap_max_s=60.0)
    assert out.restarted.tolist() == [False, False, True]
    np.testing.assert_array_equal(out.covariance[2], np.asarray(MOTION.covariance))
    assert out.covariance[1, 0, 0] > out.covariance[2, 0, 0]


def test_interacting_models_tell_a_stop_from_a_sprint() -> None:
    """Standing still, the quiet mode is believed; hit the throttle, and the lively one takes over within a second."""
    rng = np.random.default_rng(9)
    x = np.concatenate([np.full(300, 5.0), 5.0 + np.cumsum(0.1 * np.minimum(np.arange(60) * 0.4, 3.0))])
    seen = np.array([ranges(np.array([at, 6.0])) for at in x])
    value = seen + rng.normal(0.0, 0.03, seen.shape)
    how = {"variance": np.full(value.shape, 0.03**2)}
    dt_s = np.full(360, 0.1)
    still = track(MOTION, "imm", begin(MOTION, "imm"), dt_s[:300], value[:300], how["variance"][:300])
    sprint = track(MOTION, "imm", still.state, dt_s[300:315], value[300:315], how["variance"][300:315])
    assert still.state.probability[0] > 0.7
    assert sprint.state.probability[1] > 0.6


@each_kind
def test_cutting_the_rows_changes_nothing(kind: Kind) -> None:
    """Rows in two calls give the same bits as in one."""
    _, value = drive(np.random.default_rng(10), 60)
    value[20:25] = np.nan
    whole, first = follow(value, kind), follow(value[:23], kind)
    rest = track(MOTION, kind, first.state, np.full(37, 0.1), value[23:], np.full((37, 4), 0.01))
    for name in ("mean", "covariance", "innovation", "nis", "accepted"):
        cut = np.concatenate([getattr(first, name), getattr(rest, name)])
        assert cut.tobytes() == getattr(whole, name).tobytes()


def test_differences_stand_in_for_a_jacobian() -> None:
    """The gradient by differences is the one calculus gives."""
    at = np.array([3.0, 4.0])
    np.testing.assert_allclose(
        gradient(lambda s: np.array([s @ s, s[0] * s[1]]), at), [[6.0, 8.0], [4.0, 3.0]], rtol=1e-8
    )
    given_ = replace(
        MOTION,
        transition_jacobian=lambda _, dt: np.eye(4) + dt * np.eye(4, k=2),
        measurement_jacobian=lambda s: np.c_[(s[:2] - ANCHORS_M) / ranges(s)[:, None], np.zeros((4, 2))],
    )
    _, value = drive(np.random.default_rng(11), 100)
    np.testing.assert_allclose(follow(value, model=given_).mean, follow(value).mean, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"state": ("x", "x", "vx", "vy")},
        {"mean": [1.0, 2.0]},
        {"covariance": -np.eye(4)},
        {"measurement": lambda _: [1.0, 2.0]},
        {"transition": lambda state, _: state[:2]},
        {"process_noise": lambda *_: np.nan * np.eye(4)},
        {"noise": 0.0},
        {"modes": (Mode(lasts_s=0.0), Mode(lasts_s=1.0))},
        {"derived": {"speed": lambda state: state}},
        {"derived": {"x": lambda _: 0.0}},
        {"measurement_jacobian": lambda _: np.eye(4)[:2]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_model_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    """Names, shapes and numbers are looked at before anything is filtered."""
    with pytest.raises(ValueError, match=next(iter(change))[:4]):
        replace(MOTION, **change)


def test_robust_says_when_the_filter_doubts_itself() -> None:
    """With more patience it takes longer until a jump is believed."""
    path, value = drive(np.random.default_rng(12), 200)
    value[100:] = np.array([ranges(place + CARRIED_M) for place in path[100:]])

    def lost(patience: int) -> int:
        error = np.hypot(
            *(follow(value, robust=Robust(step_samples=patience)).mean[100:, :2] - path[100:] - CARRIED_M).T
        )
        return int((error > 1.0).sum())

    assert lost(3) < lost(30)


def biased(seed: int) -> tuple[Model, Array, Array]:
    """Ranges whose slow errors are states, a start that is metres off, the true place, and readings."""
    rng = np.random.default_rng(seed)

    def seen(state: Array) -> Array:
        return ranges(state) + state[2:]

    model = Model(
        state=("x", "y", *"abcd"),
        inputs=4,
        mean=[10.0, 7.5, 0.0, 0.0, 0.0, 0.0],
        covariance=np.diag([36.0, 25.0, *[0.1**2] * 4]),
        transition=lambda state, _: state,
        process_noise=lambda _, dt_s: np.diag([1e-4 * dt_s] * 2 + [1e-8 * dt_s] * 4),
        measurement=seen,
    )
    true = np.array([rng.uniform(1.0, 19.0), rng.uniform(1.0, 14.0), *rng.normal(0.0, 0.1, 4)])
    return model, true[:2], seen(true) + rng.normal(0.0, 0.02, (20, 4))


def surprise(seed: int) -> float:
    """Squared error of the place over its variance: 2 on average where the covariance is right."""
    model, true, value = biased(seed)
    out = track(model, "ekf", begin(model, "ekf"), np.full(20, 0.1), value, np.full((20, 4), 0.02**2), GAUSSIAN)
    error = out.mean[-1, :2] - true
    return float(error @ np.linalg.solve(out.covariance[-1, :2, :2], error))


def test_a_wide_start_is_not_taken_for_slow_errors() -> None:
    """From metres off, the filter linearises until it fits, and its covariance is right afterwards."""
    assert np.mean([surprise(seed) for seed in range(20)]) < 4.0


def test_negative_control_linearised_once_the_start_becomes_an_error_that_stays(monkeypatch: Any) -> None:
    """Without the iteration the slow errors take up what one straight line missed, and stay wrong with confidence."""
    monkeypatch.setattr("trueline_edge.estimation.nonlinear_filters.ITERATIONS", 1)
    assert np.mean([surprise(seed) for seed in range(20)]) > 20.0
