from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline_model.steps import Steps

SECOND = 10**9


def series(seed: int, rows: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows at odd times, some far apart, with cells that are not valid."""
    rng = np.random.default_rng(seed)
    time_ns = np.cumsum(rng.choice([1, 2, 3, 50], rows, p=[0.4, 0.3, 0.25, 0.05])) * SECOND
    return time_ns, rng.normal(size=(rows, 2)) * 1e3, rng.random((rows, 2)) > 0.2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 50), st.lists(st.integers(0, 60), max_size=5), st.sampled_from([0, 5, 7]))
def test_steps_do_not_depend_on_where_batches_are_cut(seed: int, cuts: list[int], size_s: int) -> None:
    """Whatever the batches, the same steps, bit for bit, at the same rows."""
    time_ns, value, valid = series(seed)
    steps = Steps(size_s * SECOND, 4)
    whole = steps.push(time_ns, value, valid)
    state, found, rows = None, [], []
    for start, end in pairwise([0, *sorted(cuts), 60]):
        part = steps.push(time_ns[start:end], value[start:end], valid[start:end], state)
        state = part.state or None
        found.append(part)
        rows.append(part.row + start)
    assert np.array_equal(np.concatenate(rows), whole.row)
    for name in ("value", "valid", "end_ns"):
        assert np.array_equal(np.concatenate([getattr(part, name) for part in found]), getattr(whole, name))


def test_a_step_is_the_mean_of_what_was_measured_in_it() -> None:
    """Cells that are not valid have no say, and a step is given when a later one begins."""
    time_ns = np.array([0, 4, 9, 10, 21]) * SECOND
    value, valid = np.array([[1.0], [3.0], [99.0], [5.0], [7.0]]), np.array([[1], [1], [0], [1], [1]], bool)
    steps = Steps(10 * SECOND, 4).push(time_ns, value, valid)
    assert steps.value[:, 0].tolist() == [2.0, 5.0]
    assert steps.row.tolist() == [3, 4]
    assert (steps.end_ns // SECOND).tolist() == [10, 20]


def test_time_without_rows_is_steps_without_anything_valid() -> None:
    """Steps without a row come as such, so many at most, and end where they should."""
    steps = Steps(10 * SECOND, 2).push(np.array([5, 95]) * SECOND, np.ones((2, 1)), np.ones((2, 1), bool))
    assert steps.valid[:, 0].tolist() == [True, False, False]
    assert (steps.end_ns // SECOND).tolist() == [10, 80, 90]
    assert steps.row.tolist() == [1, 1, 1]
