from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trueline_sim.randomness import stream


@given(seed=st.integers(-(2**70), 2**70), cut=st.integers(0, 20))
def test_a_stream_is_the_same_wherever_it_is_cut(seed: int, cut: int) -> None:
    """The same seed and purpose give the same numbers, drawn at once or in two pieces."""
    whole = stream(seed, "room", "noise").standard_normal((20, 3))
    again = stream(seed, "room", "noise")
    pieces = np.concatenate([again.standard_normal((cut, 3)), again.standard_normal((20 - cut, 3))])
    np.testing.assert_array_equal(whole, pieces)


def test_another_seed_or_purpose_gives_unrelated_numbers() -> None:
    """Streams of 1000 numbers that differ in seed or purpose, if only in where a word ends, do not correlate."""
    named = [(1, ("ab", "c")), (1, ("a", "bc")), (1, ("abc",)), (2, ("ab", "c")), (1, ("ab", "c", ""))]
    drawn = np.array([stream(seed, *purpose).standard_normal(1000) for seed, purpose in named])
    correlation = np.corrcoef(drawn) - np.eye(len(named))
    assert np.abs(correlation).max() < 0.15


def test_a_stream_is_what_it_was_when_it_was_written() -> None:
    """The numbers of a seed never change: recordings are named by their seed."""
    assert stream(7, "room", "noise").integers(0, 2**32, 4).tolist() == FROZEN


FROZEN = [3001162232, 128374669, 87513653, 3217057465]
