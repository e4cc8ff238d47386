from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_model.prediction import Feature, Prediction, Predictor
from trueline_wire.errors import ConfigError

SECOND = 10**9


def last_and_mean(window: Any) -> Any:
    """A stand-in for a network: the first feature's mean, its last value, and the second feature's last."""
    return np.stack([window[:, :, 0].mean(axis=1), window[:, -1, 0], window[:, -1, -1]], axis=1)


def predictor(**changes: Any) -> Predictor:
    settings: dict[str, Any] = {
        "target": "t",
        "unit": "1",
        "rows": 3,
        "features": (Feature(0), Feature(1, "change")),
        "origin": 0.0,
        "span": 1.0,
        "clip": 1e6,
    }
    recipe = Prediction(**(settings | changes))
    f = len(recipe.features)
    return recipe.predictor({"centre": np.zeros(f), "scale": np.ones(f)}, 2, last_and_mean)


def rows(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    time_ns = np.cumsum(rng.choice([-1, 1, 2, 40], n, p=[0.05, 0.6, 0.3, 0.05])) * SECOND
    return time_ns, rng.normal(size=(n, 2)), rng.random((n, 2)) > 0.2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 50), st.lists(st.integers(0, 60), max_size=5), st.sampled_from([0.0, 4.0]))
def test_predictions_do_not_depend_on_where_batches_are_cut(seed: int, cuts: list[int], step_s: float) -> None:
    """Whatever the batches, the same bits, times that step back included."""
    time_ns, value, valid = rows(seed)
    model = predictor(step_s=step_s)
    whole = model(time_ns, value, valid).spread
    state, found = None, []
    for start, end in pairwise([0, *sorted(cuts), 60]):
        said = model(time_ns[start:end], value[start:end], valid[start:end], state)
        state = said.state
        found.append(said.spread)
    assert np.array_equal(np.concatenate(found), whole, equal_nan=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 50), st.sampled_from([0.0, 4.0]))
def test_what_a_cell_holds_that_is_not_valid_changes_nothing(seed: int, step_s: float) -> None:
    """NaN, infinity and any number there give the same predictions."""
    time_ns, value, valid = rows(seed)
    model = predictor(step_s=step_s, features=(Feature(0), Feature(1, "ratio")))
    plain = model(time_ns, np.where(valid, value, 0.0), valid).spread
    for other in (np.nan, np.inf, 1e300):
        assert np.array_equal(model(time_ns, np.where(valid, value, other), valid).spread, plain, equal_nan=True)


def test_between_two_steps_the_last_prediction_stands() -> None:
    """With steps of ten seconds, a row a second: predictions change when a step is complete, and not before."""
    time_ns = np.arange(60) * SECOND
    value = np.column_stack([np.arange(60.0), np.zeros(60)])
    said = predictor(step_s=10.0)(time_ns, value, np.ones((60, 2), bool)).spread
    assert np.all(np.isnan(said[:30]))
    assert said[30].tolist() == said[39].tolist() == [0.0, 14.5, 24.5]
    assert said[40, 2] == pytest.approx(34.5)


def test_too_little_in_a_window_is_no_prediction() -> None:
    """Half of the cells are wanted, and one of the newest step."""
    model, time_ns = predictor(), np.arange(6) * SECOND
    valid = np.array([[1, 1], [1, 1], [1, 1], [0, 0], [1, 0], [0, 1]], bool)
    said = model(time_ns, np.ones((6, 2)), valid).spread
    assert np.isfinite(said[:, 1]).tolist() == [False, False, True, False, True, False]


def test_a_ratio_does_not_see_the_level_and_a_change_does_not_see_an_offset() -> None:
    """A channel times ten, or ten more, is the same to the network."""
    time_ns, valid = np.arange(9) * SECOND, np.ones((9, 2), bool)
    rng = np.random.default_rng(1)
    value = 1.0 + rng.random((9, 2))
    for form, other in (("ratio", value * 10.0), ("change", value + 10.0)):
        model = predictor(features=(Feature(0, form), Feature(1, form)))
        assert model(time_ns, other, valid).spread[2:] == pytest.approx(
            model(time_ns, value, valid).spread[2:], abs=1e-5
        )


def test_a_share_is_of_the_mean_and_may_be_nothing() -> None:
    """A channel times ten is the same to the network, at night as by day; of nothing at all no share is valid."""
    time_ns, valid = np.arange(3) * SECOND, np.ones((3, 2), bool)
    model = predictor(features=(Feature(0, "share"),))
    for scale in (1.0, 10.0):
        value = np.column_stack([scale * np.array([0.0, 4.0, 2.0]), np.ones(3)])
        assert model(time_ns, value, valid).spread[-1].tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert model.inputs_of(np.zeros((1, 3, 2)), np.ones((1, 3, 2), bool)).tolist() == [[[0.0], [0.0], [0.0]]]


def test_in_parts_of_an_input_large_and_small_are_alike() -> None:
    """What is predicted follows the input's mean over the window, but no smaller one than was learnt."""
    time_ns, valid = np.arange(3) * SECOND, np.ones((3, 2), bool)
    model = predictor(features=(Feature(0),), per=1, per_least=0.5)
    for level in (4.0, 40.0, 0.1):
        said = model_said(model, time_ns, np.column_stack([np.full(3, 2.0), np.full(3, level)]), valid)
        assert said == pytest.approx(2.0 * max(level, 0.5))


def model_said(model: Predictor, time_ns: np.ndarray, value: np.ndarray, valid: np.ndarray) -> float:
    return float(model(time_ns, value, valid).spread[-1, 1])


def test_a_recipe_that_cannot_be_is_refused() -> None:
    """A feature of an input that is not there, a span of nothing, ends in the wrong order."""
    with pytest.raises(ConfigError, match="a feature of input 2, and there are 2"):
        predictor(features=(Feature(2),))
    for wrong in (
        {"span": 0.0},
        {"rows": 0},
        {"features": ()},
        {"least": 1.0, "most": 1.0},
        {"valid_min": 0.0},
        {"per": -1},
    ):
        with pytest.raises(ValueError, match=r"\w"):
            predictor(**wrong)
