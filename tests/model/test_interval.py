from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_model.interval import STANDARD, Intervals, fit_intervals
from trueline_wire.errors import ConfigError


def fleet(seed: int, units: int, rows: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions that are too sure of themselves: units differ, and the scatter grows with the prediction."""
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(units), rng.integers(1, rows, units))
    mean = rng.uniform(0.0, 10.0, len(unit))
    truth = mean + (0.2 + 0.3 * mean) * (rng.normal(size=units)[unit] + rng.normal(size=len(unit)))
    return mean[:, None] + np.array([-0.5, 0.0, 0.5]), truth, unit


def held(intervals: Intervals, coverage: float, seed: int, units: int = 4000) -> tuple[float, np.ndarray, np.ndarray]:
    """Share of truths of new units that intervals hold, each unit weighing the same; and each row's."""
    said, truth, unit = fleet(seed, units)
    low, high = intervals(said, coverage)
    inside = (low <= truth) & (truth <= high)
    return float(np.average(inside, weights=1.0 / np.bincount(unit)[unit])), inside, said[:, 1]


@pytest.mark.parametrize("coverage", [STANDARD, 0.9, 0.95])
def test_intervals_hold_the_truth_of_new_units_as_often_as_they_say(coverage: float) -> None:
    """Over many calibrations, at least the coverage asked for on average, and hardly more."""
    found = [held(fit_intervals(*fleet(seed, 100), floor=0.01), coverage, 10_000 + seed, 400)[0] for seed in range(60)]
    assert coverage - 0.005 < np.mean(found) < coverage + 0.025


def test_without_calibration_they_would_not() -> None:
    """The control: the quantiles as predicted hold far less than they say."""
    said, truth, _ = fleet(3, 4000)
    assert np.mean((said[:, 0] <= truth) & (truth <= said[:, 2])) < 0.4


def test_a_unit_with_many_rows_weighs_no_more_than_one_with_few() -> None:
    """One unit that is predicted badly at a thousand rows does not widen what is right for all others."""
    said, truth, unit = fleet(5, 200)
    usual = fit_intervals(said, truth, unit, floor=0.01).stretch(0.9)
    more = np.tile([0.0, 1.0, 2.0], (20_000, 1))
    both = fit_intervals(
        np.vstack([said, more]),
        np.append(truth, np.full(20_000, 500.0)),
        np.append(unit, np.full(20_000, 999)),
        floor=0.01,
    )
    assert both.stretch(0.9) == pytest.approx(usual, rel=0.1)


def test_bins_hold_the_coverage_where_the_scatter_differs() -> None:
    """With bins by prediction, small and large predictions are each covered; with one bin, they are not."""
    for bins, low, high in ((1, 0.88, 0.995), (4, 0.85, 0.95)):
        intervals = fit_intervals(*fleet(11, 3000), floor=0.01, bins=bins)
        _, inside, mean = held(intervals, 0.9, 77)
        shares = [inside[(mean >= a) & (mean < a + 2.5)].mean() for a in (0.0, 2.5, 5.0, 7.5)]
        if bins == 1:
            assert min(shares) < low
            assert max(shares) > high
        else:
            assert low < min(shares)
            assert max(shares) < high


def test_a_coverage_the_units_cannot_support_is_refused() -> None:
    """Twelve units support 12 / 13; more is refused with what can be asked."""
    intervals = fit_intervals(*fleet(1, 12), floor=0.01)
    assert intervals.coverage_max == pytest.approx(12 / 13)
    intervals.stretch(0.92)
    with pytest.raises(ConfigError, match=r"supports 0\.923"):
        intervals.stretch(0.95)
    with pytest.raises(ConfigError, match="at least 10"):
        fit_intervals(*fleet(1, 9), floor=0.01)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3))
def test_more_coverage_is_never_a_narrower_interval(seed: int, bins: int) -> None:
    """Intervals of one row lie in one another as coverage grows, and hold the mean."""
    intervals = fit_intervals(*fleet(seed, 60), floor=0.01, bins=bins)
    said = fleet(seed + 1, 5)[0]
    ends = [intervals(said, coverage) for coverage in (0.5, STANDARD, 0.9)]
    for (low, high), (lower, higher) in pairwise(ends):
        assert np.all(lower <= low)
        assert np.all(low <= said[:, 1])
        assert np.all(said[:, 1] <= high)
        assert np.all(high <= higher)


def test_intervals_come_back_out_of_a_package() -> None:
    """The same bits; arrays that do not rise, or do not fit one another, are refused."""
    intervals = fit_intervals(*fleet(2, 80), floor=0.01, bins=2)
    again = Intervals.from_arrays(intervals.arrays())
    said = fleet(3, 9)[0]
    assert np.array_equal(again(said, 0.9), intervals(said, 0.9))
    for wrong in ({"score": intervals.score[:, ::-1]}, {"edge": np.zeros(3)}, {"floor": np.array(0.0)}):
        with pytest.raises(ConfigError, match="no intervals"):
            Intervals.from_arrays(intervals.arrays() | wrong)
