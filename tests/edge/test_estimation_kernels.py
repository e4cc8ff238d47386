"""The compiled kernels and their textbook are one: same numbers, same state, same laws."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_edge.estimation import kernels, textbook
from trueline_edge.estimation.kernels import GAUSSIAN, Robust

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

try:
    from trueline_edge.estimation import hot
except ImportError:  # no compiler was at hand
    hot = None  # type: ignore[assignment]

needs_both = pytest.mark.skipif(hot is None, reason="the extension was not built")
IMPLEMENTATIONS = [pytest.param(textbook, id="textbook"), pytest.param(hot, id="compiled", marks=needs_both)]
each_implementation = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)

CHANNELS, SENSORS = 3, 4
F, Q = np.array([[[1.0, 0.7], [0.0, 0.9]]]), np.array([[[0.03, 0.05], [0.05, 0.1]]])
H = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 1.0], [0.0, 1.0]])
R = np.array([1.0, 4.0, 0.5])

KERNELS: dict[str, tuple[Callable[[], Array], Callable[[Array, Array, Array], Any]]] = {
    "level": (lambda: kernels.level_fresh(CHANNELS), lambda s, dt, z: kernels.kalman_level(s, dt, z[:, :, 0], R, 0.01)),
    "level, as Kalman wrote it": (
        lambda: kernels.level_fresh(CHANNELS),
        lambda s, dt, z: kernels.kalman_level(s, dt, z[:, :, 0], 1.0, [0.0, 0.1, 10.0], GAUSSIAN),
    ),
    "trend": (
        lambda: kernels.trend_fresh(CHANNELS, 0.1),
        lambda s, dt, z: kernels.kalman_trend(s, dt, z[:, :, 0], R, 0.01, [0.0, 1e-4, 0.1]),
    ),
    "damped trend": (
        lambda: kernels.trend_fresh(CHANNELS, 0.1),
        lambda s, dt, z: kernels.kalman_trend(s, dt, z[:, :, 0], R, 0.01, [0.0, 1e-4, 0.1], [1e4, 20.0, 0.3]),
    ),
    "linear": (
        lambda: kernels.linear_fresh([0.0, 0.0], np.eye(2)),
        lambda s, dt, z: kernels.kalman_linear(s, F, Q, H, z[:, 0], [1.0, 1.0, 2.0, 3.0], learn=~(dt <= 0)),
    ),
    "bank": (
        lambda: kernels.bank_fresh(CHANNELS),
        lambda s, dt, z: kernels.bank_level(s, dt, z[:, :, 0], r=R, floor=1e-4),
    ),
    "fuse": (
        lambda: kernels.level_fresh(CHANNELS),
        lambda s, dt, z: kernels.fuse_level(s, dt, z, [1.0, 2.0, 3.0, 1.0], 0.01),
    ),
    "Hampel": (
        lambda: kernels.hampel_fresh(CHANNELS, 7, 3),
        lambda s, _, z: kernels.hampel(s, z[:, :, 0], 7, 3.0, 0.1),
    ),
    "Hampel, even and patient": (
        lambda: kernels.hampel_fresh(CHANNELS, 4, 9),
        lambda s, _, z: kernels.hampel(s, z[:, :, 0], 4, 1.5, 0.0, 9, judges=4),
    ),
    "Hampel, centred": (
        lambda: kernels.hampel_fresh(CHANNELS, 5, 3, centred=True),
        lambda s, _, z: kernels.hampel(s, z[:, :, 0], 5, 3.0, 0.1, centred=True),
    ),
    "Hampel, centred and wide": (
        lambda: kernels.hampel_fresh(CHANNELS, 11, 3, centred=True),
        lambda s, _, z: kernels.hampel(s, z[:, :, 0], 11, 3.0, 0.1, judges=7, centred=True),
    ),
}
each_kernel = pytest.mark.parametrize("name", KERNELS)


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Array, Array]:
    """Irregular time with duplicates; walks with noise, steps, spikes, runs of nothing, stuck and infinite values."""
    n, seed = draw(st.integers(0, 120)), draw(st.integers(0, 999))
    rng = np.random.default_rng(seed)
    dt = rng.choice([0.0, 0.1, 1.0, 1.0, 1.0, 50.0], n)
    dt[:1] = np.nan
    scale = 10.0 ** draw(st.integers(-4, 4))
    z = np.cumsum(rng.normal(0, 0.1, (n, CHANNELS, 1)), axis=0) + rng.normal(0, 1, (n, CHANNELS, SENSORS))
    z[n // 2 :] += draw(st.sampled_from([0.0, 3.0, 100.0]))
    z[rng.random(z.shape) < draw(st.sampled_from([0.0, 0.1]))] *= 30.0
    z[rng.random(z.shape) < draw(st.sampled_from([0.0, 0.1, 0.9]))] = np.nan
    z[rng.random(z.shape) < draw(st.sampled_from([0.0, 0.02]))] = np.inf
    z[n // 3 :, 1] = np.where(draw(st.booleans()), z[n // 3 :, 1], 7.0)
    return dt, z * scale


def with_(implementation: Any, name: str, dt: Array, z: Array, state: Array | None = None) -> Any:
    fresh, step = KERNELS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "_hot", implementation)
        return step(fresh() if state is None else state, dt, z)


def assert_close(one: Any, other: Any, scale: float) -> None:
    for field, a, b in zip(one._fields, one, other, strict=True):
        if a.dtype == np.bool_:
            assert np.array_equal(a, b), field
        else:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * scale, err_msg=field)


def size_of(z: Array) -> float:
    """What rounding is measured by: an innovation is a difference of two values of this size."""
    finite = np.abs(z[np.isfinite(z)])
    return float(finite.max()) if len(finite) else 1.0


@needs_both
@each_kernel
@settings(max_examples=60, deadline=None)
@given(recordings())
def test_the_extension_agrees_with_the_textbook(name: str, recording: tuple[Array, Array]) -> None:
    """To 1e-9, whatever comes."""
    dt, z = recording
    assert_close(with_(hot, name, dt, z), with_(textbook, name, dt, z), size_of(z))


@needs_both
@each_kernel
@settings(max_examples=20, deadline=None)
@given(recordings(), st.permutations([hot, textbook]))
def test_a_state_of_one_restores_in_the_other(name: str, recording: tuple[Array, Array], order: list[Any]) -> None:
    """Half of a recording with one, half with the other, is the whole with either."""
    dt, z = recording
    half = len(dt) // 2
    first, second = order
    before = with_(first, name, dt[:half], z[:half])
    after = with_(second, name, dt[half:], z[half:], before.state)
    whole = with_(textbook, name, dt, z)
    for field, a, b, c in zip(whole._fields[:-1], before, after, whole, strict=False):
        joined = np.concatenate([a, b])
        np.testing.assert_allclose(joined, c, rtol=1e-9, atol=1e-9 * size_of(z), err_msg=field)


@each_implementation
@each_kernel
@settings(max_examples=20, deadline=None)
@given(recordings(), st.lists(st.integers(0, 120), max_size=4))
def test_where_rows_are_cut_changes_no_bit(
    implementation: Any, name: str, recording: tuple[Array, Array], cuts: list[int]
) -> None:
    """Rows in one call or in many: the same bits come out, and the same state."""
    dt, z = recording
    edges = sorted({0, len(dt), *[min(cut, len(dt)) for cut in cuts]})
    whole = with_(implementation, name, dt, z)
    state = KERNELS[name][0]()
    parts = []
    for a, b in itertools.pairwise(edges):
        parts.append(with_(implementation, name, dt[a:b], z[a:b], state))
        state = parts[-1].state
    for field in whole._fields[:-1]:
        joined = [getattr(part, field) for part in parts]
        assert b"".join(part.tobytes() for part in joined) == getattr(whole, field).tobytes(), field
    assert state.tobytes() == (whole.state if parts else state).tobytes()


@each_implementation
@each_kernel
def test_no_argument_is_changed(implementation: Any, name: str) -> None:
    """State, times and values are as they were."""
    rng = np.random.default_rng(1)
    dt, z = np.ones(20), rng.normal(size=(20, CHANNELS, SENSORS))
    state = KERNELS[name][0]()
    before = [a.tobytes() for a in (state, dt, z)]
    for array in (state, dt, z):
        array.flags.writeable = False
    with_(implementation, name, dt, z, state)
    assert [a.tobytes() for a in (state, dt, z)] == before


@needs_both
def test_negative_control_another_constant_is_found_out() -> None:
    """The comparison can fail: filters whose tails differ by a thousandth are told apart."""
    rng = np.random.default_rng(1)
    dt, z = np.ones(50), rng.normal(0, 3, (50, CHANNELS))
    one = kernels.kalman_level(kernels.level_fresh(CHANNELS), dt, z, 1.0, 0.01, Robust(dof=4.0))
    other = kernels.kalman_level(kernels.level_fresh(CHANNELS), dt, z, 1.0, 0.01, Robust(dof=4.004))
    with pytest.raises(AssertionError):
        assert_close(one, other, 1.0)


@pytest.mark.skipif("TRUELINE_REQUIRE_KERNELS" not in os.environ, reason="asked of CI, where there is a compiler")
def test_the_extension_is_there_where_it_is_required() -> None:
    """CI fails without it, and works with it."""
    assert hot is not None
    assert kernels.IMPLEMENTATION == "cython"


def test_the_fallback_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRUELINE_KERNELS=textbook takes it even where the extension is there."""
    monkeypatch.setenv("TRUELINE_KERNELS", "textbook")
    assert kernels._choose() == (textbook, "textbook")


@each_kernel
def test_a_state_of_another_size_is_refused(name: str) -> None:
    """What is compiled looks at no bounds: the door does."""
    dt, z = np.ones(4), np.zeros((4, CHANNELS, SENSORS))
    state = KERNELS[name][0]()
    with pytest.raises(ValueError, match="are wanted"):
        KERNELS[name][1](state[:-1], dt, z)
    with pytest.raises(ValueError, match="are wanted"):
        KERNELS[name][1](np.ascontiguousarray(state[:, :-1]), dt, z)


@pytest.mark.parametrize("width", [0, 2, 256])
def test_a_window_no_kernel_holds_is_refused(width: int) -> None:
    """From 3 to 255 values."""
    with pytest.raises(ValueError, match="between 3 and 255"):
        kernels.hampel(kernels.hampel_fresh(1, width, 3), np.zeros((4, 1)), width, 3.0)
