from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_kit import calibrated, pca_package, rows

from trueline_model.detectors import Deviation
from trueline_model.judge import Judge, Judged, judge_of
from trueline_wire.errors import ConfigError, NeverRetry

if TYPE_CHECKING:
    from trueline_model.detector import State

PCA = calibrated(pca_package())
N = 80
VALUE = rows(N, 4)
VALID = np.random.default_rng(1).random(VALUE.shape) > 0.1


def judge() -> Judge:
    """With a mean over rows, so that there is a state to lose."""
    made = judge_of(PCA)
    scale = PCA.arrays
    detector = Deviation(mean_rows=4).detector({"centre": scale["centre"], "scale": scale["scale"]})
    return dataclasses.replace(made, detector=detector, gap_s=5.0)


def in_parts(times: np.ndarray, cuts: list[int]) -> Judged:
    state: State | None = None
    said: list[Judged] = []
    for start, end in pairwise([0, *sorted(cuts), N]):
        said.append(judge()(times[start:end], VALUE[start:end], VALID[start:end], state))
        state = said[-1].state
    return Judged(
        *(np.concatenate([getattr(part, name) for part in said]) for name in Judged._fields[:-1]), said[-1].state
    )


steps_s = st.lists(st.sampled_from([1, 1, 1, 1, 0, -3, 20]), min_size=N, max_size=N)


@given(steps=steps_s, cuts=st.lists(st.integers(0, N), max_size=4))
def test_where_rows_are_cut_changes_nothing(steps: list[int], cuts: list[int]) -> None:
    """Scores, p-values, alarms and contributions are the same bits, through gaps and clocks that step."""
    times = 10**18 + np.cumsum(steps) * 10**9
    whole, parts = in_parts(times, []), in_parts(times, cuts)
    for name in Judged._fields[:-1]:
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


@given(steps=steps_s)
def test_rows_that_do_not_go_forward_are_not_looked_at_and_a_gap_starts_anew(steps: list[int]) -> None:
    """Of each stretch the first rows warm up; a row without a step forward says nothing."""
    times = 10**18 + np.cumsum(steps) * 10**9
    said = in_parts(times, [])
    warming = 0
    for row, step in enumerate(steps):
        if row and step <= 0:
            assert np.isnan(said.score[row])
            continue
        warming = 3 if row == 0 or step > 5 else max(0, warming - 1)
        if warming:
            assert np.isnan(said.score[row])
    assert np.array_equal(np.isnan(said.p), np.isnan(said.score))
    assert np.array_equal(np.isnan(said.alarm), np.isnan(said.score))


def test_an_empty_batch_says_nothing_and_forgets_nothing() -> None:
    """Before the first row, and between rows."""
    nothing = judge()(np.empty(0, np.int64), np.empty((0, 2)), np.empty((0, 2), bool))
    times = np.arange(N) * 10**9
    first = judge()(times, VALUE, VALID, nothing.state)
    np.testing.assert_array_equal(first.score, in_parts(times, []).score)
    again = judge()(times[:0], VALUE[:0], VALID[:0], first.state)
    assert again.state.keys() == first.state.keys()


def test_a_rate_the_package_cannot_support_is_refused_and_another_shifts_the_threshold() -> None:
    """A decade of surprise is a tenth of the rows."""
    fitted = judge_of(PCA).alarming
    rarer = judge_of(PCA, rate_hz=1.0 / 2000.0).alarming
    assert fitted is not None
    assert rarer is not None
    shift = np.log10(fitted.recipe.rate_hz * 2000.0)
    assert rarer.threshold == pytest.approx(fitted.threshold + shift)
    with pytest.raises(ConfigError, match="cannot be promised"):
        judge_of(PCA, rate_hz=1.0 / 604_800.0)


def test_what_does_not_fit_together_is_refused() -> None:
    """An alarm wants a calibration, and settings that an alarm has."""
    with pytest.raises(NeverRetry, match="without the calibration"):
        judge_of(dataclasses.replace(PCA, calibration={}))
    strange = msgspec.structs.replace(PCA.manifest, alarm={"colour": 1})
    with pytest.raises(NeverRetry, match="colour"):
        judge_of(dataclasses.replace(PCA, manifest=strange))
    with pytest.raises(NeverRetry, match="level"):
        judge_of(dataclasses.replace(PCA, calibration={"above": np.zeros(3)}))
