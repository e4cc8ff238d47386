"""One value after the other: is it within limits, does it repeat those before it, does it leap?"""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Whole = NDArray[np.int64]

__all__ = ["ages", "beside", "leaps", "limits", "look_up", "paces", "pick", "repeats", "there"]

_PASS, _SUSPECT, _FAIL = 1, 2, 3
_CONFIRMED = 2
"""So many that agree are believed at the start."""


def pick(value: Array, grade: NDArray[np.uint8], worst: int, column: NDArray[np.bool_], out: Array) -> int:
    """Finite values with a grade below `worst` in the columns that are meant, NaN for others; how many others."""
    picked = np.isfinite(value) & (grade < worst) & column
    out[...] = np.where(picked, value, np.nan)
    return picked.size - int(np.count_nonzero(picked))


def there(
    value: Array, grade: NDArray[np.uint8], worst: int, column: NDArray[np.bool_], out: NDArray[np.uint8]
) -> None:
    """1 where `pick` picks, else 0."""
    out[...] = np.isfinite(value) & (grade < worst) & column


def look_up(
    verdict: NDArray[np.uint8],
    grade: NDArray[np.uint8],
    bits: NDArray[np.uint32],
    table: NDArray[np.uint8],
    bits_of: NDArray[np.uint32],
    new_grade: NDArray[np.uint8],
    new_bits: NDArray[np.uint32],
) -> None:
    """The grade in `table` (verdicts, 256) for verdict and grade; the bits, and those of the verdict."""
    new_grade[...] = table[verdict, grade]
    new_bits[...] = bits | bits_of[verdict]


def limits(
    value: Array,
    grade: NDArray[np.uint8],
    worst: int,
    low: float,
    high: float,
    inner_low: float,
    inner_high: float,
    verdict: NDArray[np.uint8],
) -> None:
    """NaN is not judged, nor what has the grade `worst` or one beyond."""
    inside = np.where((value < inner_low) | (value > inner_high), _SUSPECT, np.where(np.isnan(value), 0, _PASS))
    verdict[...] = np.where(grade < worst, np.where((value < low) | (value > high), _FAIL, inside), 0)


def repeats(past: Array, at: Whole, value: Array, tolerance: Array, suspect: int, verdict: NDArray[np.uint8]) -> None:
    """`past` (k, fail): the last values measured, NaN where there are fewer; `at` (k,): the place of the next."""
    fail = past.shape[1]
    for k in range(value.shape[1]):
        for i, z in enumerate(value[:, k].tolist()):
            verdict[i, k] = 0
            if isnan(z):
                continue
            latest_first = past[k, (at[k] - 1 - np.arange(fail)) % fail].tolist()
            near = [abs(z - before) <= tolerance[k] for before in latest_first]
            if not isnan(latest_first[suspect - 1]):
                verdict[i, k] = _FAIL if all(near) else _SUSPECT if all(near[:suspect]) else _PASS
            past[k, at[k]] = z
            at[k] = (at[k] + 1) % fail


def leaps(
    value: Array,
    clock_ns: Whole,
    step: Array,
    suspect_per_s: float,
    fail_per_s: float,
    step_samples: int,
    believed: Array,
    age_ns: Whole,
    waiting: Array,
    waiting_age_ns: Whole,
    agreeing: Whole,
    verdict: NDArray[np.uint8],
) -> None:
    """Past, (k,) each: the value believed, the one that waits to be (NaN: none), their ages, how many agree."""
    for k in range(value.shape[1]):
        for i, x in enumerate(value[:, k].tolist()):
            verdict[i, k] = 0
            if isnan(x):
                continue
            known, now_ns = not isnan(believed[k]), int(clock_ns[i])
            change, elapsed_s = abs(x - float(believed[k])) - step[k], (now_ns + int(age_ns[k])) * 1e-9
            if not known or change > fail_per_s * elapsed_s:
                change, elapsed_s = abs(x - float(waiting[k])) - step[k], (now_ns + int(waiting_age_ns[k])) * 1e-9
                agreeing[k] = agreeing[k] + 1 if agreeing[k] > 0 and change <= fail_per_s * elapsed_s else 1
                waiting[k], waiting_age_ns[k] = x, -now_ns
                if agreeing[k] < (step_samples if known else _CONFIRMED):
                    verdict[i, k] = _FAIL if known else 0
                    continue
            believed[k], age_ns[k], agreeing[k] = x, -now_ns, 0
            verdict[i, k] = _SUSPECT if change > suspect_per_s * elapsed_s else _PASS
    if len(clock_ns):
        age_ns += clock_ns[-1]
        waiting_age_ns += clock_ns[-1]


def paces(last: int, time_ns: Whole, since: Whole) -> tuple[int, int]:
    """Steps of a clock from row to row, the first from `last`; the least and the most of them."""
    since[...] = np.diff(time_ns, prepend=last)
    return int(since.min()), int(since.max())


def beside(
    value: Array,
    u: NDArray[np.float32],
    grade: NDArray[np.uint8],
    bits: NDArray[np.uint32],
    more: Array,
    variance: Array,
    good: int,
    all_value: Array,
    all_u: NDArray[np.float32],
    all_grade: NDArray[np.uint8],
    all_bits: NDArray[np.uint32],
) -> int:
    """Columns, and behind them `more`, with the root of their variance (NaN where infinite); how many are NaN."""
    with np.errstate(invalid="ignore"):
        root = np.where(variance < np.inf, np.sqrt(variance), np.nan).astype(np.float32)
    for left, right, out in ((value, more, all_value), (u, root, all_u), (grade, good, all_grade), (bits, 0, all_bits)):
        first = value.shape[1]
        out[:, :first], out[:, first : first + more.shape[1]] = left, right
    return int(np.count_nonzero(np.isnan(more)))


def ages(
    weight: Array, dt_ns: Whole, rows_max: int, ns_max: int, never: int, age: Whole, stale: NDArray[np.uint8]
) -> int:
    """`age` (2, k): rows, and ns, since an input last counted; `stale` (n, k): too many of them; how many are."""
    fresh = np.any(weight > 0.0, axis=2).tolist()
    for i, dt in enumerate(dt_ns.tolist()):
        for k in range(weight.shape[1]):
            rows, ns = (0, 0) if fresh[i][k] else (int(age[0, k]) + 1, int(age[1, k]) + max(0, dt))
            age[:, k] = min(rows, never), min(ns, never)
            stale[i, k] = not fresh[i][k] and (age[1, k] > ns_max if ns_max >= 0 else age[0, k] > rows_max)
    return int(np.count_nonzero(stale))
