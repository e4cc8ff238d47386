"""P-values go on meaning what they say when scores drift."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trueline_model.conformal import calibrate
from trueline_model.recalibration import MEMORY_MIN, Recalibration

some = hnp.arrays(np.float64, st.integers(20, 250), elements=st.integers(0, 30).map(float))


@settings(max_examples=25)
@given(some, some)
def test_p_is_the_textbook_count_over_the_last_scores(calibration: np.ndarray, score: np.ndarray) -> None:
    """The p-value is the conformal count over the last scores, those of calibration first; then it is remembered."""
    made = Recalibration(calibrate(calibration), MEMORY_MIN)
    begun = made._begin()
    memory = begun["ring"][: int(begun["seen"])].tolist()
    if len(calibration) <= MEMORY_MIN:
        assert sorted(memory) == sorted(calibration.tolist())
    expected = []
    for one in score:
        expected.append((1 + sum(each >= one for each in memory)) / (len(memory) + 1))
        memory = [*memory, one][-MEMORY_MIN:]
    np.testing.assert_allclose(made(score).p, expected, rtol=1e-12)


@settings(max_examples=15)
@given(st.lists(st.integers(0, 500), max_size=8))
def test_cuts_change_no_bit(cuts: list[int]) -> None:
    """Where scores are cut into batches changes no p-value, no surprise and nothing remembered."""
    rng = np.random.default_rng(1)
    score = rng.gamma(2.0, size=500) * np.linspace(1.0, 3.0, 500)
    score[rng.random(500) < 0.1] = np.nan
    made = Recalibration(calibrate(rng.gamma(2.0, size=300)), 150)
    whole = made(score)
    state, p, surprise = None, [], []
    for start, stop in pairwise([0, *sorted(cuts), 500]):
        part = made(score[start:stop], state)
        p.append(part.p)
        surprise.append(part.surprise)
        state = part.state
    np.testing.assert_array_equal(np.concatenate(p), whole.p)
    np.testing.assert_array_equal(np.concatenate(surprise), whole.surprise)
    assert state is not None
    for name, array in whole.state.items():
        np.testing.assert_array_equal(array, state[name])


def test_p_values_of_normal_running_are_valid() -> None:
    """On exchangeable scores P(p <= a) is about a, while the memory of calibration gives way to what comes."""
    rng = np.random.default_rng(2)
    p = np.concatenate(
        [Recalibration(calibrate(rng.gamma(2.0, size=300)), 500)(rng.gamma(2.0, size=1500)).p for _ in range(20)]
    )
    for a in (0.01, 0.05, 0.2):
        assert 0.85 * a <= (p <= a).mean() <= 1.1 * a


def test_what_stays_is_normal_again() -> None:
    """After scores have doubled for good the share of small p-values comes back; a calibration for ever never does."""
    rng = np.random.default_rng(3)
    fixed = calibrate(rng.gamma(2.0, size=1000))
    score = 2.0 * rng.gamma(2.0, size=4000)
    moved = Recalibration(fixed, 1000)(score).p
    assert (moved[:200] <= 0.01).mean() > 0.05
    assert (moved[1000:] <= 0.01).mean() < 0.015
    assert (fixed.p(score)[1000:] <= 0.01).mean() > 0.1


def test_a_long_calibration_begins_about_right() -> None:
    """A memory shorter than calibration begins with scores that give its p-values, to one part of the memory."""
    rng = np.random.default_rng(4)
    fixed = calibrate(rng.normal(size=20_000))
    made = Recalibration(fixed, 500)
    asked = np.linspace(-2.0, 4.0, 60)
    first = np.array([made(np.array([one])).p[0] for one in asked])
    assert np.all(np.abs(first - fixed.p(asked)) <= 1.5 / 500)


def test_the_tail_goes_on_and_follows() -> None:
    """Beyond the memory surprise goes on by the tail of the last scores, larger ones after scores have grown."""
    rng = np.random.default_rng(5)
    made = Recalibration(calibrate(rng.exponential(size=1000)), 1000)
    before = made(np.array([15.0])).surprise[0]
    assert before == pytest.approx(15.0 / np.log(10.0), rel=0.35)
    after = made(np.append(3.0 * rng.exponential(size=2000), 45.0))
    assert after.surprise[-1] == pytest.approx(15.0 / np.log(10.0), rel=0.35)
    assert after.p[-1] == pytest.approx(1 / 1001)


def test_nothing_said_is_not_remembered() -> None:
    """NaN stays NaN and leaves the memory as it was."""
    made = Recalibration(calibrate(np.arange(50.0)), 100)
    said = made(np.full(10, np.nan))
    assert np.isnan(said.p).all()
    assert np.isnan(said.surprise).all()
    for name, array in made._begin().items():
        np.testing.assert_array_equal(said.state[name], array)


def test_too_short_a_memory_is_refused() -> None:
    """With fewer than a hundred nothing is rare."""
    with pytest.raises(ValueError, match="at least 100"):
        Recalibration(calibrate(np.arange(50.0)), 99)
