"""Verdicts on one value after the other: the extension and its textbook say the same, wherever rows are cut."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_edge.estimation import credit, kernels, sequences, textbook

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

try:
    from trueline_edge.estimation import hot
except ImportError:  # no compiler was at hand
    hot = None  # type: ignore[assignment]

GRID = st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.5, 9.0, -40.0, np.nan, np.inf])


@st.composite
def columns(draw: st.DrawFn) -> tuple[Array, NDArray[np.int64]]:
    """Values on a coarse grid, with repeats and leaps, and a clock."""
    rows = draw(st.lists(st.tuples(GRID, GRID, st.integers(0, 3)), max_size=40))
    table = np.array(rows, float).reshape(-1, 3)
    return np.ascontiguousarray(table[:, :2]), np.cumsum(table[:, 2]).astype(np.int64) * 10**9


def _graded(value: Array) -> NDArray[np.uint8]:
    """Grades from 1 to 4, each many times."""
    return np.resize(np.array([1, 2, 1, 3, 1, 2, 4], np.uint8), value.shape)


def judge(implementation: Any, value: Array, clock_ns: NDArray[np.int64], cut: int) -> list[Any]:
    """All verdicts and what is remembered, in two parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "_hot", implementation)
        within = sequences.limits(value, _graded(value), 4, (-30.0, 5.0), (-inf, 1.0))
        value = np.where(np.isinf(value), np.nan, value)  # which is out of all limits, and compared with nothing
        past, leaps = sequences.repeats_fresh(4, 2), sequences.leaps_fresh(2)
        said, before_ns = [], 0
        for part, clock in ((value[:cut], clock_ns[:cut]), (value[cut:], clock_ns[cut:])):
            flat = sequences.repeats(past, part, np.array([0.0, 0.6]), 2)
            fast, leaps = sequences.leaps(leaps, part, clock - before_ns, np.array([0.0, 0.5]), 0.4, 3.0, 3)
            before_ns = int(clock[-1]) if len(clock) else before_ns
            said.append(np.concatenate([flat, fast], axis=1))
    return [within, np.concatenate(said), *past, *leaps]


@pytest.mark.skipif(hot is None, reason="the extension was not built")
@settings(max_examples=200, deadline=None)
@given(columns(), st.integers(0, 40))
def test_the_extension_agrees_with_the_textbook_wherever_rows_are_cut(
    recording: tuple[Array, NDArray[np.int64]], cut: int
) -> None:
    """The same verdicts, and the same memory, bit for bit."""
    value, clock_ns = recording
    whole = judge(textbook, value, clock_ns, 0)
    for implementation in (hot, textbook):
        for a, b in zip(judge(implementation, value, clock_ns, min(cut, len(value))), whole, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(hot is None, reason="the extension was not built")
@settings(max_examples=100, deadline=None)
@given(st.integers(0, 60), st.integers(0, 999))
def test_cells_are_picked_looked_up_and_credited_alike(n: int, seed: int) -> None:
    """One pass of the extension says what the textbook says, NaN, infinities and all."""
    rng = np.random.default_rng(seed)
    holes = np.array([np.nan, np.inf, 0.0])

    def some(*shape: int) -> Array:
        return np.where(rng.random(shape) < 0.2, rng.choice(holes, shape), rng.normal(0.0, 3.0, shape))

    value, stated, r = some(n, 3), some(n, 3) ** 2, some(3) ** 2
    grade = rng.choice(np.array([1, 2, 3, 4, 9], np.uint8), (n, 3))
    verdict, bits = rng.integers(0, 4, (n, 3)).astype(np.uint8), rng.integers(0, 99, (n, 3)).astype(np.uint32)
    table, bits_of = rng.integers(0, 9, (4, 256)).astype(np.uint8), np.array([0, 0, 8, 16], np.uint32)
    filtered = (some(n, 3), some(n, 3) ** 2, some(n, 3), some(n, 3) ** 2)
    declared, dt_s = np.array([np.nan, 0.5, np.nan]), some(n)
    answers = []
    for implementation in (hot, textbook):
        with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
            patch.setattr(kernels, "_hot", implementation)
            picked = sequences.pick(value, grade, 4, np.array([True, True, False]))
            looked_up = sequences.look_up(verdict, grade, bits, table, bits_of)
            said = credit.credit(value, stated, r, 9.0, dt_s, filtered, 1.0, declared, np.full(3, 0.1), np.ones(3))
        answers.append([picked, *looked_up, *said])
    for a, b in zip(*answers, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(hot is None, reason="the extension was not built")
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(0, 200), st.integers(0, 999))
def test_channels_side_by_side_are_judged_as_each_by_itself(n: int, cut: int, seed: int) -> None:
    """Eleven channels, with spikes, steps, gaps and repeats, cut anywhere: bit for bit the textbook's verdicts."""
    rng = np.random.default_rng(seed)
    value = np.round(np.cumsum(rng.normal(0.0, 0.1, (n, 11)), axis=0) + rng.normal(0.0, 0.3, (n, 11)), 2)
    value += np.where(rng.random(value.shape) < 0.02, 20.0, 0.0) + np.where(np.arange(n) > n // 2, 5.0, 0.0)[:, None]
    value[rng.random(value.shape) < 0.02] = np.nan
    clock_ns = np.cumsum(rng.integers(1, 3, n)).astype(np.int64) * 10**9
    same = np.full(11, 0.05)
    answers: list[list[Any]] = []
    for implementation, at in ((hot, min(cut, n)), (hot, n), (textbook, n)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernels, "_hot", implementation)
            past, leaps, said = sequences.repeats_fresh(6, 11), sequences.leaps_fresh(11), []
            windows, before_ns = kernels.hampel_fresh(11, 7, 3), 0
            for part, clock in ((value[:at], clock_ns[:at]), (value[at:], clock_ns[at:])):
                flat = sequences.repeats(past, part, same, 3)
                fast, leaps = sequences.leaps(leaps, part, clock - before_ns, same, 2.0, 4.0, 3)
                spike = kernels.hampel(windows, part, 7, 4.0, same, far=8.0, judges=5)
                windows, before_ns = spike.state, int(clock[-1]) if len(clock) else before_ns
                said.append(np.concatenate([flat, fast, spike.verdict, spike.median, spike.mad], axis=1))
        within = sequences.limits(value, _graded(value), 4, (-4.0, 15.0), (-2.0, 8.0))
        answers.append([np.concatenate(said), within, sequences.repeats_in_order(past), *leaps, windows])
    for answer in answers[:2]:
        for a, b in zip(answer, answers[2], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(hot is None, reason="the extension was not built")
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 999))
def test_rows_are_paced_aged_and_put_together_alike(n: int, seed: int) -> None:
    """One pass of the extension says what the textbook says, NaN, infinities and all; also of columns of a table."""
    rng = np.random.default_rng(seed)
    holes = np.array([np.nan, np.inf, 0.0, -9.0])

    def some(*shape: int) -> Array:
        return np.where(rng.random(shape) < 0.2, rng.choice(holes, shape), rng.normal(0.0, 3.0, shape))

    table = some(n, 9)
    value, u = table[:, 2:7], np.abs(some(n, 5)).astype(np.float32)
    grade, bits = rng.integers(1, 5, (n, 5)).astype(np.uint8), rng.integers(0, 99, (n, 5)).astype(np.uint32)
    time_ns, age = np.cumsum(rng.integers(-2, 9, n)).astype(np.int64), rng.integers(0, 4, (2, 2)).astype(np.int64)
    weight, variance = rng.choice(np.array([0.0, 0.0, 0.5, np.nan]), (n, 2, 3)), some(n, 2) ** 2
    more = some(n, 2)
    answers: list[list[Any]] = []
    for implementation in (hot, textbook):
        with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
            patch.setattr(kernels, "_hot", implementation)
            since, *extremes = sequences.paces(3, time_ns)
            answers.append(
                [
                    since,
                    *extremes,
                    *sequences.ages(age, weight, since, 2, None),
                    *sequences.ages(age, weight, since, 2, 7),
                ]
            )
            answers[-1] += sequences.beside((value, u, grade, bits), more, variance, 1, 7)
            answers[-1] += [sequences.there(value, grade, 4, np.array([True] * 4 + [False]))]
            answers[-1] += [sequences.there(table, np.tile(grade[:, :3], 3), 4, np.ones(9, np.bool_))]
    for a, b in zip(*answers, strict=True):
        np.testing.assert_array_equal(a, b)


def test_three_examples_a_reader_can_check() -> None:
    """Outside is bad, implausible doubtful; the third of the same is doubtful, the fifth bad; a leap is bad."""
    column = np.array([[1.0], [6.0], [3.0], [np.nan]])
    assert sequences.limits(column, np.ones((4, 1), np.uint8), 4, (0.0, 5.0), (0.0, 2.0))[:, 0].tolist() == [1, 3, 2, 0]
    same = sequences.repeats(sequences.repeats_fresh(4, 1), np.full((6, 1), 7.0), np.zeros(1), 2)
    assert same[:, 0].tolist() == [0, 0, 2, 2, 3, 3]
    clock_ns = np.arange(6, dtype=np.int64) * 10**9
    steady = np.array([[1.0], [1.0], [50.0], [1.0], [1.0], [3.0]])
    fast, _ = sequences.leaps(sequences.leaps_fresh(1), steady, clock_ns, np.zeros(1), 1.0, 9.0, 3)
    assert fast[:, 0].tolist() == [0, 1, 3, 1, 1, 2]
