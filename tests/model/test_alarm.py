"""The false alarm rate that was configured is the one that comes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_model.alarm import Alarm, Alarming, _count, events_of, fit_alarm
from trueline_model.conformal import calibrate
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trueline_model.detector import State

S = 10**9


def scores(
    rows: int, rng: np.random.Generator, *, memory: float, heavy: bool, growth: float = 0.0
) -> NDArray[np.float64]:
    """Magnitudes of an autoregressive process, growing by `growth` from first row to last."""
    noise = rng.standard_t(4, rows) if heavy else rng.normal(size=rows)
    weights = memory ** np.arange(60)
    return np.abs(np.convolve(noise, weights)[:rows]) * (1.0 + growth * np.arange(rows) / rows)


def observed(*, adapt: float, memory: float, heavy: bool, growth: float, seed: int) -> int:
    """Events in 50,000 rows in which 15 are asked for; calibrated with 12,000, scaled with 12,000 others."""
    rng = np.random.default_rng(seed)
    made = calibrate(scores(12_000, rng, memory=memory, heavy=heavy))
    time_ns = np.arange(50_000) * S
    normal = made.surprise(scores(12_000, rng, memory=memory, heavy=heavy))
    alarming = fit_alarm(Alarm(events=15, per_s=50_000, adapt=adapt), [(time_ns[:12_000], normal)])
    held_back = made.surprise(scores(50_000, rng, memory=memory, heavy=heavy, growth=growth))
    return int(alarming(time_ns, held_back).begins.sum())


@pytest.mark.parametrize("growth", [0.0, 0.5])
@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_the_rate_is_kept(memory: float, heavy: bool, growth: float) -> None:  # noqa: FBT001 - a parameter of the case
    """Events come at between half and twice the rate asked, on noise of any tail, with memory, and under drift."""
    for seed in (5001, 5002):
        assert 7.5 <= observed(adapt=0.3, memory=memory, heavy=heavy, growth=growth, seed=seed) <= 30


def test_without_adaptation_drift_breaks_the_rate() -> None:
    """Negative control: the same recordings with a fixed threshold have several times the events asked for."""
    assert observed(adapt=0.0, memory=0.0, heavy=False, growth=0.5, seed=5001) > 60


def test_a_rate_the_calibration_cannot_support_is_refused() -> None:
    """One alarm a week cannot be promised from an hour; the message says what can."""
    time_ns = np.arange(3600) * S
    with pytest.raises(ConfigError, match=r"1209600 s, or ask for 336|3\.4e\+02"):
        fit_alarm(Alarm(), [(time_ns, np.random.default_rng(1).exponential(size=3600))])


def extrapolated(events: float, seed: int) -> float:
    """Events in 40,000 rows with an exponential tail, in which so many were asked for; calibrated with 400 rows."""
    rng = np.random.default_rng(seed)
    early, late = rng.exponential(size=400), rng.exponential(size=40_000)
    made = calibrate(early)
    alarm = Alarm(events=events, per_s=40_000, separation_s=5.0, adapt=0.0, extrapolate=1000.0)
    alarming = fit_alarm(alarm, [(np.arange(400) * S, made.surprise(early))])
    return float(alarming(np.arange(40_000) * S, made.surprise(late)).begins.sum())


def test_a_rarer_rate_is_believed_where_it_is_asked_for() -> None:
    """From 400 rows one event in 4000 is extrapolated: at most twice as many come, in the median of recordings.

    The tail is never taken for shorter than exponential, so it errs towards fewer. Control: the rate those rows support
    without (two in their length) has many times as many events.
    """
    assert np.median([extrapolated(10.0, seed) for seed in range(15)]) <= 20.0
    assert np.median([extrapolated(200.0, seed) for seed in range(5)]) > 100.0


def test_an_extrapolation_is_at_least_one() -> None:
    """Less than counting supports is no extrapolation."""
    with pytest.raises(ValueError, match="extrapolate"):
        Alarm(extrapolate=0.5)


fixed = Alarming(Alarm(adapt=0.0, minimum_s=2.0, separation_s=3.0, release=1.0), threshold=2.0, step_s=10.0)


def begins(decades: list[float], alarming: Alarming = fixed) -> list[tuple[int, int]]:
    surprise = np.array(decades)
    return [tuple(e) for e in events_of(alarming(np.arange(len(surprise)) * S, surprise))]


def test_minimum_duration() -> None:
    """A flash shorter than the minimum is no alarm; what lasts is, from the row that completes it."""
    assert begins([0, 9, 9, 0, 0, 0]) == []
    assert begins([0, 9, 9, 9, 9, 0, 0, 0, 0, 0]) == [(3, 8)]


def test_hysteresis_and_separation() -> None:
    """Between release and threshold an event goes on; a pause shorter than the separation does not end it."""
    assert begins([9, 9, 9, 1.5, 1.5, 1.5, 1.5, 1.5, 0, 0, 9, 0, 0, 0, 0]) == [(2, 14)]
    assert begins([9, 9, 9, 0, 0, 0, 0, 0, 9, 9, 9, 0, 0, 0, 0]) == [(2, 6), (10, 14)]


def test_nothing_said_changes_nothing() -> None:
    """NaN neither begins nor ends an event."""
    n = float("nan")
    assert begins([9, n, 9, n, n, n, n, 9, 0, 0, 0, 0]) == [(2, 11)]


def test_threshold_stays_within_reach() -> None:
    """However many events come, the threshold goes no further than `reach`, and comes back when they stop."""
    alarming = Alarming(Alarm(events=1, per_s=100, adapt=1.0, reach=1.5, separation_s=1.0), threshold=2.0, step_s=10.0)
    storm = np.tile([50.0, 0.0, 0.0], 50)
    quiet = np.zeros(1000)
    said = alarming(np.arange(1150) * S, np.concatenate([storm, quiet]))
    assert said.threshold.max() == pytest.approx(3.5)
    assert said.threshold[-1] == pytest.approx(0.5)


def test_a_gap_expects_nothing() -> None:
    """Over a gap nobody watched the threshold comes down by no more than `step_s` of watching."""
    alarming = Alarming(Alarm(events=1, per_s=100, adapt=1.0), threshold=2.0, step_s=10.0)
    said = alarming(np.array([0, 1, 1_000_000]) * S, np.zeros(3))
    assert said.threshold[-1] == pytest.approx(2.0 - 0.11)


def test_an_alarm_that_stands_is_told_again() -> None:
    """What stays is told once in the time one event is expected in, with a row between; negative control: once."""
    alarming = Alarming(Alarm(events=1, per_s=100, adapt=0.0, separation_s=1.0), threshold=2.0, step_s=10.0)
    said = alarming(np.arange(1000) * S, np.full(1000, 9.0))
    assert said.begins.sum() == 10
    assert (~said.alarm).sum() == 9
    never = Alarming(Alarm(events=1, per_s=10_000, adapt=0.0, separation_s=1.0), threshold=2.0, step_s=10.0)
    assert never(np.arange(1000) * S, np.full(1000, 9.0)).begins.sum() == 1


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_what_stays_costs_the_rate_nothing(shift: float) -> None:
    """Where scores rise for good, within `reach`, events go on at the configured rate, and rows in alarm end."""
    rng = np.random.default_rng(5003)
    made = calibrate(scores(12_000, rng, memory=0.0, heavy=False))
    time_ns = np.arange(50_000) * S
    normal = made.surprise(scores(12_000, rng, memory=0.0, heavy=False))
    alarming = fit_alarm(Alarm(events=15, per_s=50_000), [(time_ns[:12_000], normal)])
    said = alarming(time_ns, made.surprise(scores(50_000, rng, memory=0.0, heavy=False)) + shift)
    assert 7.5 <= said.begins.sum() <= 30
    assert said.alarm[25_000:].mean() < 0.1


def test_a_state_saved_before_alarms_were_told_again_goes_on() -> None:
    """An older state has neither a beginning nor a debt: its event goes on, and is told again a full time later."""
    alarming = Alarming(Alarm(events=1, per_s=100, adapt=0.0, separation_s=1.0), threshold=2.0, step_s=10.0)
    first = alarming(np.arange(50) * S, np.full(50, 9.0))
    older = {**first.state, "watch": first.state["watch"][:5]}
    said = alarming(np.arange(50, 200) * S, np.full(150, 9.0), older)
    assert np.flatnonzero(said.begins).tolist() == [101]


decades_of = st.lists(st.sampled_from([0.0, 1.2, 1.9, 2.0, 2.6, 5.0, float("nan")]), min_size=1, max_size=60)


@settings(max_examples=60)
@given(decades_of, st.lists(st.integers(0, 60), max_size=5), st.sampled_from([0.0, 0.3]))
def test_cuts_change_nothing(decades: list[float], cuts: list[int], adapt: float) -> None:
    """Where the rows are cut into batches changes no alarm and no threshold."""
    alarming = Alarming(msgspec.structs.replace(fixed.recipe, adapt=adapt, per_s=30.0), 2.0, 10.0)
    time_ns, surprise = 1_700_000_000 * S + np.arange(len(decades)) * S, np.array(decades)
    whole = alarming(time_ns, surprise)
    state: State | None = None
    parts = []
    for start, stop in pairwise([0, *sorted(min(c, len(decades)) for c in cuts), len(decades)]):
        parts.append(alarming(time_ns[start:stop], surprise[start:stop], state))
        state = parts[-1].state
    for field in ("alarm", "begins", "threshold"):
        np.testing.assert_array_equal(np.concatenate([getattr(p, field) for p in parts]), getattr(whole, field))


@settings(max_examples=100)
@given(decades_of, st.sampled_from([4.0, 12.0, 1000.0]))
def test_the_quick_count_counts_the_same(decades: list[float], per_s: float) -> None:
    """Counting at the ends of runs alone finds as many events as the rules row by row, also where one is told again."""
    alarming = Alarming(msgspec.structs.replace(fixed.recipe, per_s=per_s), 2.0, 10.0)
    surprise = np.array([d for d in decades if d == d])  # noqa: PLR0124 - leaves NaN out
    time_ns = np.arange(len(surprise)) * S
    assert _count(alarming, time_ns, surprise) == int(alarming(time_ns, surprise).begins.sum())


def test_a_package_gives_the_same_alarms() -> None:
    """Recipe and arrays make the alarm again."""
    again = Alarming.from_arrays(fixed.recipe, fixed.arrays())
    assert again.threshold == fixed.threshold
    assert again.step_s == fixed.step_s
    with pytest.raises(ConfigError, match="threshold"):
        Alarming.from_arrays(fixed.recipe, {})


@given(seed=st.integers(0, 10_000), cut=st.integers(0, 300), adapt=st.sampled_from([0.0, 0.5]))
def test_many_quiet_rows_at_once_are_as_many_one_by_one(seed: int, cut: int, adapt: float) -> None:
    """Alarms, beginnings, thresholds and what is remembered: the same bits, wherever rows are cut."""
    rng = np.random.default_rng(seed)
    time_ns = 10**18 + np.cumsum(rng.choice([10**9, 0, 50 * 10**9], 300, p=[0.9, 0.05, 0.05]))
    surprise = rng.exponential(0.5, 300)
    surprise[rng.random(300) < 0.05] = np.nan
    at = int(rng.integers(0, 300))
    surprise[at : at + int(rng.integers(1, 80))] += 3.0
    recipe = Alarm(events=1, per_s=float(rng.choice([50.0, 1e4])), minimum_s=2.0, separation_s=5.0, adapt=adapt)
    alarming = Alarming(recipe, float(rng.choice([1.0, 2.5])), 30.0)
    one_by_one, state = [], None
    for row in range(300):
        one_by_one.append(alarming(time_ns[row : row + 1], surprise[row : row + 1], state))
        state = one_by_one[-1].state
    first = alarming(time_ns[:cut], surprise[:cut])
    parts = [first, alarming(time_ns[cut:], surprise[cut:], first.state or None)]
    for name in ("alarm", "begins", "threshold"):
        wanted = np.concatenate([getattr(each, name) for each in one_by_one])
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), wanted)
    assert state is not None
    if cut < 300:
        np.testing.assert_array_equal(parts[1].state["watch"], state["watch"])
