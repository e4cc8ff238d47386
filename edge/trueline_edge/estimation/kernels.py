"""The hot loops, compiled where they could be, and the checks at their door.

Promises: state goes in, a new state comes out, and no argument is changed; the outcome does not depend on where rows
were cut into calls; a state saved by one implementation restores in the other. `TRUELINE_KERNELS=textbook` in the
environment takes the textbook even where the extension is there.

The time `dt_s` (n,) is that since the row before (`elapsed_s` makes it): a row whose time did not move on (dt_s <= 0:
duplicate, backward) is predicted and not learnt from; NaN says that there was no row before. A value is not measured
where it is NaN or infinite, or where its variance `r` is not positive and finite.
"""

from __future__ import annotations

import os
from functools import lru_cache
from math import inf, nan
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from trueline_edge.estimation import textbook
from trueline_edge.estimation.outcomes import (
    GAUSSIAN,
    LEARNING,
    ROBUST,
    BankConfig,
    BankOut,
    FuseOut,
    HampelOut,
    KalmanOut,
    LinearOut,
    Robust,
    TrendOut,
)
from trueline_edge.estimation.textbook.bank import FRESH, HEAD, MODELS
from trueline_edge.estimation.textbook.linear import factors

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

__all__ = [
    "GAUSSIAN",
    "IMPLEMENTATION",
    "LEARNING",
    "ROBUST",
    "BankConfig",
    "BankOut",
    "FuseOut",
    "HampelOut",
    "KalmanOut",
    "LinearOut",
    "Robust",
    "TrendOut",
    "bank_fresh",
    "bank_level",
    "elapsed_s",
    "fuse_level",
    "hampel",
    "hampel_fresh",
    "implementation",
    "kalman_level",
    "kalman_linear",
    "kalman_trend",
    "level_fresh",
    "linear_fresh",
    "ones",
    "spread",
    "trend_fresh",
]


def _choose() -> tuple[Any, Literal["cython", "textbook"]]:
    if os.environ.get("TRUELINE_KERNELS") == "textbook":
        return textbook, "textbook"
    try:
        from trueline_edge.estimation import hot  # noqa: PLC0415 - it may not have been compiled
    except ImportError:
        return textbook, "textbook"
    return hot, "cython"


_hot, _name = _choose()
IMPLEMENTATION: Final[Literal["cython", "textbook"]] = _name
"""Which kernels are in use."""


def implementation() -> Any:
    """The module of the kernels in use."""
    return _hot


def elapsed_s(last_ns: int | None, time_ns: NDArray[np.int64]) -> tuple[Array, int | None]:
    """Seconds since the latest time seen before each row, and the latest time now.

    Args:
        last_ns: the latest time of the rows before; None where there was none.
        time_ns: (n,) event times.

    Returns:
        (n,) seconds, 0 where time did not move on (duplicate or backward), NaN in the very first row.
    """
    if not len(time_ns):
        return np.empty(0), last_ns
    start = int(time_ns[0]) if last_ns is None else last_ns
    latest = np.maximum.accumulate(np.concatenate([np.array([start], np.int64), time_ns]))
    dt = np.diff(latest) / 1e9
    if last_ns is None:
        dt[0] = nan
    return dt, int(latest[-1])


def level_fresh(channels: int) -> Array:
    """State of `kalman_level` or `fuse_level` before the first value."""
    return np.tile([nan, inf, nan, 0.0], (channels, 1))


def kalman_level(
    state: Array, dt_s: Array, value: Array, r: ArrayLike, q: ArrayLike, robust: Robust = ROBUST
) -> KalmanOut:
    """A random walk in each channel, seen through noise.

    Args:
        state: from `level_fresh` or the call before.
        dt_s: (n,) s, see above.
        value: (n, k).
        r: variance of each value, broadcast to (n, k).
        q: (k,) or one for all: variance the walk gains per second.
        robust: how it meets surprise.
    """
    n, k = value.shape
    mean, var, innovation, nis = _empty(4, n, k)
    state = _copy(state, (k, 4), dt_s, n)
    _hot.kalman_level(state, dt_s, value, spread(r, n, k), _each(q, k), *robust, mean, var, innovation, nis)
    return KalmanOut(mean, var, innovation, nis, state)


def trend_fresh(channels: int, slope_var: ArrayLike) -> Array:
    """State of `kalman_trend` before the first value; `slope_var` [unit^2/s^2] is what the slope may be at first."""
    state = np.tile([nan, 0.0, inf, 0.0, 0.0, nan, 0.0, 0.0], (channels, 1))
    state[:, 7] = slope_var
    return state


def kalman_trend(
    state: Array,
    dt_s: Array,
    value: Array,
    r: ArrayLike,
    q_level: ArrayLike,
    q_trend: ArrayLike,
    damping_s: ArrayLike = inf,
    robust: Robust = ROBUST,
) -> TrendOut:
    """A level with a slope in each channel; the slope dies away with the time constant `damping_s`.

    Args:
        state: from `trend_fresh` or the call before.
        dt_s: (n,) s, see above.
        value: (n, k).
        r: variance of each value, broadcast to (n, k).
        q_level: (k,) or one for all, unit^2/s: of the level's own walk.
        q_trend: (k,) or one for all, unit^2/s^3: white noise that moves the slope.
        damping_s: (k,) or one for all; inf is the plain linear trend.
        robust: how it meets surprise.
    """
    n, k = value.shape
    out = _empty(6, n, k)
    state = _copy(state, (k, 8), dt_s, n)
    given = (_each(q_level, k), _each(q_trend, k), _each(damping_s, k))
    _hot.kalman_trend(state, dt_s, value, spread(r, n, k), *given, *robust, *out)
    return TrendOut._make((*out, state))


def linear_fresh(mean: ArrayLike, cov: ArrayLike) -> Array:
    """State of `kalman_linear` before the first value: mean (s,) and covariance (s, s)."""
    start = np.atleast_1d(np.asarray(mean, np.float64))
    u, d = factors(np.asarray(cov, np.float64).reshape(len(start), -1))
    return np.vstack([start, np.triu(u, 1) + np.diag(d), np.zeros((1, len(start)))])


def kalman_linear(
    state: Array,
    transition: Array,
    noise: Array,
    observation: Array,
    value: Array,
    r: ArrayLike,
    robust: Robust = ROBUST,
    learn: NDArray[np.bool_] | None = None,
) -> LinearOut:
    """Any linear model of s states and m sensors; sensors that were not measured in a row are NaN there.

    Args:
        state: from `linear_fresh` or the call before.
        transition: (n, s, s), or (1, s, s) for all rows: from the row before to this one.
        noise: (n, s, s) or (1, s, s): covariance that comes in on the way.
        observation: (m, s): what each sensor sees of the states.
        value: (n, m).
        r: variance of each value, broadcast to (n, m).
        robust: how it meets surprise. `step_samples` rows in which everything heard was gated, and the covariance is
            widened to take what was seen.
        learn: (n,) rows to learn from; all where left out.
    """
    n, m = value.shape
    s = observation.shape[1]
    mean, cov = np.empty((n, s)), np.empty((n, s, s))
    innovation, nis = _empty(2, n, m)
    rows = np.ones(n) if learn is None else learn.astype(np.float64)
    state = _copy(state, (s + 2, s), rows, n)
    given = (np.ascontiguousarray(transition), np.ascontiguousarray(noise), np.ascontiguousarray(observation), rows)
    _hot.kalman_linear(state, *given, value, spread(r, n, m), *robust, mean, cov, innovation, nis)
    return LinearOut(mean, cov, innovation, nis, state)


def bank_fresh(channels: int) -> Array:
    """State of `bank_level` before the first value."""
    return np.tile(np.concatenate([FRESH, np.zeros(3 * MODELS)]), (channels, 1))


def bank_level(
    state: Array,
    dt_s: Array,
    value: Array,
    config: BankConfig = LEARNING,
    r: ArrayLike = 1.0,
    floor: ArrayLike = 0.0,
) -> BankOut:
    """As `kalman_level`, with R and Q learnt from the values, and followed as they change.

    Args:
        state: from `bank_fresh` or the call before.
        dt_s: (n,) s, see above.
        value: (n, k).
        config: how it learns.
        r: broadcast to (n, k): variance of each value *in relation to the others*: 1 where all are alike, 9 where a
            value is known to be three times less certain. The absolute scale is learnt.
        floor: (k,) or one for all: variance (in units of `r`) below which no noise is believed: resolution^2 / 12.
    """
    n, k = value.shape
    out = _empty(6, n, k)
    state = _copy(state, (k, HEAD + 3 * MODELS), dt_s, n)
    _hot.bank_level(state, dt_s, value, spread(r, n, k), _each(floor, k), *config, *out)
    return BankOut._make((*out, state))


def fuse_level(state: Array, dt_s: Array, value: Array, r: ArrayLike, q: ArrayLike, robust: Robust = ROBUST) -> FuseOut:
    """A random walk in each measurand, seen by m sensors at once, some of which may be silent or wrong.

    Args:
        state: from `level_fresh` (k measurands) or the call before.
        dt_s: (n,) s, see above.
        value: (n, k, m).
        r: variance of each value, broadcast to (n, k, m).
        q: (k,) or one for all: variance the walk gains per second.
        robust: how it meets surprise.
    """
    n, k, m = value.shape
    mean, var, innovation, nis = _empty(4, n, k)
    weight = np.empty((n, k, m))
    state = _copy(state, (k, 4), dt_s, n)
    given = (np.broadcast_to(np.asarray(r, np.float64), (n, k, m)), _each(q, k))
    _hot.fuse_level(state, dt_s, value, *given, *robust, mean, var, innovation, nis, weight)
    return FuseOut(mean, var, innovation, nis, weight, state)


def hampel_fresh(channels: int, width: int, step_samples: int, *, centred: bool = False) -> Array:
    """State of `hampel` before the first value."""
    if centred:
        return np.full((channels, 2 * (width // 2)), nan)
    return np.zeros((channels, 2 + width + step_samples))


def hampel(
    state: Array,
    value: Array,
    width: int,
    threshold: float,
    floor: ArrayLike = 0.0,
    step_samples: int = 3,
    *,
    far: float = inf,
    judges: int = 3,
    centred: bool = False,
) -> HampelOut:
    """Judge each value by the median of its neighbours: rejected where it is further than the limit.

    The limit is `threshold` times 1.4826 times the median absolute deviation, or `floor` where that is larger. Neither
    the value itself nor a rejected one is ever in the window. A value that is not judged for want of neighbours has a
    median of NaN, and enters the window.

    Args:
        state: from `hampel_fresh` or the call before.
        value: (n, k), NaN where nothing is to be judged.
        width: causal: the last so many values that were not rejected. Centred: `width // 2` rows before and after.
        threshold: in standard deviations.
        floor: (k,) or one for all, in the channel's unit.
        step_samples: causal: so many rejected in a row are a step; the next window is made of them.
        far: what is rejected and further than so many standard deviations is bad; at least `threshold`.
        judges: fewer values in the window judge nobody; at least 3, of which one may be wrong.
        centred: row i of the outcome speaks of the row `width // 2` before it (NaN, not rejected, where there was
            none); `width // 2` rows of NaN at the end bring out the rest.
    """
    n, k = value.shape
    median, mad = _empty(2, n, k)
    verdict = np.empty((n, k), np.uint8)
    if not _WIDTH_MIN <= width <= _WIDTH_MAX:
        raise ValueError(f"width {width} must be between {_WIDTH_MIN} and {_WIDTH_MAX}")
    held = 2 * (width // 2) if centred else 2 + width + step_samples
    state = _copy(state, (k, held), _NONE, 0)
    if centred:
        _hot.hampel_centred(state, value, width, threshold, far, _each(floor, k), judges, median, mad, verdict)
    else:
        _hot.hampel(state, value, width, threshold, far, _each(floor, k), step_samples, judges, median, mad, verdict)
    return HampelOut(median, mad, verdict, state)


def _copy(state: Array, shape: tuple[int, ...], dt_s: Array, n: int) -> Array:
    """A state to be changed. What is compiled trusts the shapes it is given."""
    if state.shape != shape or dt_s.shape != (n,):
        raise ValueError(f"state {state.shape} and dt_s {dt_s.shape}: {shape} and {(n,)} are wanted")
    return np.array(state, np.float64, order="C")


def _empty(count: int, n: int, k: int) -> tuple[Array, ...]:
    return tuple(
        np.empty((n, k)) for _ in range(count)
    )  # one large block would be given back and mapped anew each time


def spread(r: ArrayLike, n: int, k: int) -> Array:
    """Broadcast to (n, k); not to be written to."""
    given = np.asarray(r, np.float64)
    if given.shape == (n, k):
        return given
    if n == 1 and given.shape == (k,):
        return given[None, :]
    if n > _FEW_ROWS:
        return np.broadcast_to(given, (n, k))
    whole = np.empty((n, k))  # for few rows quicker than a view
    whole[:] = given
    return whole


@lru_cache(maxsize=64)
def ones(n: int, k: int) -> Array:
    """(n, k), all 1; one number in memory, not to be written to."""
    return np.broadcast_to(np.ones(()), (n, k))


_FEW_ROWS = 64
_WIDTH_MIN, _WIDTH_MAX = 3, 255
_NONE = np.empty(0)


def _each(given: ArrayLike, k: int) -> Array:
    each = np.asarray(given, np.float64)
    if each.shape == (k,) and each.flags.c_contiguous:
        return each
    return np.ascontiguousarray(np.broadcast_to(each, (k,)))
