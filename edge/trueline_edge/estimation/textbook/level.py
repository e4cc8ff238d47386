"""Local level: a random walk seen through noise (Durbin and Koopman 2012, section 2.2), with a robust update."""

from __future__ import annotations

from math import inf, isinf, isnan, nan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["agreeing", "kalman_level", "softened"]


def kalman_level(
    state: Array,
    dt_s: Array,
    value: Array,
    r: Array,
    q: Array,
    dof: float,
    gate: float,
    step_samples: int,
    mean: Array,
    var: Array,
    innovation: Array,
    nis: Array,
) -> None:
    """State (k, 4): mean, variance, and the mean and number of gated values that agree with one another."""
    for k in range(value.shape[1]):
        m, p, candidate, count = state[k].tolist()
        for i, (dt, z, noise) in enumerate(zip(dt_s.tolist(), value[:, k].tolist(), r[:, k].tolist(), strict=True)):
            e = x = nan
            p += q[k] * dt if dt > 0.0 else 0.0
            learn = noise > 0.0 and not isinf(noise) and not isinf(z) and not isnan(z) and not dt <= 0.0
            if learn and isinf(p):
                m, p, count = z, noise, 0.0
            elif learn:
                e = z - m
                x = e * e / (p + noise)
                if x <= gate * gate:
                    softer = noise * softened(x, dof)
                    m += p / (p + softer) * e
                    p *= softer / (p + softer)  # positive whatever the rounding: no difference is taken
                    count = 0.0
                else:
                    candidate, count = agreeing(z, noise, gate, candidate, count)
                    if count >= step_samples:
                        m, p, count = candidate, noise / count, 0.0
            mean[i, k], var[i, k], innovation[i, k], nis[i, k] = m, p, e, x
        state[k] = m, p, candidate, count


def softened(x: float, dof: float) -> float:
    """By how much Student-t noise widens the variance of a value with this NIS (Lange, Little and Taylor 1989)."""
    return max(1.0, (1.0 + x / dof) / (1.0 + 1.0 / dof)) if dof < inf else 1.0


def agreeing(z: float, noise: float, gate: float, candidate: float, count: float) -> tuple[float, float]:
    """The mean and number of gated values in a row that agree, after one more of them."""
    if count > 0.0 and (z - candidate) * (z - candidate) <= gate * gate * noise * (1.0 + 1.0 / count):
        return candidate + (z - candidate) / (count + 1.0), count + 1.0
    return z, 1.0
