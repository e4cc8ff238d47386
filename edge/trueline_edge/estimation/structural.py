"""A damped trend with a daily cycle, as matrices for `kalman_linear`.

States: level [unit], slope [unit/s], and for each harmonic of the day its value now and a quarter later [unit]. The
level is a walk; the slope dies away with its time constant and is moved by white noise; the harmonics turn with the
clock and their size is a walk. What is seen is the level plus the harmonics' values.

Source: Harvey 1989, sections 2.3.2 (damped trend) and 2.3.4 (trigonometric cycle), in continuous time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["DAY_S", "HARMONICS", "STATES", "DailyNoise", "daily_matrices", "daily_observation", "daily_prior"]

DAY_S = 86_400.0
HARMONICS = 2
STATES = 2 + 2 * HARMONICS


class DailyNoise(NamedTuple):
    """What moves the states.

    Attributes:
        level: variance the level's walk gains per second, unit^2/s.
        trend: white noise that moves the slope, unit^2/s^3.
        damping_s: time constant with which the slope dies away.
        daily: variance each harmonic's walk gains per second, unit^2/s.
    """

    level: float
    trend: float
    damping_s: float
    daily: float


def daily_observation() -> Array:
    """(1, s) what a sensor sees of the states."""
    return np.array([[1.0, 0.0] + [1.0, 0.0] * HARMONICS])


def daily_prior(first: float, r: float, noise: DailyNoise) -> tuple[Array, Array]:
    """Mean (s,) and covariance (s, s) after a first value: the level is there, slope and harmonics are unknown."""
    mean = np.zeros(STATES)
    mean[0] = first
    slope = noise.trend * noise.damping_s / 2.0
    return mean, np.diag([r, slope, *[_DIFFUSE * r] * (2 * HARMONICS)])


_DIFFUSE = 1e4
"""Variance of a harmonic before anything is known, in variances of a reading: a hundred standard deviations."""


def daily_matrices(dt_s: Array, noise: DailyNoise) -> tuple[Array, Array]:
    """Transition and process noise over each interval, (n, s, s) each; nothing moves where `dt_s` is not above zero."""
    dt = np.where(dt_s > 0.0, dt_s, 0.0)
    n = len(dt)
    f, q = np.zeros((n, STATES, STATES)), np.zeros((n, STATES, STATES))
    keep = np.exp(-dt / noise.damping_s)
    reach = noise.damping_s * -np.expm1(-dt / noise.damping_s)
    f[:, 0, 0], f[:, 0, 1], f[:, 1, 1] = 1.0, reach, keep
    # Exact integrals of exp(-t / T) and its own integral; series where they would cancel.
    h = dt / noise.damping_s
    long = noise.damping_s**3 * (h - 2.0 * -np.expm1(-h) - 0.5 * np.expm1(-2.0 * h))
    short = dt**3 / 3.0 * (1.0 - 0.75 * h)
    q[:, 0, 0] = noise.level * dt + noise.trend * np.where(h > _SHORT, long, short)
    q[:, 0, 1] = q[:, 1, 0] = noise.trend * reach**2 / 2.0
    q[:, 1, 1] = noise.trend * noise.damping_s * -np.expm1(-2.0 * h) / 2.0
    for harmonic in range(1, HARMONICS + 1):
        angle = 2.0 * np.pi * harmonic * dt / DAY_S
        a = 2 * harmonic
        f[:, a, a] = f[:, a + 1, a + 1] = np.cos(angle)
        f[:, a, a + 1] = np.sin(angle)
        f[:, a + 1, a] = -np.sin(angle)
        q[:, a, a] = q[:, a + 1, a + 1] = noise.daily * dt
    return f, q


_SHORT = 1e-3
