"""Bias, drift and gain of several sensors of one quantity as slow states, learnt while the quantity itself is unknown.

    value_i = quantity + bias_i + drift_i days + gain_i (quantity - pivot) + noise_i

In each row the quantity is projected out, so that only differences between sensors speak; a reference is a sensor
without drift and gain, whose bias is what its certificate leaves open. What no difference shows (a bias, drift or gain
all have in common) keeps the variance it began with, and what it gains by walking: the covariance tells it.

Source: linear regression with nuisance parameters (Seber and Lee 2003, section 3.3); information form (Bar-Shalom, Li
and Kirubarajan 2001, section 7.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["BIAS", "PARAMETERS", "Slow", "common_bias_variance", "design", "informed", "learn_slow", "wander"]

PARAMETERS = 3
"""Of a sensor: bias, drift by day, gain."""
BIAS = slice(0, None, PARAMETERS)
_ROWS_WORTH = 4.0
"""A window of rows counts as so many at most: what lasts a window is not averaged within it."""


class Slow(NamedTuple):
    """Mean (s,) and covariance (s, s) of the parameters of all sensors, one sensor after the other."""

    mean: Array
    cov: Array


def informed(cov: Array, information: Array) -> Array:
    """(s, s) the covariance after information about it has come in: (C^-1 + I)^-1, positive whatever the rounding.

    Args:
        cov: (s, s), of any rank.
        information: (s, s), of any rank.
    """
    size, axes = np.linalg.eigh(cov)
    root = axes * np.sqrt(np.maximum(size, 0.0))
    half = np.linalg.solve(np.linalg.cholesky(np.eye(len(cov)) + root.T @ information @ root), root.T)
    result: Array = half.T @ half
    return result


def design(quantity: Array, days: Array, sensors: int, pivot: float) -> Array:
    """(n, sensors, s): what each parameter makes of each sensor's value.

    Args:
        quantity: (n,) about what it was.
        days: (n,) since the beginning.
        sensors: how many.
        pivot: of the quantity, where an error of gain makes none.
    """
    n = len(quantity)
    parts = np.stack([np.ones(n), days, quantity - pivot], axis=1)
    matrix = np.zeros((n, sensors, sensors * PARAMETERS))
    for sensor in range(sensors):
        matrix[:, sensor, sensor * PARAMETERS : (sensor + 1) * PARAMETERS] = parts
    return matrix


def wander(slow: Slow, walk_var: Array) -> Slow:
    """The biases have walked: `walk_var` (sensors,) is the variance each has gained."""
    gained = np.zeros(len(slow.mean))
    gained[BIAS] = walk_var
    return slow._replace(cov=slow.cov + np.diag(gained))


def learn_slow(slow: Slow, matrix: Array, value: Array, var: Array) -> Slow:
    """Take in rows.

    Args:
        slow: so far.
        matrix: (n, sensors, s) from `design`.
        value: (n, sensors) raw; NaN where a sensor was not heard.
        var: (n, sensors) variance of the noise.
    """
    there = np.isfinite(value)
    rows = there.sum(axis=1) > 1
    if not rows.any():
        return slow
    there, matrix = there[rows], matrix[rows]
    weight = np.where(there, 1.0 / np.where(there, var[rows], 1.0), 0.0)
    rest = np.where(there, value[rows], 0.0) - np.where(there, matrix @ slow.mean, 0.0)
    # The best guess of the quantity is the weighted mean: what is left of it is what the parameters explain.
    total = weight.sum(axis=1)
    middle = np.einsum("ni,nis->ns", weight, matrix) / total[:, None]
    seen = np.where(there[:, :, None], matrix - middle[:, None, :], 0.0)
    rest = np.where(there, rest - ((weight * rest).sum(axis=1) / total)[:, None], 0.0)
    share = min(1.0, _ROWS_WORTH / len(rest))
    information = np.einsum("ni,nis,nit->st", weight, seen, seen) * share
    vector = np.einsum("ni,nis,ni->s", weight, seen, rest) * share
    cov = informed(slow.cov, information)
    return Slow(slow.mean + cov @ vector, cov)


def common_bias_variance(cov: Array) -> float:
    """Variance of the best mean of the biases: what all have in common."""
    biases = cov[BIAS, BIAS]
    return 1.0 / float(np.linalg.inv(biases).sum())
