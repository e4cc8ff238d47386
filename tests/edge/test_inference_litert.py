from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tflite_kit import STEP, Layer, dense_network, identity_network, layers_of, textbook

from trueline_edge.inference.litert import LiteRt, runtime_version
from trueline_wire.errors import ConfigError, NeverRetry

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = (8, 3)
LAYERS = layers_of([24, 16, 4, 24])
INT8 = LiteRt(dense_network(LAYERS, WINDOW, WINDOW), WINDOW, WINDOW)
FLOAT = LiteRt(dense_network(LAYERS, WINDOW, WINDOW, int8=False), WINDOW, WINDOW)


def windows(m: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(m, *WINDOW)).astype(np.float32)


def test_a_float_network_says_what_the_textbook_says() -> None:
    """To the precision of float32."""
    given = windows(100)
    wanted = textbook(LAYERS, given.reshape(100, -1).astype(np.float64)).reshape(given.shape)
    np.testing.assert_allclose(FLOAT(given), wanted, atol=1e-5)


def test_an_int8_network_says_nearly_what_the_textbook_says() -> None:
    """To a few of its own steps, which is what int8 costs; and not to none, or it would not be int8 that ran."""
    given = windows(200)
    wanted = textbook(LAYERS, given.reshape(200, -1).astype(np.float64)).reshape(given.shape)
    off = np.abs(INT8(given) - wanted)
    assert off.mean() < STEP
    assert off.max() < 6 * STEP
    assert off.mean() > STEP / 10


def test_quantisation_rounds_half_to_even_and_saturates() -> None:
    """Real numbers become the nearest step, and stop at the ends of int8."""
    same = LiteRt(identity_network((5,)), (5,), (5,))
    given = np.array([[0.0, 0.26 * STEP, 1.74 * STEP, 1e3, -1e3]], np.float32)
    np.testing.assert_allclose(same(given), np.array([[0.0, 0.0, 2.0, 127.0, -128.0]]) * STEP, rtol=1e-6)


@given(cuts=st.lists(st.integers(0, 150), max_size=4), network=st.sampled_from([INT8, FLOAT]))
def test_an_answer_depends_on_its_own_window_alone(cuts: list[int], network: LiteRt) -> None:
    """However many windows come at once, each gets the same bits."""
    given = windows(150, 3)
    edges = [0, *sorted(cuts), 150]
    parts = [network(given[start:end]) for start, end in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(parts), network(given))


def test_many_windows_at_once_only_where_all_numbers_are_integers() -> None:
    """A float sum may depend on its company; a network whose file names a batch of one takes no other."""
    assert INT8.batched
    assert not FLOAT.batched
    fixed = LiteRt(dense_network(LAYERS, WINDOW, WINDOW, fixed=True), WINDOW, WINDOW)
    assert not fixed.batched
    given = windows(130)
    np.testing.assert_array_equal(fixed(given), INT8(given))


def test_no_window_no_answer() -> None:
    """An empty batch is fine."""
    assert INT8(windows(0)).shape == (0, *WINDOW)


def test_answers_of_other_shapes() -> None:
    """A forecast is a row, a score is a number, and a flat network is as good as one with dimensions."""
    forecast = LiteRt(dense_network(layers_of([24, 3]), WINDOW, (3,)), WINDOW, (3,))
    assert forecast(windows(4)).shape == (4, 3)
    score = LiteRt(dense_network(layers_of([24, 1]), (24,), (1,)), WINDOW, ())
    assert score(windows(4)).shape == (4,)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (b"", "LiteRT does not take"),
        (b"TFL3" * 30, "LiteRT does not take"),
        (dense_network(layers_of([30, 24]), (10, 3), WINDOW), "input has shape"),
        (dense_network(layers_of([24, 3]), WINDOW, (3,)), "output has shape"),
        (dense_network(LAYERS, WINDOW, WINDOW, inputs=2), "2 inputs"),
        (dense_network(LAYERS, WINDOW, WINDOW, batch=64), "input has shape"),
        (dense_network(LAYERS, WINDOW, WINDOW, step=float("nan")), "scale of nan|cannot be set up"),
        (dense_network(LAYERS, WINDOW, WINDOW)[:-400], "LiteRT does not take"),
        (dense_network([Layer(np.ones((5, 5)), np.zeros(5))], WINDOW, WINDOW), "cannot be set up"),
    ],
    ids=[
        "empty",
        "rubbish",
        "other window",
        "other answer",
        "two inputs",
        "a batch of 64",
        "NaN scale",
        "cut off",
        "does not fit itself",
    ],
)
def test_what_is_no_such_network_is_refused_with_the_reason(network: bytes, said: str) -> None:
    """The message says what it has and what is wanted."""
    with pytest.raises(NeverRetry, match=said):
        LiteRt(network, WINDOW, WINDOW)


def test_without_litert_the_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device without the extra is told which."""
    assert runtime_version()
    for name in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"trueline\[infer\]"):
        LiteRt(b"", WINDOW, WINDOW)
