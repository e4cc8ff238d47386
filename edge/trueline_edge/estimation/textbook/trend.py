"""Local linear trend whose slope may die away: an integrated Ornstein-Uhlenbeck process seen through noise.

Source: Durbin and Koopman 2012, section 3.2; damped trend after Gardner and McKenzie 1985; the covariance is kept as
U D U' (Bierman 1977, chapters V and VI), whose factors stay positive however long the filter runs.
"""

from __future__ import annotations

from math import exp, inf, isinf, isnan, nan
from typing import TYPE_CHECKING, NamedTuple

from trueline_edge.estimation.textbook.level import agreeing, softened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["kalman_trend"]

_SHORT = 1e-2
"""Below this share of the damping time, series take the place of differences of exponentials."""


class _Move(NamedTuple):
    """Over one interval: the slope's share that is left and its effect on the level, and the noise that comes in."""

    keep: float
    reach: float
    level: float  # variance of the level that is not explained by that of the slope
    slope: float
    cross: float


def _move(dt: float, q_level: float, q_slope: float, damping_s: float) -> _Move:
    """Exact integrals of the slope's white noise over `dt`; damping_s = inf is the plain trend."""
    if isinf(damping_s):
        return _Move(1.0, dt, q_level * dt + q_slope * dt**3 / 12.0, q_slope * dt, q_slope * dt * dt / 2.0)
    h = dt / damping_s
    keep = exp(-h)
    reach = damping_s * (1.0 - keep)
    slope = q_slope * damping_s * (1.0 - keep * keep) / 2.0
    cross = q_slope * reach * reach / 2.0
    if h < _SHORT:
        own = q_slope * dt**3 * (1.0 - h * h / 10.0) / 12.0
    else:
        both = q_slope * damping_s**3 * (h - 2.0 * (1.0 - keep) + (1.0 - keep * keep) / 2.0)
        own = both - cross * cross / slope if slope > 0.0 else 0.0
    return _Move(keep, reach, q_level * dt + own, slope, cross)


def kalman_trend(
    state: Array,
    dt_s: Array,
    value: Array,
    r: Array,
    q_level: Array,
    q_slope: Array,
    damping_s: Array,
    dof: float,
    gate: float,
    step_samples: int,
    mean: Array,
    var: Array,
    innovation: Array,
    nis: Array,
    slope: Array,
    slope_var: Array,
) -> None:
    """State (k, 8): level, slope, D1, D2, U; gated values' mean and number; variance of the slope at the start."""
    for k in range(value.shape[1]):
        m, b, d1, d2, u, candidate, count, d2_start = state[k].tolist()
        for i, (dt, z, noise) in enumerate(zip(dt_s.tolist(), value[:, k].tolist(), r[:, k].tolist(), strict=True)):
            e = x = nan
            if dt > 0.0 and not isinf(d1):
                move = _move(dt, float(q_level[k]), float(q_slope[k]), float(damping_s[k]))
                m, b = m + move.reach * b, move.keep * b
                d1, d2, u = _predict(move, d1, d2, u)
            learn = noise > 0.0 and not isinf(noise) and not isinf(z) and not isnan(z) and not dt <= 0.0
            if learn and isinf(d1):
                m, b, d1, d2, u, count = z, 0.0, noise, d2_start, 0.0, 0.0
            elif learn:
                e = z - m
                x = e * e / (d1 + u * u * d2 + noise)
                if x <= gate * gate:
                    softer = noise * softened(x, dof)
                    first = d1 + softer
                    total = first + u * u * d2
                    m += (d1 + u * u * d2) / total * e
                    b += u * d2 / total * e
                    d1, d2, u = d1 * softer / first, d2 * first / total, u * softer / first
                    count = 0.0
                else:
                    candidate, count = agreeing(z, noise, gate, candidate, count)
                    if count >= step_samples:
                        m, d1, u, count = candidate, noise / count, 0.0, 0.0
            known = not isinf(d1)
            mean[i, k], var[i, k] = m, d1 + u * u * d2 if known else inf
            innovation[i, k], nis[i, k] = e, x
            slope[i, k], slope_var[i, k] = (b, d2) if known else (nan, inf)
        state[k] = m, b, d1, d2, u, candidate, count, d2_start


def _predict(move: _Move, d1: float, d2: float, u: float) -> tuple[float, float, float]:
    """U D U' after the move: sums of positive terms alone, so that nothing cancels.

    The old slope's variance and the new noise are two covariances; what is left of the level when the slope is known
    (the Schur complement of their sum) is that of each, and what their directions differ by.
    """
    reach, keep = u + move.reach, move.keep
    d2_new = keep * keep * d2 + move.slope
    if d2_new <= 0.0:
        return d1 + move.level + reach * reach * d2, 0.0, 0.0
    differ = reach * move.slope - keep * move.cross
    own = d2 * differ * differ / (move.slope * d2_new) if move.slope > 0.0 else 0.0
    return d1 + move.level + own, d2_new, (keep * reach * d2 + move.cross) / d2_new
