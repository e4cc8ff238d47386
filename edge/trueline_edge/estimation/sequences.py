"""Verdicts on one value after the other: 0 cannot be judged, 1 good, 2 doubtful, 3 bad. NaN is not there.

Promises: as those of `kernels`. Refuses to know what is done about a verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_edge.estimation.kernels import implementation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Whole = NDArray[np.int64]
    Verdict = NDArray[np.uint8]

__all__ = ["Leaps", "leaps", "leaps_fresh", "limits", "look_up", "pick", "repeats"]


def pick(value: Array, grade: Verdict, worst: int, column: NDArray[np.bool_]) -> Array:
    """(n, k) the finite values with a grade below `worst`, in the columns (k,) that are meant; NaN for all others.

    Where there are no others, it is `value` itself.
    """
    out = np.empty(value.shape)
    return out if implementation().pick(value, grade, worst, column, out) else value


def look_up(
    verdict: Verdict, grade: Verdict, bits: NDArray[np.uint32], table: Verdict, bits_of: NDArray[np.uint32]
) -> tuple[Verdict, NDArray[np.uint32]]:
    """New grades and bits (n, k) by verdicts: grades by `table` (verdicts, 256), to the bits those of the verdict."""
    new_grade, new_bits = np.empty(grade.shape, np.uint8), np.empty(bits.shape, np.uint32)
    implementation().look_up(verdict, grade, bits, table, bits_of, new_grade, new_bits)
    return new_grade, new_bits


def limits(value: Array, outer: tuple[float, float], inner: tuple[float, float]) -> Verdict:
    """(n, k) bad outside `outer`, doubtful outside `inner`; the limits themselves are inside."""
    verdict = np.empty(value.shape, np.uint8)
    implementation().limits(value, *outer, *inner, verdict)
    return verdict


def repeats(past: Array, value: Array, tolerance: Array, suspect: int) -> tuple[Verdict, Array]:
    """Is each value within `tolerance` of all the `suspect` (doubtful), of all the `fail` values (bad) before it?

    Args:
        past: (fail, k) the last values of each channel, oldest first; NaN where there are fewer.
        value: (n, k).
        tolerance: (k,).
        suspect: at most `fail`. A value with fewer before it cannot be judged.

    Returns:
        (n, k) verdicts; the past of the next rows.
    """
    verdict, past = np.empty(value.shape, np.uint8), past.copy()
    implementation().repeats(past, value, tolerance, suspect, verdict)
    return verdict, past


class Leaps(NamedTuple):
    """What is remembered of each channel, (k,) each.

    Attributes:
        believed: the last value believed; NaN where there is none.
        age_ns: how long ago it was at the last row.
        waiting: the value that waits to be believed; NaN where there is none.
        waiting_age_ns: how long ago that was.
        agreeing: how many values in a row agree with it.
    """

    believed: Array
    age_ns: Whole
    waiting: Array
    waiting_age_ns: Whole
    agreeing: Whole


def leaps_fresh(channels: int) -> Leaps:
    """Before the first value."""
    none, zero = np.full(channels, np.nan), np.zeros(channels, np.int64)
    return Leaps(none, zero, none, zero, zero)


def leaps(
    past: Leaps,
    value: Array,
    clock_ns: Whole,
    step: Array,
    suspect_per_s: float,
    fail_per_s: float,
    step_samples: int,
) -> tuple[Verdict, Leaps]:
    """Does each value change faster than may be from the last that was believed?

    Nothing is believed of the first value until the next agrees with it: the first may be the outlier.

    Args:
        past: from `leaps_fresh` or the call before.
        value: (n, k).
        clock_ns: (n,) time since the last row before, never stepping back.
        step: (k,) a change by so much is never too fast.
        suspect_per_s: faster is doubtful; inf: nothing is.
        fail_per_s: faster is bad, and not believed.
        step_samples: where so many in a row are bad, yet follow one another, the last is believed.
    """
    verdict = np.empty(value.shape, np.uint8)
    now = Leaps(*[array.copy() for array in past])  # type: ignore[arg-type]  # each is of its own type
    implementation().leaps(value, clock_ns, step, suspect_per_s, fail_per_s, step_samples, *now, verdict)
    if len(clock_ns):
        now.age_ns[:] += clock_ns[-1]
        now.waiting_age_ns[:] += clock_ns[-1]
    return verdict, now
