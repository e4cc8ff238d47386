"""Verdicts on one value after the other: the extension and its textbook say the same, wherever rows are cut."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_edge.estimation import kernels, sequences, textbook

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


def judge(implementation: Any, value: Array, clock_ns: NDArray[np.int64], cut: int) -> list[Any]:
    """All verdicts and what is remembered, in two parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "_hot", implementation)
        within = sequences.limits(value, (-30.0, 5.0), (-inf, 1.0))
        value = np.where(np.isinf(value), np.nan, value)  # which is out of all limits, and compared with nothing
        past, leaps = np.full((4, 2), np.nan), sequences.leaps_fresh(2)
        said, before_ns = [], 0
        for part, clock in ((value[:cut], clock_ns[:cut]), (value[cut:], clock_ns[cut:])):
            flat, past = sequences.repeats(past, part, np.array([0.0, 0.6]), 2)
            fast, leaps = sequences.leaps(leaps, part, clock - before_ns, np.array([0.0, 0.5]), 0.4, 3.0, 3)
            before_ns = int(clock[-1]) if len(clock) else before_ns
            said.append(np.concatenate([flat, fast], axis=1))
    return [within, np.concatenate(said), past, *leaps]


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


def test_three_examples_a_reader_can_check() -> None:
    """Outside is bad, implausible doubtful; the third of the same is doubtful, the fifth bad; a leap is bad."""
    column = np.array([[1.0], [6.0], [3.0], [np.nan]])
    assert sequences.limits(column, (0.0, 5.0), (0.0, 2.0))[:, 0].tolist() == [1, 3, 2, 0]
    same, _ = sequences.repeats(np.full((4, 1), np.nan), np.full((6, 1), 7.0), np.zeros(1), 2)
    assert same[:, 0].tolist() == [0, 0, 2, 2, 3, 3]
    clock_ns = np.arange(6, dtype=np.int64) * 10**9
    steady = np.array([[1.0], [1.0], [50.0], [1.0], [1.0], [3.0]])
    fast, _ = sequences.leaps(sequences.leaps_fresh(1), steady, clock_ns, np.zeros(1), 1.0, 9.0, 3)
    assert fast[:, 0].tolist() == [0, 1, 3, 1, 1, 2]
