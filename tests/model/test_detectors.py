"""The laws every detector keeps, whatever it looks for."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from detector_cases import CASES, NETWORKS, faulty, fit, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_model.detector import score_series
from trueline_model.detectors import DETECTORS, Ensemble, Network, detector_from, network_in
from trueline_model.series import make_series
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from trueline_model.detector import Detector, Parts, State

FITTED: dict[str, Detector] = {}


def fitted(name: str) -> Detector:
    if name not in FITTED:
        FITTED[name] = fit(CASES[name], [normal(1), normal(2)], 5)
    return FITTED[name]


def again_from(parts: Parts, name: str) -> Detector:
    network = network_in(parts)
    return detector_from(parts, NETWORKS[network.output] if network else None)


every = pytest.mark.parametrize("name", CASES)


def test_every_kind_is_tried() -> None:
    """No detector escapes the laws."""
    assert {type(recipe) for recipe in CASES.values()} == set(DETECTORS.values())


@every
def test_fit_is_seeded(name: str) -> None:
    """Same recordings, same seed, same arrays."""
    again = fit(CASES[name], [normal(1), normal(2)], 5).parts()
    assert again.kind == fitted(name).parts().kind
    for key, array in fitted(name).parts().arrays.items():
        np.testing.assert_array_equal(array, again.arrays[key])


@every
def test_score_is_pure(name: str) -> None:
    """Input and state are left as they are, and the same input gives the same answer."""
    series = faulty()
    value, valid = series.value.copy(), series.valid.copy()
    half = len(series) // 2
    first = fitted(name).score(series.value[:half], series.valid[:half])
    kept = {key: array.copy() for key, array in first.state.items()}
    once = fitted(name).score(series.value[half:], series.valid[half:], first.state)
    twice = fitted(name).score(series.value[half:], series.valid[half:], first.state)
    np.testing.assert_array_equal(once.score, twice.score)
    np.testing.assert_array_equal(series.value, value)
    np.testing.assert_array_equal(series.valid, valid)
    for key, array in kept.items():
        np.testing.assert_array_equal(array, first.state[key])


@every
@settings(max_examples=8)
@given(cuts=st.lists(st.integers(0, 160), max_size=8))
def test_cuts_change_no_bit(name: str, cuts: list[int]) -> None:
    """Where a recording is cut into batches changes no bit of a score or a contribution."""
    series = faulty()
    whole = score_series(fitted(name), series)
    state: State | None = None
    scores, contributions = [], []
    edges = [0, *sorted(cuts), len(series)]
    for start, stop in pairwise(edges):
        scored = fitted(name).score(series.value[start:stop], series.valid[start:stop], state)
        scores.append(scored.score)
        contributions.append(scored.contribution)
        state = scored.state
    np.testing.assert_array_equal(np.concatenate(scores), whole.score)
    np.testing.assert_array_equal(np.concatenate(contributions), whole.contribution)


@every
def test_row_by_row_is_the_same(name: str) -> None:
    """One row at a time is the same as all at once, bit for bit."""
    np.testing.assert_array_equal(
        score_series(fitted(name), faulty(), batch=1).score, score_series(fitted(name), faulty()).score
    )


@every
def test_what_is_not_valid_changes_nothing(name: str) -> None:
    """A cell that is not valid may hold anything: no score changes."""
    series = faulty()
    lies = np.where(series.valid, series.value, 1e300)
    gone = np.where(series.valid, series.value, np.nan)
    one = fitted(name).score(lies, series.valid)
    two = fitted(name).score(gone, series.valid)
    np.testing.assert_array_equal(one.score, two.score)
    np.testing.assert_array_equal(one.contribution, two.contribution)
    assert not one.contribution[:20, 1].any()


@every
def test_scores_are_numbers_or_say_nothing(name: str) -> None:
    """NaN while warming up and where nothing is valid, else finite and at least 0, and the contributions sum to it."""
    detector = fitted(name)
    series = normal(3)
    scored = score_series(detector, series)
    assert np.isnan(scored.score[: detector.warm_up]).all()
    assert np.isfinite(scored.score[detector.warm_up :]).all()
    assert (scored.score[detector.warm_up :] >= 0.0).all()
    assert scored.contribution.shape == series.value.shape
    assert (scored.contribution >= 0.0).all()
    np.testing.assert_allclose(scored.contribution.sum(axis=1), np.nan_to_num(scored.score), rtol=1e-9, atol=1e-12)
    nothing = detector.score(series.value, np.zeros_like(series.valid))
    assert np.isnan(nothing.score).all()
    assert not nothing.contribution.any()


@every
def test_extreme_numbers_stay_numbers(name: str) -> None:
    """A channel at 1e300 makes a large score, not an infinite one."""
    series = normal(3)
    value = series.value.copy()
    value[150:, 0] = 1e300
    scored = fitted(name).score(value, series.valid)
    assert np.isfinite(scored.score[fitted(name).warm_up :]).all()


@every
def test_state_does_not_grow(name: str) -> None:
    """What is remembered has one size, however long the recording."""
    detector = fitted(name)
    short = detector.score(normal(3).value, normal(3).valid)
    long = detector.score(normal(3).value, normal(3).valid, short.state)
    assert {k: v.shape for k, v in short.state.items()} == {k: v.shape for k, v in long.state.items()}


@every
def test_empty_batch(name: str) -> None:
    """A batch without rows scores nothing and forgets nothing."""
    detector, series = fitted(name), faulty()
    first = detector.score(series.value[:90], series.valid[:90])
    empty = detector.score(series.value[:0], series.valid[:0], first.state)
    assert empty.score.shape == (0,)
    after = detector.score(series.value[90:], series.valid[90:], empty.state)
    np.testing.assert_array_equal(after.score, score_series(detector, series).score[90:])


@every
def test_parts_make_it_again(name: str) -> None:
    """What a package holds of a detector makes a detector with the same scores, bit for bit."""
    again = again_from(fitted(name).parts(), name)
    np.testing.assert_array_equal(score_series(again, faulty()).score, score_series(fitted(name), faulty()).score)


@every
def test_a_missing_array_is_refused(name: str) -> None:
    """A package that lacks an array, or has one of another shape or with NaN, says which."""
    parts = fitted(name).parts()
    for key, array in parts.arrays.items():
        others = {k: v for k, v in parts.arrays.items() if k != key}
        with pytest.raises(ConfigError, match=key.rsplit(".", 1)[-1]):
            again_from(parts._replace(arrays=others), name)
        with pytest.raises(ConfigError, match=key.rsplit(".", 1)[-1]):
            again_from(parts._replace(arrays={**others, key: np.full(array.shape, np.nan)}), name)
        with pytest.raises(ConfigError, match=key.rsplit(".", 1)[-1]):
            again_from(parts._replace(arrays={**others, key: np.zeros((*array.shape, 2))}), name)


@every
def test_it_sees_what_it_is_for(name: str) -> None:
    """A gross fault in a channel it watches scores above nearly all normal rows, and that channel contributes most."""
    usual = np.nanquantile(score_series(fitted(name), normal(4)).score, 0.99)
    named = []
    for channel in (0, 2):  # one that moves with another, and one alone, which a residual from correlations cannot see
        value = normal(4).value.copy()
        value[150:170, channel] += 25.0
        scored = score_series(fitted(name), make_series(value))
        worst = int(np.nanargmax(scored.score))
        most = scored.contribution[150:170].sum(axis=0).argmax()
        named.append(worst >= 150 and scored.score[worst] > usual and most == channel)
    assert any(named)


def test_an_unknown_kind_or_setting_is_named() -> None:
    """A package of a kind or with a setting we do not have says so."""
    parts = fitted("pca spe").parts()
    with pytest.raises(ConfigError, match="oracle"):
        detector_from(parts._replace(kind="oracle"))
    with pytest.raises(ConfigError, match="magic"):
        detector_from(parts._replace(settings={"magic": 1}))


def test_a_network_must_be_given() -> None:
    """A package of a network cannot be scored without it."""
    with pytest.raises(ConfigError, match="network"):
        detector_from(fitted("network forecasts").parts())


def test_an_ensemble_has_one_network_at_most_and_does_not_train_it() -> None:
    """A package holds one network, and a recipe cannot train it: both are said."""
    network = Network(rows=6)
    with pytest.raises(ValueError, match="room for one network"):
        Ensemble(members=(network, network))
    with pytest.raises(ConfigError, match="train it, and join it by `together`"):
        CASES["ensemble with a network"].fit([normal(1)])
    with pytest.raises(ConfigError, match="member 1: it is a network"):
        detector_from(fitted("ensemble with a network").parts())
