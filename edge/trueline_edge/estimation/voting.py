"""Several values of one quantity: which agree, what is their mean, and whom to believe while they do not.

Row by row, whatever the rows around: the health of a voter over time is `hysteresis`. Arrays are (n, m): n rows, m
values of one quantity; NaN is a value that is not there.
"""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Consensus", "agreeing", "chi_square_limit", "consistent_mean", "hysteresis", "present_median"]


class Consensus(NamedTuple):
    """What the values of a row say together.

    Attributes:
        mean: (n,) NaN where no value is there.
        var: (n,) its variance; where the values dispute without a majority, with the variance between them.
        weight: (n, m) share of each value; a row adds up to one, or to zero where nothing is there.
        disputed: (n,) bool: the values contradict their variances, and no majority agrees.
    """

    mean: NDArray[np.float64]
    var: NDArray[np.float64]
    weight: NDArray[np.float64]
    disputed: NDArray[np.bool_]


@cache
def chi_square_limit(dof: int, probability: float) -> float:
    """The chi-square value exceeded with `1 - probability`; by bisection of the closed form for whole dof.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.4.4 and 26.4.5.
    """
    low, high = 0.0, 1.0
    while _chi_square_tail(high, dof) > 1.0 - probability:
        high *= 2.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _chi_square_tail(middle, dof) > 1.0 - probability else (low, middle)
    return high


def _chi_square_tail(x: float, dof: int) -> float:
    if dof % 2:
        tail, term = math.erfc(math.sqrt(x / 2)), math.sqrt(2 * x / math.pi) * math.exp(-x / 2)
        first = 3
    else:
        tail, term = math.exp(-x / 2), x / 2 * math.exp(-x / 2)
        first = 4
    for upper in range(first, dof + 1, 2):
        tail += term
        term *= x / upper
    return tail


def consistent_mean(
    value: NDArray[np.float64], var: NDArray[np.float64], probability: float = 0.999, *, equal: bool = False
) -> Consensus:
    """Inverse-variance mean of the largest consistent subset of each row.

    All values count where the chi-square test finds them consistent with their variances; else the largest subset that
    is, if it is a majority of those there (of several, the one of least chi-square). Where there is no majority, all
    count, and the variance between them is added to each (moment estimate): for two values that contradict each other
    the mean is near their middle, with a standard uncertainty of half their distance.

    Args:
        value: (n, m); NaN is not there.
        var: (n, m) variance of each; infinite or NaN takes a value out.
        probability: of the test: so many rows of consistent values pass it.
        equal: equal weights, with the variance of the mean that comes of it.

    Source: Cox, Metrologia 39 (2002) 589, procedure A; Cox, Metrologia 44 (2007) 187; DerSimonian and Laird (1986).
    """
    there = np.isfinite(value) & np.isfinite(var)
    count = there.sum(axis=1)
    inverse = np.where(there, 1.0 / np.where(there, np.maximum(var, np.finfo(float).tiny), 1.0), 0.0)
    clean = np.where(there, value, 0.0)
    counted = there.copy()
    chosen = inverse
    extra = np.zeros(len(value))
    disputed = np.zeros(len(value), np.bool_)
    limits = np.array([math.inf, math.inf, *(chi_square_limit(d, probability) for d in range(1, value.shape[1]))])
    torn = np.flatnonzero(_chi_square(clean, inverse) > limits[count])
    if len(torn):
        counted[torn] = _largest_subset(clean[torn], inverse[torn], there[torn], limits)
        disputed[torn] = 2 * counted[torn].sum(axis=1) <= count[torn]
        counted[disputed] = there[disputed]
        extra[disputed] = _between(clean[disputed], inverse[disputed], count[disputed])
        total = np.where(there, np.where(inverse > 0.0, 1.0 / np.where(there, inverse, 1.0), 0.0) + extra[:, None], 1.0)
        chosen = np.where(counted, 1.0 / total, 0.0)
    return _mean(clean, chosen, counted, equal=equal, disputed=disputed)


def _mean(
    clean: NDArray[np.float64],
    inverse: NDArray[np.float64],
    counted: NDArray[np.bool_],
    *,
    equal: bool,
    disputed: NDArray[np.bool_],
) -> Consensus:
    shares = counted.astype(float) if equal else inverse
    total = shares.sum(axis=1)
    some = total > 0.0
    weight = shares / np.where(some, total, 1.0)[:, None]
    var = np.where(counted, 1.0 / np.where(counted, inverse, 1.0), 0.0)
    return Consensus(
        mean=np.where(some, (weight * clean).sum(axis=1), np.nan),
        var=np.where(some, (weight**2 * var).sum(axis=1), np.inf),
        weight=weight,
        disputed=disputed,
    )


def _chi_square(clean: NDArray[np.float64], inverse: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) the sum of squared distances from the weighted mean, each over its variance."""
    total = inverse.sum(axis=1)
    mean = (inverse * clean).sum(axis=1) / np.where(total > 0.0, total, 1.0)
    result: NDArray[np.float64] = (inverse * (clean - mean[:, None]) ** 2).sum(axis=1)
    return result


def _largest_subset(
    clean: NDArray[np.float64], inverse: NDArray[np.float64], there: NDArray[np.bool_], limits: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(n, m) bool: the largest consistent subset of each row; of several as large, that of the least chi-square."""
    n, m = clean.shape
    best = np.zeros((n, m), np.bool_)
    best_size, best_chi = np.zeros(n, np.intp), np.full(n, np.inf)
    for members in itertools.product((False, True), repeat=m):
        subset = there & np.array(members)
        size = subset.sum(axis=1)
        chi = _chi_square(clean, np.where(subset, inverse, 0.0))
        better = (chi <= limits[size]) & ((size > best_size) | ((size == best_size) & (chi < best_chi)))
        best[better] = subset[better]
        best_size[better], best_chi[better] = size[better], chi[better]
    return best


def _between(clean: NDArray[np.float64], inverse: NDArray[np.float64], count: NDArray[np.intp]) -> NDArray[np.float64]:
    """(n,) variance between values that their own variances do not explain (DerSimonian and Laird 1986, eq. 8)."""
    total = inverse.sum(axis=1)
    spread = total - (inverse**2).sum(axis=1) / np.where(total > 0.0, total, 1.0)
    excess = _chi_square(clean, inverse) - (count - 1)
    return np.maximum(0.0, excess) / np.where(spread > 0.0, spread, np.inf)


def present_median(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., ) the median of the values that are there, along the last axis; NaN where none is."""
    ranked = np.sort(value, axis=-1)  # NaN goes to the end
    count = np.isfinite(value).sum(axis=-1)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    high = np.minimum(high, value.shape[-1] - 1)
    middle = np.take_along_axis(ranked, np.stack([low, high], axis=-1), axis=-1)
    median: NDArray[np.float64] = middle.mean(axis=-1)
    return median


def agreeing(value: NDArray[np.float64], var: NDArray[np.float64], gate: float) -> NDArray[np.bool_]:
    """(n, m) bool: does each value agree with the median of its row, within `gate` standard deviations?

    With three or more values the median is on the side of the majority. With two, both agree or neither does; a value
    alone agrees. A value that is not there does not agree.

    Args:
        value: (n, m).
        var: (n, m) variance of each.
        gate: in standard deviations of the difference, whose variance is that of the value plus the median's of the
            row: the smallest declared variance counts for no more than its neighbours'.
    """
    there = np.isfinite(value)
    known = np.where(there, var, np.nan)
    tolerance = gate * np.sqrt(np.where(there, var, 0.0) + np.nan_to_num(present_median(known))[:, None])
    two = there.sum(axis=1) == 2  # noqa: PLR2004 - a pair has no majority
    distance = np.abs(value - present_median(value)[:, None]) * np.where(two, 2.0, 1.0)[:, None]
    agrees: NDArray[np.bool_] = there & (distance <= tolerance)
    return agrees


def hysteresis(
    good: NDArray[np.bool_], state: NDArray[np.int64], fail_after: int, recover_after: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Health that is lost after so many bad rows one after the other, and comes back after so many good ones.

    Args:
        good: (n, s) bool.
        state: (s, 2): healthy (1 or 0), and the run of good (positive) or bad (negative) rows so far.
        fail_after: bad rows.
        recover_after: good rows.

    Returns:
        (n, s) bool, healthy after each row; the state to go on from.
    """
    n = len(good)
    if not n:
        return good, state
    rows = np.arange(n)[:, None]
    last_bad = np.maximum.accumulate(np.where(good, -1, rows), axis=0)
    last_good = np.maximum.accumulate(np.where(good, rows, -1), axis=0)
    run_good = rows - last_bad + np.where(last_bad < 0, np.maximum(state[:, 1], 0), 0)
    run_bad = rows - last_good + np.where(last_good < 0, np.maximum(-state[:, 1], 0), 0)
    run = np.where(good, run_good, -run_bad)
    event = np.where(run >= recover_after, 1, np.where(-run >= fail_after, 0, -1))
    last = np.maximum.accumulate(np.where(event >= 0, rows, -1), axis=0)
    healthy = np.where(last < 0, state[:, 0], np.take_along_axis(event, np.maximum(last, 0), axis=0))
    return healthy == 1, np.stack([healthy[-1], run[-1]], axis=1).astype(np.int64)
