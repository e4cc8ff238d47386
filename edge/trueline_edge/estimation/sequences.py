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

__all__ = [
    "AGES_MAX",
    "Leaps",
    "Repeats",
    "ages",
    "beside",
    "leaps",
    "leaps_fresh",
    "limits",
    "look_up",
    "paces",
    "pick",
    "repeats",
    "repeats_fresh",
    "repeats_in_order",
    "repeats_of",
    "there",
]


def pick(value: Array, grade: Verdict, worst: int, column: NDArray[np.bool_]) -> Array:
    """(n, k) the finite values with a grade below `worst`, in the columns (k,) that are meant; NaN for all others.

    Where there are no others, it is `value` itself.
    """
    out = np.empty(value.shape)
    return out if implementation().pick(value, grade, worst, column, out) else value


def there(value: Array, grade: Verdict, worst: int, column: NDArray[np.bool_]) -> Verdict:
    """(n, k) 1 where `pick` picks, else 0: a value that is there is good."""
    out = np.empty(value.shape, np.uint8)
    implementation().there(value, grade, worst, column, out)
    return out


def look_up(
    verdict: Verdict, grade: Verdict, bits: NDArray[np.uint32], table: Verdict, bits_of: NDArray[np.uint32]
) -> tuple[Verdict, NDArray[np.uint32]]:
    """New grades and bits (n, k) by verdicts: grades by `table` (verdicts, 256), to the bits those of the verdict."""
    new_grade, new_bits = np.empty(grade.shape, np.uint8), np.empty(bits.shape, np.uint32)
    try:
        implementation().look_up(verdict, grade, bits, table, bits_of, new_grade, new_bits)
    except ValueError:  # not side by side
        given = (np.ascontiguousarray(verdict), np.ascontiguousarray(grade), np.ascontiguousarray(bits))
        implementation().look_up(*given, table, bits_of, new_grade, new_bits)
    return new_grade, new_bits


def limits(value: Array, grade: Verdict, worst: int, outer: tuple[float, float], inner: tuple[float, float]) -> Verdict:
    """(n, k) bad outside `outer`, doubtful outside `inner`; the limits themselves are inside.

    What has the grade `worst` or one beyond is not judged.
    """
    verdict = np.empty(value.shape, np.uint8)
    implementation().limits(value, grade, worst, *outer, *inner, verdict)
    return verdict


class Repeats(NamedTuple):
    """The last values of each channel, (k, fail), NaN where there are fewer; and (k,) the place of the next."""

    values: Array
    at: Whole


def repeats_fresh(fail: int, channels: int) -> Repeats:
    """Before the first value."""
    return Repeats(np.full((channels, fail), np.nan), np.zeros(channels, np.int64))


def repeats_of(values: Array) -> Repeats:
    """The last values (fail, k), oldest first."""
    return Repeats(np.ascontiguousarray(values.T), np.zeros(values.shape[1], np.int64))


def repeats_in_order(past: Repeats) -> Array:
    """(fail, k) the last values, oldest first."""
    values, at = past
    return np.take_along_axis(values, (at[:, None] + np.arange(values.shape[1])) % values.shape[1], axis=1).T


def repeats(past: Repeats, value: Array, tolerance: Array, suspect: int) -> Verdict:
    """Is each value within `tolerance` of all the `suspect` (doubtful), of all the `fail` values (bad) before it?

    Args:
        past: from `repeats_fresh` or the call before. It may be large, and is gone on with in place.
        value: (n, k).
        tolerance: (k,).
        suspect: at most `fail`. A value with fewer before it cannot be judged.

    Returns:
        (n, k) verdicts.
    """
    verdict = np.empty(value.shape, np.uint8)
    implementation().repeats(*past, value, tolerance, suspect, verdict)
    return verdict


def paces(last_ns: int, time_ns: Whole) -> tuple[Whole, int, int]:
    """(n,) nanoseconds since the row before, the first since `last_ns`; the least and most of them; n > 0."""
    since = np.empty(len(time_ns), np.int64)
    least, most = implementation().paces(last_ns, time_ns, since)
    return since, least, most


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
    return verdict, now


def beside(
    columns: tuple[Array, NDArray[np.float32], Verdict, NDArray[np.uint32]],
    more: Array,
    variance: Array,
    good: int,
    width: int,
) -> tuple[Array, NDArray[np.float32], Verdict, NDArray[np.uint32], int]:
    """Columns (n, k) of value, uncertainty, grade and bits, with more (n, m) behind them, in one pass.

    Args:
        columns: value, uncertainty, grade, bits.
        more: values that stand behind them; of grade `good`, without bits.
        variance: (n, m) of these: its root is their uncertainty, NaN where it is infinite.
        good: a grade.
        width: columns of the outcome, k + m or more; what is behind is left to be filled in.

    Returns:
        value, uncertainty, grade, bits (n, width); how many of `more` are NaN.
    """
    n = len(more)
    value, u = np.empty((n, width)), np.empty((n, width), np.float32)
    grade, bits = np.empty((n, width), np.uint8), np.zeros((n, width), np.uint32)
    missing = implementation().beside(*columns, more, variance, good, value, u, grade, bits)
    return value, u, grade, bits, missing


def ages(
    past: Whole, weight: Array, dt_ns: Whole, rows_max: int, ns_max: int | None
) -> tuple[Whole, NDArray[np.bool_] | None]:
    """How long has no input counted, and is it too long?

    Args:
        past: (2, k) rows, and ns, since one did; `AGES_MAX` is never.
        weight: (n, k, m) above zero where an input counts.
        dt_ns: (n,) since the row before.
        rows_max: so many rows without are not too many, where `ns_max` is None.
        ns_max: so long without is not too long.

    Returns:
        (2, k) the ages at the last row; (n, k) bool where it is too long, None: nowhere.
    """
    age, stale = past.copy(), np.empty(weight.shape[:2], np.uint8)
    some = implementation().ages(weight, dt_ns, rows_max, -1 if ns_max is None else ns_max, AGES_MAX, age, stale)
    return age, stale.view(np.bool_) if some else None


AGES_MAX = 1 << 62
"""Rows, or ns, that are never reached."""
