"""The EWMA chart: what drifts is normal, what shifts is not, and little training is little knowledge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import chi2, t

from trueline_model.detector import score_series
from trueline_model.detectors import Chart
from trueline_model.detectors.chart import Judge, autocorrelation_rows
from trueline_model.series import make_series


def wandering(rows: int, memory: float, seed: int) -> np.ndarray:
    """First-order autoregression of unit variance, (rows, 1)."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0.0, np.sqrt(1.0 - memory**2), (rows, 1))
    noise[0] = rng.normal()
    return np.asarray(lfilter([1.0], [1.0, -memory], noise, axis=0))


@settings(max_examples=40)
@given(freedom=st.floats(2.0, 500.0), far=st.floats(0.5, 5.0))
def test_deviance_is_as_rare_as_students_t(freedom: float, far: float) -> None:
    """A deviance is as rare under chi-square as its difference under Student's t, to a tenth of a decade or so."""
    found = Judge(np.ones(1), np.array([freedom]))(np.array([far]))[0]
    assert np.log10(chi2.sf(found, 1)) == pytest.approx(np.log10(2.0 * t.sf(far, freedom)), rel=0.04, abs=0.02)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_autocorrelation_time_is_that_of_the_process(memory: float) -> None:
    """Of a first-order autoregression it is (1 + rho) / (1 - rho) rows, over one recording or several."""
    value = wandering(40_000, memory, 1)
    expected = (1.0 + memory) / (1.0 - memory)
    assert autocorrelation_rows([value])[0] == pytest.approx(expected, rel=0.12)
    assert autocorrelation_rows(np.split(value, 8))[0] == pytest.approx(expected, rel=0.12)


def test_channel_at_rest_is_judged_by_its_floor() -> None:
    """A channel that never moved in training makes no infinity of its first move."""
    detector = Chart().fit([make_series(np.full((200, 1), 5.0))])
    score = score_series(detector, make_series(np.concatenate([np.full((50, 1), 5.0), np.full((50, 1), 6.0)]))).score
    assert not score[:50].any()
    assert 10.0 < score[60] < 1e5


def share_crossed(rows: int, *, certain: bool, seeds: int) -> float:
    """Share of fresh normal rows of a wandering channel beyond a deviance of 9, after so many rows of training."""
    shares = []
    for seed in range(seeds):
        value = wandering(rows + 2000, 0.97, seed)
        detector = Chart(memory_rows=0).fit([make_series(value[:rows])])
        if certain:  # the spread as measured, as if every row had been independent
            spread = detector.variance * detector.freedom / (detector.freedom + 2.0)
            detector = replace(detector, variance=spread, freedom=np.full(1, float(rows)))
        shares.append(np.mean(score_series(detector, make_series(value[rows:])).score > 9.0))
    return float(np.mean(shares))


def test_little_training_is_little_knowledge() -> None:
    """After some five turns of a wandering channel, normal rows are called strange half as often as by certainty.

    After three hundred turns the two agree, at what chi-square says.
    """
    assert share_crossed(300, certain=False, seeds=40) < 0.5 * share_crossed(300, certain=True, seeds=40)
    for certain in (False, True):
        share = share_crossed(20_000, certain=certain, seeds=10)
        assert share == pytest.approx(chi2.sf(9.0, 1), abs=0.002)


def drifting(rows: int, rate: float, seed: int) -> np.ndarray:
    """Two noisy channels, (rows, 2); the first also drifts by `rate` a row."""
    value = np.random.default_rng(seed).normal(size=(rows, 2))
    value[:, 0] += rate * np.arange(rows)
    return value


@pytest.mark.parametrize(("memory_rows", "stays"), [(50, True), (0, False)])
def test_the_reference_follows_drift(memory_rows: int, stays: bool) -> None:  # noqa: FBT001 - a parameter of the case
    """Drift as in training stays normal however far it goes; control: a reference that stays is left behind."""
    value = drifting(3000, 0.005, 3)
    detector = Chart(memory_rows=memory_rows).fit([make_series(value[:600])])
    late = score_series(detector, make_series(value)).score[2500:]
    assert bool(np.median(late) < 2.0) is stays


def test_trouble_does_not_become_normal() -> None:
    """A shift far beyond what drifts stays strange for twenty memories of the reference, and its end is seen."""
    value = drifting(3000, 0.0, 4)
    detector = Chart().fit([make_series(value[:600])])
    value[1000:2000, 1] += 6.0
    scored = score_series(detector, make_series(value))
    assert scored.score[1020:2000].min() > 4.0 * scored.score[:1000].max()
    assert (scored.contribution[1020:2000, 1] > scored.contribution[1020:2000, 0]).all()
    assert np.median(scored.score[2100:]) < 2.0


def test_settings_are_checked() -> None:
    """A smoothing of nothing, or a reference quicker than what is compared with it, is refused where it is written."""
    for wrong in ({"smoothing": 0.0}, {"smoothing": 1.5}, {"memory_rows": -1}, {"memory_rows": 4}):
        with pytest.raises(ValueError, match="must be"):
            Chart(**wrong)
